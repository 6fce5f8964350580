# SPDX-License-Identifier: Apache-2.0
"""Track ids: against a literal association, over motion, gaps, cuts and classes, and the time they take."""

import numpy as np
import pytest
from call_count import count_calls

from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, PanopticResult, segments_of
from yoso_ros.tracking import FIRST_THING_TRACK, SegmentTracker, stuff_track
from yoso_ros.tracking.association import greedy_pairs, mask_overlap, nearness

LABELS = load_label_set("synthetic")
FLOOR, BOX, PERSON = 0, *LABELS.thing_ids[::2][:2]
STEP_NS = 100_000_000


def picture(things, shape=(120, 160)):
    """A result with rectangles (class, x, y, width, height) on the floor, numbered per class in their order."""
    panoptic = np.full(shape, FLOOR << 8, np.uint16)
    counts = {}
    for class_id, x, y, width, height in things:
        counts[class_id] = counts.get(class_id, 0) + 1
        panoptic[max(y, 0) : y + height, max(x, 0) : x + width] = class_id << 8 | counts[class_id]
    return result_of(panoptic)


def result_of(panoptic):
    semantic = (panoptic >> 8).astype(np.uint8)
    return PanopticResult(panoptic, semantic, semantic, segments_of(panoptic, LABELS))


def ids(result):
    """Track id of each instance id, things only, by (class, instance)."""
    return {(s.class_id, s.instance_id): s.track_id for s in result.segments if s.is_thing}


@pytest.mark.parametrize("farthest", [3, 15], ids=["within the map", "out of the map"])
def test_mask_overlap_against_sets_of_pixels(farthest):
    random = np.random.default_rng(0)
    before, after = random.integers(-1, 4, (2, 9, 11))
    rows, columns = np.nonzero(before >= 0)
    owners, shifts = before[rows, columns], random.uniform(-farthest, farthest, (4, 2))
    iou, inside = mask_overlap(rows, columns, owners, shifts, after, np.bincount(after[after >= 0], minlength=4))
    for track in range(4):
        dx, dy = np.rint(shifts[track]).astype(int)
        moved = {(y + dy, x + dx) for y, x in zip(*np.nonzero(before == track), strict=True)}
        moved = {(y, x) for y, x in moved if 0 <= y < 9 and 0 <= x < 11}
        for segment in range(4):
            pixels = set(zip(*np.nonzero(after == segment), strict=True))
            shared, smaller = len(moved & pixels), min(len(moved), len(pixels))
            assert iou[track, segment] == pytest.approx(shared / len(moved | pixels))
            assert inside[track, segment] == pytest.approx(shared / max(smaller, 1))


def test_greedy_pairs_against_one_pair_at_a_time():
    random = np.random.default_rng(1)
    for shape in ((0, 3), (3, 0), (1, 1), (6, 4), (5, 9)):
        scores = np.maximum(random.uniform(-0.5, 1, shape), 0)
        expected, left = [], scores.copy()
        while left.size and left.max() > 0:
            row, column = np.unravel_index(left.argmax(), shape)
            expected.append((row, column))
            left[row], left[:, column] = 0, 0
        assert sorted(zip(*greedy_pairs(scores), strict=True)) == sorted(expected)


def test_nearness_by_hand():
    near = nearness(np.array([[0.0, 0], [10, 0]]), np.array([100.0, 100]), np.array([[0.0, 5], [10, 0]]), [100, 30])
    np.testing.assert_allclose(near, [[0.5, 0], [0, 0]])  # too far, and less than 0.4 of the area


def test_ids_of_things_that_cross_and_of_stuff():
    tracker, seen = SegmentTracker(), []
    for step in range(12):
        # One goes right, one left, on rows of their own, and each frame numbers them the other way round.
        things = [(PERSON, 10 + 9 * step, 20, 16, 30), (PERSON, 120 - 9 * step, 60, 16, 30)]
        result = tracker.update(picture(things[:: 1 if step % 2 else -1]), step * STEP_NS)
        found = ids(result)
        order = (1, 2) if step % 2 else (2, 1)
        seen.append([found[PERSON, i] for i in order])
        (floor,) = [s for s in result.segments if not s.is_thing]
        assert floor.track_id == stuff_track(FLOOR)
    assert all(pair == seen[0] for pair in seen) and min(seen[0]) >= FIRST_THING_TRACK and len(set(seen[0])) == 2


def test_velocity_carries_an_id_over_missed_frames():
    def run(missing, max_missed=5):
        tracker, found = SegmentTracker(max_missed=max_missed), []
        for step in range(14):
            things = [] if step in missing else [(PERSON, 5 + 9 * step, 20, 12, 12)]
            found += ids(tracker.update(picture(things), step * STEP_NS)).values()
        return set(found)

    # Eight steps later it is far from where it was: only its motion tells.
    assert len(run(range(4, 9))) == 1
    assert len(run(range(4, 10))) == 2
    assert len(run(range(4, 6), max_missed=1)) == 2


def test_a_thing_that_comes_into_the_picture_keeps_its_id():
    def run(growing, others=lambda step: []):
        tracker, found = SegmentTracker(), []
        for step in range(8):
            result = picture([*others(step), growing(step)])
            found += [i for (kind, _), i in ids(tracker.update(result, step * STEP_NS)).items() if kind == PERSON]
        assert len(found) == 8
        return len(set(found))

    def entering(step):  # from the left, 14 pixels in each frame: its area grows by 15 times
        return PERSON, 0, 30, min(1 + 14 * step, 40), 40

    def rising(step):  # from behind a wall
        return PERSON, 60, 70 - min(1 + 12 * step, 40), 12, min(1 + 12 * step, 40)

    assert run(entering) == run(rising) == 1
    # A box that moves as fast makes the tracker expect that all do, also the sliver at the edge.
    assert run(entering, lambda step: [(BOX, 20 + 14 * step, 90, 12, 12)]) == 1


def test_what_appears_over_a_small_thing_that_goes_away_is_another_one_if_it_is_known():
    tracker = SegmentTracker()
    first = ids(tracker.update(picture([(PERSON, 10, 10, 40, 40), (PERSON, 52, 20, 4, 4)]), 0))
    second = ids(tracker.update(picture([(PERSON, 20, 10, 40, 40)]), STEP_NS))
    large, _ = (first[key] for key in sorted(first))
    assert list(second.values()) == [large]


def test_a_thing_of_another_class_or_place_is_another_one():
    tracker = SegmentTracker()
    first = ids(tracker.update(picture([(BOX, 10, 10, 20, 20)]), 0))
    second = ids(tracker.update(picture([(PERSON, 10, 10, 20, 20)]), STEP_NS))
    third = ids(tracker.update(picture([(PERSON, 100, 80, 20, 20)]), 2 * STEP_NS))
    assert len({*first.values(), *second.values(), *third.values()}) == 3


def test_cuts_make_everything_new_and_no_id_comes_back():
    things = picture([(BOX, 10, 10, 20, 20), (PERSON, 60, 60, 20, 20)])
    smaller = picture([(BOX, 10, 10, 20, 20), (PERSON, 60, 60, 20, 20)], (100, 100))
    tracker, used = SegmentTracker(), set()
    same = []
    for result, stamp in ((things, 10**9), (things, 10**9), (things, 3 * 10**9), (things, 0), (things, 6 * 10**9)):
        found = set(ids(tracker.update(result, stamp)).values())
        same.append(found <= used)
        used |= found
    # The same stamp and a pause of 2 s go on; backwards and a pause of 6 s are cuts, and so is another size.
    assert same == [False, True, True, False, False]
    assert not set(ids(tracker.update(smaller, 6 * 10**9)).values()) & used


def test_frames_without_things_or_without_anything():
    tracker = SegmentTracker()
    empty = result_of(np.full((5, 7), UNLABELLED_ID, np.uint16))
    for step, result in enumerate((empty, picture([(BOX, 1, 1, 3, 3)], (5, 7)), empty)):
        tracked = tracker.update(result, step)
        assert len(tracked.segments) == len(result.segments) and tracked.panoptic is result.panoptic


def drifting(count, shape, steps):
    """Results with `count` things that drift, on a grid so that none hides another."""
    random = np.random.default_rng(0)
    height, width = shape
    columns = int(np.ceil(np.sqrt(count * width / height)))
    cell = width // columns
    for step in range(steps):
        panoptic = np.full(shape, FLOOR << 8, np.uint16)
        for i in range(count):
            y, x = cell * (i // columns), cell * (i % columns) + step % (cell // 3)
            kind = LABELS.thing_ids[i % len(LABELS.thing_ids)]
            panoptic[y : y + cell // 2, x : x + cell // 2] = kind << 8 | (1 + i // len(LABELS.thing_ids))
        yield result_of(np.where(random.random(shape) < 0.001, UNLABELLED_ID, panoptic).astype(np.uint16))


def test_fifty_segments_keep_their_ids_without_a_loop_over_pixels():
    def calls(shape):
        tracker, found = SegmentTracker(), []
        first, second, *others = drifting(50, shape, 20)
        found.append(ids(tracker.update(first, 0)))
        count = count_calls(lambda: found.append(ids(tracker.update(second, STEP_NS))))
        found += [ids(tracker.update(result, step * STEP_NS)) for step, result in enumerate(others, 2)]
        assert all(f == found[0] for f in found) and len(set(found[0].values())) == 50
        return count

    # A pair more or less of segments that touch changes a few calls; a loop over pixels would make thousands.
    small, large = calls((240, 320)), calls((480, 640))
    assert large < 1.2 * small


def test_ids_of_a_rendered_drive_follow_the_objects():
    from yoso_ros.data.synthetic import Renderer, random_scene

    scene, renderer, tracker, seen = random_scene(3), Renderer(160, 120), SegmentTracker(), {}
    for step in range(40):
        panoptic = renderer.render(scene, step / 10).panoptic
        # The tracker must not profit from the numbers of the objects.
        objects = np.unique(panoptic)
        turned = np.zeros(1 << 16, np.uint16)
        for class_id in set(objects >> 8):
            values = objects[objects >> 8 == class_id]
            shuffled = np.random.default_rng(step).permutation(len(values)) + (1 if values[-1] & 255 else 0)
            turned[values] = class_id << 8 | shuffled
        for segment in tracker.update(result_of(turned[panoptic]), step * STEP_NS).segments:
            if segment.is_thing:
                number = int(panoptic[turned[panoptic] == segment.id][0])
                seen.setdefault(number, []).append(segment.track_id)
    pairs = [(a, b) for track in seen.values() for a, b in zip(track[:-1], track[1:], strict=True)]
    share = np.mean([a == b for a, b in pairs])
    print(f"{share:.4f} of {len(pairs)}")
    assert len(pairs) > 150 and share > 0.97
