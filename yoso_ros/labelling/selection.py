# SPDX-License-Identifier: Apache-2.0
"""Choose among the candidates one by one: each time the frame most worth labelling, given those already chosen."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from yoso_ros.labelling.appearance import difference, look_difference
from yoso_ros.labelling.interest import FrameInterest

# Weight of each reason at its greatest strength among the candidates. Unrest counts half, because things at the edge
# of the frame appear and vanish anyway.
WEIGHTS = {"uncertain": 1.0, "unrest": 0.5, "disagreement": 1.0, "new": 1.0, "rare": 1.0}
NAMED = 0.5  # a reason is stated if it is at least this strong; the strongest always is


@dataclass(frozen=True, slots=True)
class Chosen:
    """One chosen frame.

    Attributes:
        frame: `FrameInterest`.
        reasons: key of `WEIGHTS` to strength 0..1, the most important first.
        rarest: id of its rarest class if that is a reason, or None.
        difference: from the most similar frame labelled or chosen before, 0..1; 1 for the very first.
    """

    frame: FrameInterest
    reasons: dict[str, float]
    rarest: int | None
    difference: float


def choose(candidates, count, rarity, same_look, labelled=(), have=None):
    """Choose frames.

    Args:
        candidates: list of `FrameInterest`; ties go to the first in the list.
        count: maximum number of frames.
        rarity: callable class id -> 0..1.
        same_look: frames whose thumbnails differ by less (0 to 255) look the same and are never both chosen.
        labelled: list of uint8 (S + L,), descriptions of the frames that already have labels.
        have: Counter of class id to the number of labelled frames with it.

    Returns:
        list of `Chosen`; fewer than `count` if all others look like one of them.
    """
    if not candidates:
        return []
    looks = np.stack([c.look for c in candidates])
    fixed = {name: _spread([getattr(c, name) for c in candidates]) for name in ("uncertain", "unrest", "disagreement")}
    free, apart = np.ones(len(candidates), bool), np.full(len(candidates), np.inf, np.float32)
    have, chosen = Counter(have), []
    classes = sorted({c for f in candidates for c in f.classes})
    present = np.array([[c in f.classes for c in classes] for f in candidates], bool).reshape(len(candidates), -1)

    def take_note(look):
        np.minimum(apart, difference(look, looks), out=apart)
        free[look_difference(look, looks) < same_look] = False

    for look in labelled:
        take_note(look)
    while free.any() and len(chosen) < count:
        far = np.where(np.isinf(apart), 1.0, apart)
        # A class that has been labelled or chosen counts less for the next frame with it.
        rare = present * np.array([rarity(c) / (1 + have[c]) for c in classes])
        strengths = fixed | {"new": far / max(far[free].max(), 1e-6), "rare": rare.max(axis=1, initial=0.0)}
        total = sum(weight * np.asarray(strengths[name]) for name, weight in WEIGHTS.items())
        place = int(np.where(free, total, -np.inf).argmax())
        frame = candidates[place]
        own = {name: float(strengths[name][place]) for name in WEIGHTS}
        rarest = classes[int(rare[place].argmax())] if frame.classes else None
        chosen.append(Chosen(frame, _named(own), rarest, float(far[place])))
        have.update(frame.classes)
        free[place] = False
        take_note(frame.look)
    return chosen


def _named(strengths):
    ordered = sorted(strengths.items(), key=lambda item: -WEIGHTS[item[0]] * item[1])
    return {name: value for place, (name, value) in enumerate(ordered) if value >= NAMED or place == 0}


def _spread(values):
    """Values scaled from 0 (the minimum) to 1 (the maximum); all 0 if they are equal."""
    values = np.array(values, np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
