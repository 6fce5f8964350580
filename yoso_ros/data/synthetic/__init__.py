# SPDX-License-Identifier: Apache-2.0
"""Rendered scenes with exact ground truth, for demonstrations, tests and training without any data set."""

from yoso_ros.data.synthetic.renderer import RenderedFrame, Renderer
from yoso_ros.data.synthetic.scene import Scene, random_scene

__all__ = ["RenderedFrame", "Renderer", "Scene", "random_scene"]
