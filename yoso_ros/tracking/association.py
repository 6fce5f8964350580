# SPDX-License-Identifier: Apache-2.0
"""Assignment of segments to tracks: overlap of moved masks, otherwise nearness, and a greedy choice of pairs.

Legend: `n` tracks, `m` segments of the new frame, `k` pixels of the tracks, `h w` size of the coarse id map.
"""

import numpy as np

MIN_IOU = 0.1  # a smaller overlap is not conclusive; then containment or nearness decides
MIN_INSIDE = 0.7  # of the smaller mask; a thing emerging from behind another grows many times over in one frame
MAX_DISTANCE = 1.0  # between centroids, in units of the square root of the larger area
MIN_AREA_RATIO = 0.4  # smaller to larger, for pairs matched by nearness alone


def mask_overlap(
    rows: np.ndarray,
    columns: np.ndarray,
    owners: np.ndarray,
    shifts: np.ndarray,
    segments: np.ndarray,
    areas: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How each track's mask, moved to its predicted position, overlaps with each segment.

    Args:
        rows, columns: int32 (k,), pixels of the tracks' masks when last seen.
        owners: int (k,), the track of each pixel.
        shifts: float (n, 2), predicted motion of each track since then, x and y in pixels of the map.
        segments: int16 (h, w), number of the segment of the new frame, -1 for none.
        areas: int (m,), pixels of each segment of that map.

    Returns:
        (float64 (n, m) intersection over union, float64 (n, m) intersection over the smaller of the two). Pixels that
        have moved out of the frame do not count.
    """
    (height, width), count = segments.shape, len(areas)
    moved = np.clip(np.rint(shifts), (-width, -height), (width, height)).astype(np.int32)
    # A margin around the map makes bounds checks for each pixel unnecessary.
    margin_x, margin_y = np.abs(moved).max(axis=0, initial=0).tolist()
    outside, bins = count, count + 2  # bins: none, each segment, outside
    framed = np.full((height + 2 * margin_y, width + 2 * margin_x), outside, np.int16)
    framed[margin_y : margin_y + height, margin_x : margin_x + width] = segments
    stride = width + 2 * margin_x
    # Where a track's pixels are looked up, and where they are counted.
    offsets = (moved[:, 1] + margin_y) * stride + (moved[:, 0] + margin_x)
    first_bins = np.arange(len(shifts), dtype=np.int32) * bins + 1
    found = framed.ravel().take(rows * np.int32(stride) + columns + offsets.take(owners))
    counts = np.bincount(found + first_bins.take(owners), minlength=len(shifts) * bins)
    shared = counts.reshape(len(shifts), bins)[:, : count + 1]
    own, shared = shared.sum(axis=1)[:, None], shared[:, 1:]
    return shared / np.maximum(own + areas - shared, 1), shared / np.maximum(np.minimum(own, areas), 1)


def nearness(
    predicted: np.ndarray, track_areas: np.ndarray, centroids: np.ndarray, areas: list[int] | np.ndarray
) -> np.ndarray:
    """How near segments are to the predicted positions of tracks, for masks too small or too fast to overlap.

    Args:
        predicted: float (n, 2), predicted centroid of each track. track_areas: float (n,), when last seen.
        centroids: float (m, 2). areas: float (m,). All in pixels of the frame.

    Returns:
        float64 (n, m), from 0 (unrelated) to 1 (same position and area).
    """
    distance = np.hypot(*(predicted[:, None] - centroids).transpose(2, 0, 1))
    larger = np.maximum(track_areas[:, None], areas)
    ratio = np.minimum(track_areas[:, None], areas) / larger
    closeness = 1 - distance / (MAX_DISTANCE * np.sqrt(larger))
    return np.where(ratio >= MIN_AREA_RATIO, np.maximum(closeness, 0) * ratio, 0)


def affinity(iou: np.ndarray, inside: np.ndarray, near: np.ndarray, same_class: np.ndarray) -> np.ndarray:
    """One number per pair, 0 if they cannot match; any sufficient mask IoU outranks all weaker evidence."""
    weaker = np.maximum(near, np.where(inside >= MIN_INSIDE, inside, 0))
    return np.where(iou >= MIN_IOU, iou, MIN_IOU * weaker) * same_class


def greedy_pairs(affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in descending order of affinity, each track and each segment at most once; pairs with 0 never.

    A pair that is the best of its row and of its column is chosen by the greedy algorithm sooner or later, so each
    round takes all such pairs at once. Pairs with an IoU above 0.5, which among disjoint masks is unique, are optimal.

    Args:
        affinity: float (n, m), 0 or more.

    Returns:
        (int (p,) tracks, int (p,) segments).
    """
    left = np.array(affinity, dtype=np.float64)
    tracks, segments = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    while left.size and left.max() > 0:
        best = left.argmax(axis=1)
        row = np.arange(len(left))
        mutual = (left.argmax(axis=0)[best] == row) & (left[row, best] > 0)
        tracks.append(row[mutual])
        segments.append(best[mutual])
        left[row[mutual]] = 0
        left[:, best[mutual]] = 0
    return np.concatenate(tracks), np.concatenate(segments)
