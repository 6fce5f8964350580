# SPDX-License-Identifier: Apache-2.0
"""Networks in pure torch: no ROS, no OpenCV."""

from yoso_ros.models.factory import create_model, load_config, model_names

__all__ = ["create_model", "load_config", "model_names"]
