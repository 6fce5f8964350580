# SPDX-License-Identifier: Apache-2.0
"""How alike two frames are, by a thumbnail and by where a model sees which class; works with any model.

Legend: `S` values of the thumbnail, `L` values of the layout (cells times classes), `n` frames.
"""

import cv2
import numpy as np

SMALL_WIDTH, SMALL_HEIGHT = 24, 18  # pixels of the thumbnail: removes sensor noise, keeps a person at ten metres
SMALL = 3 * SMALL_WIDTH * SMALL_HEIGHT
CELL_COLUMNS, CELL_ROWS = 3, 2  # of the layout
FULL_STEPS = 40.0  # mean difference (of 255) at which two thumbnails count as completely different


def describe(image, result, num_classes):
    """Describe what a frame looks like.

    Args:
        image: uint8 (H, W, 3) RGB.
        result: `PanopticResult` of the frame.
        num_classes: of the model.

    Returns:
        uint8 (S + L,): a thumbnail in CIE Lab, then for each cell and class its share of the pixels, times 255.
    """
    small = cv2.resize(image, (SMALL_WIDTH, SMALL_HEIGHT), interpolation=cv2.INTER_AREA)
    small = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    layout = [
        np.bincount(cell.ravel(), minlength=256)[:num_classes] / max(cell.size, 1)
        for row in np.array_split(result.semantic, CELL_ROWS, axis=0)
        for cell in np.array_split(row, CELL_COLUMNS, axis=1)
    ]
    shares = np.round(255 * np.concatenate(layout)).astype(np.uint8)
    return np.concatenate([small.reshape(-1), shares])


def look_difference(one, many):
    """Mean difference of the thumbnails, 0 to 255.

    Args:
        one: uint8 (S + L,). many: uint8 (n, S + L).

    Returns:
        float32 (n,).
    """
    return _mean_difference(one[:SMALL], many[:, :SMALL])


def difference(one, many):
    """How different frames are, from 0 (the same) to 1: half by thumbnail, half by layout.

    Args, returns: as `look_difference`.
    """
    looks = np.minimum(look_difference(one, many) / FULL_STEPS, 1.0)
    # In two layouts with nothing in common, the differences in each cell add up to 2 * 255.
    classes = max((many.shape[1] - SMALL) // (CELL_ROWS * CELL_COLUMNS), 1)
    layouts = _mean_difference(one[SMALL:], many[:, SMALL:]) * classes / (2 * 255)
    return (looks + layouts) / 2


def _mean_difference(one, many):
    # cv2 takes the difference of unsigned bytes without widening them first.
    return cv2.absdiff(many, np.broadcast_to(one, many.shape).copy()).mean(axis=1, dtype=np.float32)
