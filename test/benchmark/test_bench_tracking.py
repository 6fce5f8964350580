# SPDX-License-Identifier: Apache-2.0
"""The scene of the tracking benchmark, and that it notices ids that do not hold."""

import dataclasses

import bench_tracking
import drifting_things
import numpy as np
import pytest
import script

from yoso_ros.bags.from_dataset import write_dataset_bag
from yoso_ros.bags.labels import LabelFrame
from yoso_ros.data import open_dataset
from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset
from yoso_ros.label_sets import load_label_set
from yoso_ros.tracking import SegmentTracker

LABELS = load_label_set("synthetic")


@pytest.mark.parametrize(("count", "size"), [(1, (48, 64)), (50, (240, 320)), (7, (90, 31))])
def test_every_thing_is_whole_and_drifts(count, size):
    places = []
    for result in drifting_things.drifting_things(count, *size, 30, LABELS):
        things = [s for s in result.segments if s.is_thing]
        assert len(things) == count and len({s.area for s in things}) == 1
        for s in things:
            assert s.area == s.box_xywh[2] * s.box_xywh[3], "a rectangle that nothing hides"
        places.append({s.id: s.centroid_xy for s in things})
    steps = [[np.subtract(b[i], a[i]) for i in a] for a, b in zip(places[:-1], places[1:], strict=True)]
    np.testing.assert_allclose(np.abs(steps)[..., 0], 1)
    np.testing.assert_allclose(np.array(steps)[..., 1], 0)


def test_times_of_both_ways():
    results = list(drifting_things.drifting_things(12, 90, 120, 9, LABELS))
    times, literal = drifting_things.tracking_times(results)
    assert (len(times), len(literal)) == (7, 3) and min(times + literal) > 0


def test_ids_that_change_are_noticed(monkeypatch):
    class Swapping(SegmentTracker):
        def update(self, result, stamp_ns):
            tracked = super().update(result, stamp_ns)
            ids = [s.track_id for s in tracked.segments]
            if stamp_ns == 4 * drifting_things.PERIOD_NS:
                ids[1], ids[2] = ids[2], ids[1]
            segments = [dataclasses.replace(s, track_id=i) for s, i in zip(tracked.segments, ids, strict=True)]
            return dataclasses.replace(tracked, segments=segments)

    monkeypatch.setattr(drifting_things, "SegmentTracker", Swapping)
    with pytest.raises(AssertionError, match="frame 4: a thing has changed its id"):
        drifting_things.tracking_times(drifting_things.drifting_things(12, 90, 120, 9, LABELS))


def drive(count=6, steps=8):
    """Truth with track ids: rectangles that drift, one of them a crowd."""
    for step, result in enumerate(drifting_things.drifting_things(count, 60, 80, steps, LABELS)):
        segments, panoptic = [], result.panoptic.copy()
        for s in result.segments:
            is_crowd = s.id == LABELS.thing_ids[0] << 8 | 1
            if is_crowd:
                panoptic[panoptic == s.id] = LABELS.thing_ids[0] << 8
            number = s.id & 0xFF00 if is_crowd else s.id
            track = 1000 + s.id if s.is_thing and not is_crowd else 0
            segments.append(dataclasses.replace(s, id=number, instance_id=number & 0xFF, track_id=track))
        yield LabelFrame(step * drifting_things.PERIOD_NS, panoptic, segments)


def test_true_masks_are_tracked():
    quality = drifting_things.track_true_masks(drive(), LABELS)
    assert quality["STQ"] == quality["VPQ"] == quality["id_consistency_percent"] == 100
    assert (quality["frames"], quality["true_tracks"], quality["predicted_tracks"]) == (8, 5, 5)
    assert quality["matches"] == 8 * 5 and quality["id_switches"] == 0


def test_the_numbers_of_the_things_do_not_help(monkeypatch):
    class ByNumber:
        """Takes the instance number for the thing."""

        def update(self, result, stamp_ns):
            segments = [dataclasses.replace(s, track_id=s.id + 1) for s in result.segments]
            return dataclasses.replace(result, segments=segments)

    monkeypatch.setattr(drifting_things, "SegmentTracker", ByNumber)
    assert drifting_things.track_true_masks(drive(12), LABELS)["id_consistency_percent"] < 70


def test_the_command_on_a_recording(tmp_path, capsys):
    write_dataset(
        tmp_path / "data", Synthesis(count=6, width=96, height=64, split="val", frames_per_scene=6, rate_hz=10)
    )
    write_dataset_bag(open_dataset(tmp_path / "data", "val"), tmp_path / "bag")
    assert script.main(bench_tracking, ["--recording", str(tmp_path / "bag")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "true masks of 6 frames" in lines[0] and any("id switches" in line for line in lines)


def test_the_command(capsys):
    assert script.main(bench_tracking, ["--things", "5", "--sizes", "60x80", "--frames", "4"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[:2] == ["80x60", "5"] and float(row[2]) >= float(row[4]) > 0
    assert script.main(bench_tracking, ["--things", "0"]) == 2
    assert "expected 3 or more and 1 to 765, found 100 and 0" in capsys.readouterr().err
