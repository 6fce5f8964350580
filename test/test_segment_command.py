# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros segment` and videos: whatever is not processed is counted and said, and the exit code tells."""

import cv2
import numpy as np
import pytest

import yoso_ros.cli.segment
from yoso_ros.bags import open_source
from yoso_ros.benchmark.constant_segmenter import ConstantSegmenter
from yoso_ros.cli import main
from yoso_ros.errors import InputError


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (24, 40, 3), np.uint8)


@pytest.fixture
def segment(tmp_path, monkeypatch):
    monkeypatch.setattr(yoso_ros.cli.segment, "load_from_arguments", lambda _: ConstantSegmenter("constant"))
    return lambda *paths: main(["segment", *map(str, paths), "--output", str(tmp_path / "out")])


def test_two_images_of_one_name_do_not_become_one(segment, tmp_path, capsys):
    paths = [tmp_path / "a/x.jpg", tmp_path / "b/x.png"]
    for path in paths:
        path.parent.mkdir()
        cv2.imwrite(str(path), picture(1))
    assert segment(*paths) == 2
    assert "b/x.png would both become x_panoptic.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_bad_files_are_left_out_and_counted(segment, tmp_path, capsys):
    good, cut = tmp_path / "good.jpg", tmp_path / "cut.jpg"
    cv2.imwrite(str(good), picture(1))
    cut.write_bytes(good.read_bytes()[:-600])
    assert segment(cut, good) == 2
    said = capsys.readouterr()
    assert "1 of 2 images" in said.out and "cut.jpg: expected a whole JPEG picture" in said.err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "good_panoptic.png",
        "good_overlay.png",
        "good_segments.json",
    }
    assert segment(good) == 0


def test_a_video_that_is_cut_off_says_how_many_frames_it_lacks(tmp_path):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (40, 24))
    for index in range(30):
        writer.write(picture(index))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(path)
    given = sum(1 for _ in source)
    assert 5 < given < len(source) == 30
    assert source.losses == [f"{30 - given} of 30 frames cannot be decoded"]


def test_a_video_that_says_it_is_huge_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "video.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (40, 24))
    writer.write(picture(0))
    writer.release()
    monkeypatch.setenv("YOSO_MAX_IMAGE_PIXELS", "900")
    with pytest.raises(InputError, match="expected at most 900 pixels, found 40x24"):
        open_source(path)
