# SPDX-License-Identifier: Apache-2.0
"""What speaks for labelling a frame, frame by frame of a recording: doubt, unrest of the tracks, disagreement.

Legend: `H W` size of a frame in pixels.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.labelling.appearance import describe
from yoso_ros.tracking import SegmentTracker

SMALLEST_SHARE = 0.0005  # of the frame's pixels: what is smaller does not count as seen


@dataclass(frozen=True, slots=True)
class FrameInterest:
    """One frame as a candidate.

    Attributes:
        recording: number in the list of recordings; index: of the frame in it; stamp_ns: nanoseconds.
        uncertain: 100 minus the mean confidence in percent; an unlabelled pixel has none.
        unrest: percent of the things that are seen in this frame and in neither neighbour, or in both and not here.
        disagreement: percent of the pixels to which a second model gives another class; 0 without one.
        classes: ids of the classes that are seen, ascending.
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
    """The frames of a recording with what speaks for each; two are held at a time.

    Args:
        source: frames with `stamp_ns` and `image`, as `yoso_ros.bags.open_source` gives.
        decode: callable from a frame's image to uint8 (H, W, 3) RGB; raises InputError where it cannot.
        segmenter: callable from uint8 (H, W, 3) RGB to `PanopticResult` with a `label_set`.
        second: another one, with the same classes by name where they are shared, or None.
        every: of so many frames the first is looked at.
        recording: number of the recording.
        faults: list that takes a line for each frame that cannot be decoded; None lets the error through.

    Yields:
        `FrameInterest`.
    """
    tracker, same = SegmentTracker(), None if second is None else _class_table(second.label_set, segmenter.label_set)
    before, waiting = None, None  # track ids of the frame before; the frame that waits for its follower, with its own
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
    """The frame with its unrest; the first and the last of a recording have no say."""
    if before is None or after is None:
        return found
    flashes, gaps = here - before - after, (before & after) - here
    everything = len(here) + len(gaps)
    unrest = 100 * (len(flashes) + len(gaps)) / everything if everything else 0.0
    return dataclasses.replace(found, unrest=unrest)


def _class_table(labels, wanted):
    """Class id of one label set to that of another by name, uint8 (256,); those without a namesake and 255 stay 255."""
    ids = {c.name: i for i, c in enumerate(wanted.classes)}
    table = np.full(256, 255, np.uint8)
    table[: len(labels)] = [ids.get(c.name, 255) for c in labels.classes]
    if not (table[: len(labels)] != 255).any():
        raise InputError(f"expected two models with classes of the same names, found {labels.name} and {wanted.name}")
    return table


def _disagreement(first, second):
    known = (first != 255) & (second != 255)
    return 100 * float(np.count_nonzero((first != second) & known)) / first.size
