# SPDX-License-Identifier: Apache-2.0
"""Colours and overlays: every id has its colour, unlabelled pixels keep the frame, borders where the ids change."""

import subprocess
import sys

import numpy as np
import pytest
from call_count import count_calls
from patience import PATIENCE_S

from yoso_ros.images.overlay import border_mask, build_palette, color_image, overlay_image
from yoso_ros.label_sets import load_label_set
from yoso_ros.results import UNLABELLED_ID, Segment

LABELS = load_label_set("camvid")
PALETTE = build_palette(LABELS)
ROAD, CAR = 3, 8


def random_ids(shape, seed=0):
    random = np.random.default_rng(seed)
    known = [
        class_id << 8 | (instance if label.is_thing else 0)
        for class_id, label in enumerate(LABELS.classes)
        for instance in (1, 2, 255)
    ]
    return random.choice(np.array([*known, UNLABELLED_ID], np.uint16), shape)


def test_stuff_has_the_colour_of_its_class():
    picture = color_image(np.full((3, 5), ROAD << 8, np.uint16), PALETTE)
    assert picture.shape == (3, 5, 3) and picture.dtype == np.uint8
    assert (picture == LABELS.classes[ROAD].color).all()


def test_every_pixel_is_looked_up():
    ids = random_ids((37, 53))
    picture = color_image(ids, PALETTE)
    for y, x in np.ndindex(*ids.shape):
        assert tuple(picture[y, x]) == tuple(PALETTE[int(ids[y, x]), :3])


def test_unlabelled_and_unknown_ids_are_black_and_transparent():
    assert not PALETTE[UNLABELLED_ID].any()
    assert not PALETTE[len(LABELS) << 8].any()


def test_instances_of_a_class_can_be_told_apart():
    shades = PALETTE[(CAR << 8) + 1 : (CAR << 8) + 31, :3].astype(int)
    distance = np.abs(shades[:, None] - shades[None]).sum(-1)
    distance[np.diag_indices(len(shades))] = 999
    assert distance.min() >= 20, "two of the first 30 instances look the same"
    assert np.diag(distance, 1).min() >= 40, "neighbouring instances look alike"


def test_border_mask_against_a_plain_loop():
    ids = random_ids((9, 11), seed=3)
    expected = np.zeros(ids.shape, np.uint8)
    for y, x in np.ndindex(*ids.shape):
        right = x + 1 < ids.shape[1] and ids[y, x] != ids[y, x + 1]
        below = y + 1 < ids.shape[0] and ids[y, x] != ids[y + 1, x]
        expected[y, x] = 255 * (right or below)
    np.testing.assert_array_equal(border_mask(ids), expected)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_blend(alpha):
    random = np.random.default_rng(1)
    frame = random.integers(0, 256, (80, 120, 3), np.uint8)
    ids = np.repeat(np.repeat(random_ids((8, 12), seed=2), 10, 0), 10, 1)
    picture = overlay_image(frame, ids, PALETTE, alpha)
    inside = border_mask(ids) == 0
    unlabelled = ids == UNLABELLED_ID
    expected = (1 - alpha) * frame + alpha * color_image(ids, PALETTE)
    labelled = inside & ~unlabelled
    assert labelled.any() and (inside & unlabelled).any()
    assert np.abs(picture[labelled] - expected[labelled]).max() <= 1
    np.testing.assert_array_equal(picture[inside & unlabelled], frame[inside & unlabelled])
    assert (picture[~inside] == 255).all()


def test_names_are_written_inside_the_picture_and_the_frame_is_left_alone():
    frame = np.zeros((120, 200, 3), np.uint8)
    ids = np.full((120, 200), CAR << 8 | 1, np.uint16)
    segment = Segment(CAR << 8 | 1, CAR, "car", True, 1, 0.9, ids.size, (0, 0, 200, 120), (199.0, 0.0))
    plain = overlay_image(frame, ids, PALETTE, 0.5)
    named = overlay_image(frame, ids, PALETTE, 0.5, [segment])
    assert (named != plain).any() and not frame.any()


def test_one_pixel_frames_and_padded_views():
    assert overlay_image(np.zeros((1, 1, 3), np.uint8), random_ids((1, 1)), PALETTE).shape == (1, 1, 3)
    padded = np.zeros((10, 40, 3), np.uint8)[:, :31]
    assert overlay_image(padded, np.full((10, 31), UNLABELLED_ID, np.uint16), PALETTE).shape == (10, 31, 3)


def test_an_overlay_loops_over_no_pixels():
    def calls(scale):
        ids = np.repeat(np.repeat(random_ids((18, 32)), scale, 0), scale, 1)
        frame = np.zeros((*ids.shape, 3), np.uint8)
        return count_calls(lambda: overlay_image(frame, ids, PALETTE))

    assert calls(40) == calls(5)


def test_the_modules_without_ros_load_neither_ros_nor_torch():
    code = (
        "import sys, yoso_ros.images.overlay, yoso_ros.images.decoding, yoso_ros.ros.worker\n"
        "found = {name.split('.')[0] for name in sys.modules} & {'rclpy', 'sensor_msgs', 'std_msgs', 'torch'}\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
