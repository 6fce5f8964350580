# SPDX-License-Identifier: Apache-2.0
"""Two runs on the same frames: differences per class and frame, and their significance.

Legend: `F` frames common to both runs, `C` classes, `R` resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from yoso_ros.errors import InputError

if TYPE_CHECKING:
    from yoso_ros.evaluation.recordings.frame_counts import CountsOfFrames

RESAMPLES = 1000
SEED = 0
INTERVAL = (2.5, 97.5)  # percentiles of the 95 % interval
BLOCK_BYTES = 2**26  # of counts resampled at a time


def compare_runs(
    a: CountsOfFrames,
    b: CountsOfFrames,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    progress: Callable[..., Any] = iter,
) -> dict[str, Any]:
    """Compare two runs by a paired bootstrap over frames (Efron and Tibshirani 1993, chapter 13, percentile interval).

    Frames are drawn with replacement, the same ones for both runs, and PQ and mIoU are computed from the drawn frames.
    Consecutive frames look alike, so for a recording the intervals are too narrow.

    Args:
        a, b: `CountsOfFrames`; frames are paired by name.
        resamples: R.
        seed: of the draws.
        progress: wraps the blocks of resamples, for a progress bar.

    Returns:
        dict with
        "frames": {"common", "only_a", "only_b"}, numbers,
        "resamples", "seed",
        "measures": dict of PQ, PQ_things, PQ_stuff, SQ, RQ and mIoU (percent) to {"a", "b", "difference" (b - a),
        "interval" (two numbers, 95 %), "a_wins", "b_wins", "ties" (shares of the resamples, 0..1)},
        "per_class": list of dict: name, is_thing, and for "pq" and "iou" (0..100, NaN where not seen) "..._a",
        "..._b", "..._difference", "..._interval",
        "per_frame": list of dict: name, PQ_a, PQ_b, difference; the largest difference of either sign first.

    Raises:
        InputError: no frames in common, a frame occurs twice, or the classes differ.
    """
    a, b, frames = _paired(a, b)
    whole = [measures_of(r.panoptic.sum(axis=0), r.semantic.sum(axis=0), r.is_thing) for r in (a, b)]
    drawn = _bootstrap(a, b, resamples, seed, progress)
    measures = {
        name: {"a": float(x), "b": float(y), "difference": float(y - x), **_spread(drawn[0][name], drawn[1][name])}
        for (name, x), y in zip(whole[0].means.items(), whole[1].means.values(), strict=True)
    }
    return {
        "frames": frames,
        "resamples": resamples,
        "seed": seed,
        "measures": measures,
        "per_class": _per_class(a, whole, drawn),
        "per_frame": _per_frame(a, b),
    }


def _paired(a, b):
    """Both runs reduced to their common frames, in the order of the first, and the number of frames."""
    for name in ("classes", "is_thing"):
        if not np.array_equal(getattr(a, name), getattr(b, name)):
            raise InputError(
                f"expected two runs against truth of the same classes, found {', '.join(map(str, a.classes))} and "
                f"{', '.join(map(str, b.classes))}"
            )
    for run in (a, b):
        if len(set(run.names.tolist())) < len(run.names):
            raise InputError("expected every frame once in a run, found a name twice")
    place = {name: i for i, name in enumerate(b.names.tolist())}
    pairs = np.array([(i, place[n]) for i, n in enumerate(a.names.tolist()) if n in place], dtype=np.intp).reshape(
        -1, 2
    )
    if not len(pairs):
        raise InputError(
            f"expected two runs on the same frames, found none in common among {len(a.names)} and {len(b.names)}"
        )
    counts = {"common": len(pairs), "only_a": len(a.names) - len(pairs), "only_b": len(b.names) - len(pairs)}

    def part(run, rows):
        return SimpleNamespace(
            names=run.names[rows],
            classes=run.classes,
            is_thing=run.is_thing,
            panoptic=run.panoptic[rows],
            semantic=run.semantic[rows].astype(np.float64),
        )

    return part(a, pairs[:, 0]), part(b, pairs[:, 1]), counts


def measures_of(panoptic: np.ndarray | None, semantic: np.ndarray | None, is_thing: np.ndarray) -> Any:
    """`means` by name, `pq` and `iou` per class, percent, of counts (..., C, 4) and (..., C, 2)."""
    iou, tp, fp, fn = np.moveaxis(panoptic, -1, 0)
    weight = tp + (fp + fn) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        pq, rq = 100 * iou / weight, 100 * tp / weight  # 0/0 is NaN: not seen
        sq = np.where(weight > 0, np.where(tp > 0, 100 * iou / tp, 0.0), np.nan)
        semantic_iou = 100 * semantic[..., 0] / semantic[..., 1]
    means = {
        "PQ": _mean(pq),
        "PQ_things": _mean(pq[..., is_thing]),
        "PQ_stuff": _mean(pq[..., ~is_thing]),
        "SQ": _mean(sq),
        "RQ": _mean(rq),
        "mIoU": _mean(semantic_iou),
    }
    return SimpleNamespace(means=means, pq=pq, iou=semantic_iou)


def _mean(values):
    """Mean over the last axis, ignoring NaN; NaN if all values are."""
    seen = ~np.isnan(values)
    count = seen.sum(axis=-1)
    total = np.where(seen, values, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _bootstrap(a, b, resamples, seed, progress):
    """Measures of each run over the resamples: two dicts of name, "pq" and "iou" to float64 (R,) or (R, C)."""
    random, frames, classes = np.random.default_rng(seed), len(a.names), len(a.classes)
    # Each run has a separate product, so that equal runs give bit-identical sums.
    tables = [np.concatenate([r.panoptic, r.semantic], axis=2).reshape(frames, -1) for r in (a, b)]
    block = max(1, min(resamples, BLOCK_BYTES // (8 * max(frames, 6 * classes))))
    parts = ([], [])
    for start in progress(range(0, resamples, block)):
        count = min(block, resamples - start)
        # A resample is the number of times each frame is drawn; its sums are a matrix product.
        times = random.multinomial(frames, np.full(frames, 1 / frames), count).astype(np.float64)
        for table, part in zip(tables, parts, strict=True):
            sums = (times @ table).reshape(count, classes, 6)
            found = measures_of(sums[..., :4], sums[..., 4:], a.is_thing)
            part.append({**found.means, "pq": found.pq, "iou": found.iou})
    return [{name: np.concatenate([p[name] for p in part]) for name in part[0]} for part in parts]


def _spread(a, b):
    """Interval and wins of the difference b - a over the resamples, float64 (R,) each; NaN values are ignored."""
    difference = b - a
    difference = difference[~np.isnan(difference)]
    if not difference.size:
        return {"interval": [math.nan, math.nan], "a_wins": math.nan, "b_wins": math.nan, "ties": math.nan}
    return {
        "interval": np.percentile(difference, INTERVAL).tolist(),
        "a_wins": float(np.mean(difference < 0)),
        "b_wins": float(np.mean(difference > 0)),
        "ties": float(np.mean(difference == 0)),
    }


def _per_class(a, whole, drawn):
    rows = []
    for i, (name, is_thing) in enumerate(zip(a.classes.tolist(), a.is_thing.tolist(), strict=True)):
        row = {"name": name, "is_thing": is_thing}
        for key in ("pq", "iou"):
            x, y = (float(getattr(w, key)[i]) for w in whole)
            interval = _spread(drawn[0][key][:, i], drawn[1][key][:, i])["interval"]
            row |= {f"{key}_a": x, f"{key}_b": y, f"{key}_difference": y - x, f"{key}_interval": interval}
        rows.append(row)
    return rows


def _per_frame(a, b):
    x, y = (measures_of(r.panoptic, r.semantic, r.is_thing).means["PQ"] for r in (a, b))
    difference = y - x
    order = np.argsort(-np.abs(np.nan_to_num(difference)), kind="stable")
    return [
        {"name": str(a.names[i]), "PQ_a": float(x[i]), "PQ_b": float(y[i]), "difference": float(difference[i])}
        for i in order
    ]
