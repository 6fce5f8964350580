# SPDX-License-Identifier: Apache-2.0
"""Which track goes on in which segment: overlap of moved masks, else nearness, and a greedy choice of pairs.

Legend: `n` tracks, `m` segments of the new frame, `k` pixels of the tracks, `h w` size of the coarse id map.
"""

import numpy as np

MIN_IOU = 0.1  # masks that overlap less say nothing; then one within the other or nearness decides
MIN_INSIDE = 0.7  # of the smaller mask; a thing that comes out from behind another grows many times over in a frame
MAX_DISTANCE = 1.0  # between the centroids, in square roots of the larger area
MIN_AREA_RATIO = 0.4  # smaller to larger, for pairs that only nearness joins


def mask_overlap(
    rows: np.ndarray,
    columns: np.ndarray,
    owners: np.ndarray,
    shifts: np.ndarray,
    segments: np.ndarray,
    areas: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """How each track's mask, moved to where it should be by now, overlaps with each segment.

    Args:
        rows, columns: int32 (k,), pixels of the tracks' masks when they were last seen.
        owners: int (k,), the track of each pixel.
        shifts: float (n, 2), how far each track has moved since, x and y in pixels of the map.
        segments: int16 (h, w), number of the segment of the new frame, -1 for none.
        areas: int (m,), pixels of each segment of that map.

    Returns:
        (float64 (n, m) intersection over union, float64 (n, m) intersection over the smaller of the two). What has
        moved out of the frame is no part of a mask.
    """
    (height, width), count = segments.shape, len(areas)
    moved = np.clip(np.rint(shifts), (-width, -height), (width, height)).astype(np.int32)
    # With a frame around the map no pixel has to be looked at for whether it is inside.
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
    """How near segments are to where tracks should be, for masks too small or too fast to overlap.

    Args:
        predicted: float (n, 2), where the centroid of each track should be. track_areas: float (n,), when last seen.
        centroids: float (m, 2). areas: float (m,). All in pixels of the frame.

    Returns:
        float64 (n, m), 0 for none to 1 for the same place and area.
    """
    distance = np.hypot(*(predicted[:, None] - centroids).transpose(2, 0, 1))
    larger = np.maximum(track_areas[:, None], areas)
    ratio = np.minimum(track_areas[:, None], areas) / larger
    closeness = 1 - distance / (MAX_DISTANCE * np.sqrt(larger))
    return np.where(ratio >= MIN_AREA_RATIO, np.maximum(closeness, 0) * ratio, 0)


def affinity(iou: np.ndarray, inside: np.ndarray, near: np.ndarray, same_class: np.ndarray) -> np.ndarray:
    """One number per pair, 0 where they cannot be one: any IoU of masks counts more than all that is weaker."""
    weaker = np.maximum(near, np.where(inside >= MIN_INSIDE, inside, 0))
    return np.where(iou >= MIN_IOU, iou, MIN_IOU * weaker) * same_class


def greedy_pairs(affinity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs in the order of their affinity, each track and each segment once; those with 0 never.

    A pair that is the best of its row and of its column is what the greedy choice takes sooner or later, so each round
    takes all of these at once. With an IoU above 0.5, which only one pair of disjoint masks can have, no other choice
    is better.

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
