# SPDX-License-Identifier: Apache-2.0
"""Streaming accuracy: ground truth compared with the answer available at that moment, even if it is late.

The idea follows sAP (Li, Wang and Ramanan, "Towards Streaming Perception", ECCV 2020, section 3), here with PQ: a model
is queried at the time of every frame and can only return what it has finished by then, so that being late costs as much
as being wrong.
Legend: `N` played frames, `T` moments.
"""

import heapq
from typing import Any

import numpy as np

from yoso_ros.bags.labels import LabelFrame
from yoso_ros.results import UNLABELLED_ID

REORDERED = 4  # answers that may complete in another order than that of their frames


def answers_in_use(moments: np.ndarray | list[float], arrivals: list[float] | np.ndarray) -> np.ndarray:
    """The newest available answer at each moment.

    Args:
        moments: float (T,), any clock.
        arrivals: float (N,), when the answer to each frame arrived, on the same clock; NaN for a frame without one.

    Returns:
        int64 (T,), the number of the latest frame whose answer has arrived by the moment; -1 before the first.
    """
    arrivals = np.asarray(arrivals, np.float64)
    frames = np.flatnonzero(np.isfinite(arrivals))
    order = frames[np.argsort(arrivals[frames], kind="stable")]
    # An answer overtaken by that of a later frame is no longer of use.
    newest = np.concatenate([[-1], np.maximum.accumulate(order)])
    return newest[np.searchsorted(arrivals[order], moments, side="right")]


def score_answers(scores: Any, truth: Any, answers: Any, choice: np.ndarray | range) -> dict[int, float]:
    """Compare answers with ground truth in one pass over both, holding one pair at a time.

    Args:
        scores: `TruthScores`, to which all pairs are added.
        truth: iterable of (frame number, `LabelFrame`), ascending.
        answers: iterable of (frame number, `LabelFrame`), ascending except among `REORDERED` neighbours.
        choice: int (N,), non-decreasing: the answer for the ground truth of each frame; -1 for none: unlabelled.

    Returns:
        dict of frame number to PQ in percent.

    Raises:
        ValueError: a chosen answer is not among the answers.
    """
    answers, (number, answer), quality = _rising(answers), (-1, None), {}
    for index, label in truth:
        wanted = int(choice[index])
        while number < wanted:
            number, answer = next(answers, (len(choice), None))
        if wanted >= 0 and number != wanted:
            raise ValueError(f"no answer to frame {wanted}")
        said = answer if wanted >= 0 else _unlabelled(label)
        quality[index] = scores.add(said, label, f"frame {index}")
    return quality


def _unlabelled(label):
    return LabelFrame(label.stamp_ns, np.full_like(label.panoptic, UNLABELLED_ID), [])


def _rising(answers):
    waiting = []
    for number, answer in answers:
        heapq.heappush(waiting, (number, answer))
        if len(waiting) > REORDERED:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)
