# SPDX-License-Identifier: Apache-2.0
"""Targets of a small image whose segments are rectangles, for tests of criteria of detectors."""

import torch

from yoso_ros.training.targets import Target

SIZE = (64, 96)  # height, width


def target(*segments):
    """`Target` of (class id, x1, y1, x2, y2) rectangles, later ones on top."""
    masks = torch.zeros((len(segments), *SIZE), dtype=torch.bool)
    for index, (_, x1, y1, x2, y2) in enumerate(segments):
        masks[:index, y1:y2, x1:x2] = False
        masks[index, y1:y2, x1:x2] = True
    return Target(torch.tensor([s[0] for s in segments], dtype=torch.int64), masks)
