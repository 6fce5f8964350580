# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality of an image the way its rules are written down: segment by segment, pair by pair."""

import numpy as np

OFFSET = 1 << 24  # more than a segment id, so that a pair of ids is one number


def reference_counts(predicted_ids, predicted_segments, truth_ids, truth_segments):
    """The matching rules of COCO panopticapi, one by one; arguments as for `PanopticQuality.update`.

    Returns:
        {category id: [sum of IoU, true positives, false positives, false negatives]}, of the categories in the image.
    """
    predicted, truth = ({s["id"]: s for s in segments} for segments in (predicted_segments, truth_segments))
    areas = {}
    for name, ids in (("predicted", predicted_ids), ("truth", truth_ids)):
        areas[name] = dict(zip(*(a.tolist() for a in np.unique(ids, return_counts=True)), strict=True))
    pairs = truth_ids.astype(np.uint64) * OFFSET + predicted_ids.astype(np.uint64)
    shared = {}
    for pair, area in zip(*np.unique(pairs, return_counts=True), strict=True):
        shared[int(pair) // OFFSET, int(pair) % OFFSET] = int(area)
    counts = {s["category_id"]: [0.0, 0, 0, 0] for s in [*predicted.values(), *truth.values()]}
    matched_truth, matched_predicted = set(), set()
    for (t, p), both in shared.items():
        if t not in truth or p not in predicted or truth[t].get("iscrowd"):
            continue
        category = truth[t]["category_id"]
        union = areas["truth"][t] + areas["predicted"][p] - both - shared.get((0, p), 0)
        if category == predicted[p]["category_id"] and both / union > 0.5:
            counts[category][0] += both / union
            counts[category][1] += 1
            matched_truth.add(t)
            matched_predicted.add(p)
    crowd = {}
    for t, segment in truth.items():
        if segment.get("iscrowd"):
            crowd[segment["category_id"]] = t
        elif t not in matched_truth:
            counts[segment["category_id"]][3] += 1
    for p, segment in predicted.items():
        if p in matched_predicted:
            continue
        ignored = shared.get((0, p), 0) + shared.get((crowd.get(segment["category_id"]), p), 0)
        if ignored / areas["predicted"][p] <= 0.5:
            counts[segment["category_id"]][2] += 1
    return counts
