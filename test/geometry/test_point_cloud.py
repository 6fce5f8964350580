# SPDX-License-Identifier: Apache-2.0
"""Depth, camera model and labelled clouds against slow references that go point by point; no ROS needed."""

import math
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from yoso_ros.errors import InputError
from yoso_ros.geometry.camera_model import CameraModel
from yoso_ros.geometry.depth import decode_depth
from yoso_ros.geometry.point_cloud import cloud_bytes, cloud_from_depth, cloud_from_points, rotation_matrix
from yoso_ros.results import UNLABELLED_ID

H, W = 24, 32
K = (30.0, 0.0, 15.2, 0.0, 31.0, 11.7, 0.0, 0.0, 1.0)
WIDE = (-0.28, 0.07, 0.002, -0.001, -0.01)  # a barrel that bends the corners by pixels
RNG = np.random.default_rng(3)
PANOPTIC = RNG.integers(0, 65536, (H, W), np.uint16)
RGB = RNG.integers(0, 256, (H, W, 3), np.uint8)


def info(d=(), model="plumb_bob", k=K):
    p = (40.0, 0.0, 14.0, 0.0, 0.0, 41.0, 13.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return SimpleNamespace(height=H, width=W, k=k, d=d, p=p, distortion_model=model)


def distort(x, y, d, model):
    """Textbook formulas, one point at a time."""
    if model == "equidistant":
        radius = math.hypot(x, y)
        angle = math.atan(radius)
        bent = angle * (1 + sum(c * angle ** (2 * i + 2) for i, c in enumerate(d)))
        return (x * bent / radius, y * bent / radius) if radius > 0 else (x, y)
    k1, k2, p1, p2, k3 = [*d, *[0.0] * (5 - len(d))]
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def pixel_of(x, y, z, d=(), model="plumb_bob"):
    u, v = distort(x / z, y / z, d, model)
    return K[0] * u + K[2], K[4] * v + K[5]


def image(pixels, encoding, pad=0, big=False):
    height, width = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).view(np.uint8).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, pad)), constant_values=77)
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=big, step=rows.shape[1], data=rows.tobytes()
    )


@pytest.mark.parametrize("pad", [0, 3])
@pytest.mark.parametrize("big", [False, True])
def test_depth_is_metres_by_encoding(pad, big):
    millimetres = np.array([[0, 1, 1500], [65535, 2, 0]], np.uint16)
    expected = [[np.nan, 0.001, 1.5], [65.535, 0.002, np.nan]]
    for encoding in ("16UC1", "mono16"):
        depth = decode_depth(image(millimetres, encoding, pad, big))
        assert depth.dtype == np.float32
        np.testing.assert_allclose(depth, expected, rtol=1e-6)
    metres = np.array([[0.0, 1.25, np.nan], [np.inf, -1.0, 3.5]], np.float32)
    depth = decode_depth(image(metres, "32FC1", pad, big))
    np.testing.assert_array_equal(depth, np.float32([[np.nan, 1.25, np.nan], [np.nan, np.nan, 3.5]]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoding": "rgb8"}, "16UC1"),
        ({"height": 0}, "at least one pixel"),
        ({"step": 3}, "step of at least 6"),
        ({"data": b"12345"}, "found 5"),
    ],
)
def test_depth_of_no_use_is_named(change, said):
    message = image(np.ones((2, 3), np.uint16), "16UC1")
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(InputError, match=said):
        decode_depth(message)


@pytest.mark.parametrize(
    ("d", "model"), [((), "plumb_bob"), ((0.0,) * 5, "odd"), (WIDE, "plumb_bob"), ((0.02, -0.01, 0, 0), "equidistant")]
)
def test_a_ray_meets_its_pixel_again(d, model):
    x, y = CameraModel(info(d, model)).rays()
    for row in range(0, H, 5):
        for column in range(0, W, 5):
            back = pixel_of(x[row, column], y[row, column], 1.0, d if any(d) else (), model)
            assert back == pytest.approx((column, row), abs=1e-3)


def test_a_rectified_camera_uses_its_projection_matrix():
    x, y = CameraModel(info(WIDE), rectified=True).rays()
    assert (x[13, 20], y[20, 14]) == (pytest.approx(6 / 40), pytest.approx(7 / 41))


def test_cameras_of_no_use_are_named():
    with pytest.raises(InputError, match="calibrated"):
        CameraModel(info(k=(0.0,) * 9))
    with pytest.raises(InputError, match="plumb_bob.*'odd'"):
        CameraModel(info(WIDE, "odd"))


@pytest.mark.parametrize("organized", [True, False])
@pytest.mark.parametrize("rgb", [None, RGB])
def test_depth_cloud_against_a_loop(organized, rgb):
    depth = RNG.uniform(0.5, 9, (H, W)).astype(np.float32)
    depth[RNG.random((H, W)) < 0.3] = np.nan
    cloud = cloud_from_depth(depth, CameraModel(info()).rays(), PANOPTIC, rgb, organized)
    assert cloud.shape == ((H, W) if organized else (np.isfinite(depth).sum(),))
    data, at = cloud_bytes(cloud).tobytes(), 0
    assert len(data) == 20 * cloud.size
    for row in range(H):
        for column in range(W):
            z = float(depth[row, column])
            if math.isnan(z) and not organized:
                continue
            x, y, z_found, colour, label, instance = struct.unpack_from("=fffIHH", data, at)
            at += 20
            expected = ((column - K[2]) / K[0] * z, (row - K[5]) / K[4] * z, z)
            assert (x, y, z_found) == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
            assert label << 8 | instance == PANOPTIC[row, column]
            red, green, blue = (0, 0, 0) if rgb is None else map(int, rgb[row, column])
            assert colour == red << 16 | green << 8 | blue
    assert at == len(data)


def test_images_of_different_sizes_are_named():
    rays = CameraModel(info()).rays()
    with pytest.raises(InputError, match="depth 16x12, camera_info 32x24, panoptic 32x24"):
        cloud_from_depth(np.ones((12, 16), np.float32), rays, PANOPTIC)
    with pytest.raises(InputError, match="16x12.*32x24"):
        cloud_from_points(
            np.ones((5, 3), np.float32), (np.eye(3), np.zeros(3)), CameraModel(info()), PANOPTIC[:12, :16]
        )


@pytest.mark.parametrize(("d", "model"), [((), "plumb_bob"), (WIDE, "plumb_bob"), ((0.02, -0.01, 0, 0), "equidistant")])
def test_lidar_points_against_a_loop(d, model):
    points = RNG.uniform(-12, 12, (4000, 3)).astype(np.float32)
    points[::97] = np.nan
    points[5] = 0.0
    half = math.sqrt(0.5)
    # The lidar has x forward and z up; the camera looks along x, from 20 cm above and 10 cm before the lidar.
    rotation = rotation_matrix(-0.5, 0.5, -0.5, 0.5)
    np.testing.assert_allclose(rotation, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    np.testing.assert_allclose(rotation_matrix(0, 0, half, half), [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    translation = np.array([0.1, 0.0, 0.2])
    camera = CameraModel(info(d, model))
    whole = cloud_from_points(points, (rotation, translation), camera, PANOPTIC, RGB)
    in_view = cloud_from_points(points, (rotation, translation), camera, PANOPTIC, RGB, organized=False)
    assert whole.shape == (4000,)
    seen_count = near_border = 0
    edge_x, edge_y = camera.rays()
    for index, (px, py, pz) in enumerate(points.tolist()):
        x, y, z = -(py - 0.0), -(pz - 0.2), px - 0.1
        expected, sure = (UNLABELLED_ID, 0), True
        # What lies far outside the view is not judged by the formula, which bends back there.
        if z > 1e-3 and abs(x / z) < 1.2 * edge_x.max() + 0.1 and abs(y / z) < 1.2 * edge_y.max() + 0.1:
            u, v = pixel_of(x, y, z, d, model)
            sure = abs(u % 1 - 0.5) > 1e-3 and abs(v % 1 - 0.5) > 1e-3
            if -0.5 < u < W - 0.5 and -0.5 < v < H - 0.5:
                red, green, blue = map(int, RGB[round(v), round(u)])
                expected = int(PANOPTIC[round(v), round(u)]), red << 16 | green << 8 | blue
                seen_count += 1
        near_border += not sure
        found = whole[index]
        if sure:
            assert (int(found["label"]) << 8 | int(found["instance"]), int(found["rgb"])) == expected, index
        assert (found["x"], found["y"], found["z"]) == pytest.approx((px, py, pz), nan_ok=True)
    assert near_border < 20 and seen_count > 100
    assert abs(len(in_view) - seen_count) <= near_border
    kept = whole[np.isin(whole["x"], in_view["x"])]
    np.testing.assert_array_equal(kept.view(np.uint8), in_view.view(np.uint8))


def test_a_rotation_of_zeros_is_refused():
    with pytest.raises(InputError, match="quaternion"):
        rotation_matrix(0, 0, 0, 0)
