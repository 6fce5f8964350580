# SPDX-License-Identifier: Apache-2.0
"""Why a frame is worth labelling, for each frame of a recording: uncertainty, unrest of the tracks, disagreement.

Legend: `H W` size of a frame in pixels.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.labelling.appearance import describe
from yoso_ros.tracking import SegmentTracker

SMALLEST_SHARE = 0.0005  # share of the frame's pixels; smaller segments do not count as seen


@dataclass(frozen=True, slots=True)
class FrameInterest:
    """One frame as a candidate.

    Attributes:
        recording: number in the list of recordings; index: of the frame in it; stamp_ns: nanoseconds.
        uncertain: 100 minus the mean confidence in percent; an unlabelled pixel has none.
        unrest: percent of the things seen in this frame but in neither neighbour, or in both neighbours but not here.
        disagreement: percent of the pixels to which a second model assigns another class; 0 without one.
        classes: ids of the classes seen, ascending.
        look: uint8 (S + L,), see `yoso_ros.labelling.appearance`.
    """

    recording: int
    index: int
    stamp_ns: int
    uncertain: float
    unrest: float
    disagreement: float
    classes: tuple[int, ...]
    look: np.ndarray


def frame_interests(source, decode, segmenter, second=None, every=1, recording=0, faults=None):
    """The frames of a recording with the reasons to label each; two frames are held in memory at a time.

    Args:
        source: frames with `stamp_ns` and `image`, as `yoso_ros.bags.open_source` gives.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB; raises InputError where it cannot.
        segmenter: callable from uint8 (H, W, 3) RGB to `PanopticResult` with a `label_set`.
        second: a second one, whose classes are matched by name, or None.
        every: use every n-th frame.
        recording: number of the recording.
        faults: list to which a line is added for each frame that cannot be decoded; None raises the error.

    Yields:
        `FrameInterest`.
    """
    tracker, same = SegmentTracker(), None if second is None else _class_table(second.label_set, segmenter.label_set)
    before, waiting = (
        None,
        None,
    )  # track ids of the previous frame; the frame waiting for the next one, with its own ids
    for index, frame in enumerate(source):
        if index % every:
            continue
        try:
            image = decode(frame.image)
        except InputError as error:
            if faults is None:
                raise
            faults.append(f"frame {index}: {error}")
            continue
        result = tracker.update(segmenter(image), frame.stamp_ns)
        other = 0.0 if second is None else _disagreement(result.semantic, same[second(image).semantic])
        things = {s.track_id for s in result.segments if s.is_thing}
        if waiting is not None:
            found, ids = waiting
            yield _with_unrest(found, before, ids, things)
            before = ids
        smallest = SMALLEST_SHARE * result.panoptic.size
        found = FrameInterest(
            recording=recording,
            index=index,
            stamp_ns=frame.stamp_ns,
            uncertain=100 - 100 * float(result.confidence.mean()) / 255,
            unrest=0.0,
            disagreement=other,
            classes=tuple(sorted({s.class_id for s in result.segments if s.area >= smallest})),
            look=describe(image, result, len(segmenter.label_set)),
        )
        waiting = found, things
    if waiting is not None:
        yield _with_unrest(waiting[0], before, waiting[1], None)


def _with_unrest(found, before, here, after):
    """The frame with its unrest, which is 0 for the first and the last frame of a recording."""
    if before is None or after is None:
        return found
    flashes, gaps = here - before - after, (before & after) - here
    everything = len(here) + len(gaps)
    unrest = 100 * (len(flashes) + len(gaps)) / everything if everything else 0.0
    return dataclasses.replace(found, unrest=unrest)


def _class_table(labels, wanted):
    """Map class ids of one label set to another by name: uint8 (256,); 255 for void and classes not in the other."""
    ids = {c.name: i for i, c in enumerate(wanted.classes)}
    table = np.full(256, 255, np.uint8)
    table[: len(labels)] = [ids.get(c.name, 255) for c in labels.classes]
    if not (table[: len(labels)] != 255).any():
        raise InputError(f"expected two models with classes of the same names, found {labels.name} and {wanted.name}")
    return table


def _disagreement(first, second):
    known = (first != 255) & (second != 255)
    return 100 * float(np.count_nonzero((first != second) & known)) / first.size
