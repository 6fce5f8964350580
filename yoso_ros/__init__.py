# SPDX-License-Identifier: Apache-2.0
"""Real-time panoptic segmentation for ROS 2. `import yoso_ros` needs neither ROS nor a GPU and loads neither."""

import os
from pkgutil import extend_path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yoso_ros.inference import Segmenter

# In a source checkout the generated messages (yoso_ros.msg) lie apart from these modules; both are one package.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"

# Without it, idle OpenMP threads spin and another busy process slows the network several times (docs/engines.md).
# It only has an effect before torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def load_segmenter(*args, **kwargs) -> "Segmenter":
    """Build a `yoso_ros.inference.Segmenter`; see `yoso_ros.inference.load_segmenter` for the arguments."""
    from yoso_ros.inference import load_segmenter as load

    return load(*args, **kwargs)
