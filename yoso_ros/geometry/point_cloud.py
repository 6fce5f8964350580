# SPDX-License-Identifier: Apache-2.0
"""Labelled points from a panoptic image and either a depth image or the points of a lidar; numpy only, no ROS.

Legend: `H W` size of the image, `n` points. A cloud is a numpy array of `POINT`: x, y, z in metres, rgb packed as
0x00RRGGBB, label (class id, 255 = unlabelled) and instance, so that `label << 8 | instance` is the panoptic id.
"""

import array

import cv2
import numpy as np

from yoso_ros.errors import InputError
from yoso_ros.results import UNLABELLED_ID

# For ROS, `rgb` is a float32 whose bits are the packed colour.
POINT = np.dtype([("x", "f4"), ("y", "f4"), ("z", "f4"), ("rgb", "u4"), ("label", "u2"), ("instance", "u2")])


def cloud_from_depth(depth, rays, panoptic, rgb=None, organized=True):
    """Points of a depth image that is aligned with the panoptic image.

    Args:
        depth: float32 (H, W), metres, NaN where unknown.
        rays: `CameraModel.rays()`: float32 (H, W) x and y.
        panoptic: uint16 (H, W), panoptic ids.
        rgb: uint8 (H, W, 3), or None for black.
        organized: True for one point per pixel, with x y z NaN where the depth is unknown; False for known points only.

    Returns:
        `POINT` (H, W) or, if not organized, (n,), in the camera's optical frame.

    Raises:
        InputError: the images differ in size; the message lists the sizes.
    """
    sizes = {"depth": depth.shape, "camera_info": rays[0].shape, "panoptic": panoptic.shape}
    if rgb is not None:
        sizes["colour"] = rgb.shape[:2]
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {width}x{height}" for name, (height, width) in sizes.items())
        raise InputError(f"expected images of one size (depth aligned to the camera), found {found}")
    chosen = None if organized else np.flatnonzero(np.isfinite(depth))

    def pick(pixels):
        return pixels.reshape(-1) if chosen is None else pixels.reshape(-1)[chosen]

    z = pick(depth)
    cloud = np.empty(z.shape, POINT)
    np.multiply(pick(rays[0]), z, out=cloud["x"])
    np.multiply(pick(rays[1]), z, out=cloud["y"])
    cloud["z"] = z
    _set_labels(cloud, pick(panoptic))
    cloud["rgb"] = 0 if rgb is None else pick(_packed(rgb))
    return cloud.reshape(depth.shape) if organized else cloud


def cloud_from_points(points, camera_in_sensor, camera, panoptic, rgb=None, organized=True):
    """Points of another sensor, each with the label of the pixel it projects to.

    A point occluded from the camera by another object gets the label of that object.

    Args:
        points: float32 (n, 3), metres, in the sensor's frame; NaN for none.
        camera_in_sensor: (rotation (3, 3), translation (3,)): pose of the camera's optical frame in the sensor's frame.
        camera: `CameraModel`.
        panoptic: uint16 (H, W), panoptic ids.
        rgb: uint8 (H, W, 3), or None for black.
        organized: True for all points in order, those out of view unlabelled and black; False for those in view only.

    Returns:
        `POINT` (n,) in the sensor's frame; fewer than n when not organized.

    Raises:
        InputError: the images differ in size.
    """
    sizes = {camera.size, panoptic.shape} | (set() if rgb is None else {rgb.shape[:2]})
    if len(sizes) > 1:
        found = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InputError(f"expected camera_info and images of one size, found {found}")
    rotation, translation = (np.asarray(part, np.float32) for part in camera_in_sensor)
    row, column, seen = camera.project((points - translation) @ rotation)  # the transpose of R for rows
    if not organized:
        points, row, column, seen = points[seen], row[seen], column[seen], seen[seen]
    cloud = np.empty(len(points), POINT)
    cloud["x"], cloud["y"], cloud["z"] = points.T
    _set_labels(cloud, np.where(seen, panoptic[row, column], np.uint16(UNLABELLED_ID)))
    cloud["rgb"] = 0 if rgb is None else np.where(seen, _packed(rgb)[row, column], np.uint32(0))
    return cloud


def _set_labels(cloud, panoptic):
    np.right_shift(panoptic, 8, out=cloud["label"])
    np.bitwise_and(panoptic, 0xFF, out=cloud["instance"])


def _packed(rgb):
    """uint32 (H, W), 0x00RRGGBB."""
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2BGRA).view("<u4")[..., 0] & np.uint32(0xFFFFFF)


def cloud_bytes(cloud):
    """The bytes of a cloud as an array.array("B"), the only type that ROS messages take without checking each byte."""
    data = array.array("B")
    data.frombytes(np.ascontiguousarray(cloud).reshape(-1).view(np.uint8).data)
    return data


def rotation_matrix(x, y, z, w):
    """Rotation (3, 3), float64, of a quaternion of any length.

    Raises:
        InputError: all four are zero.
    """
    length = float(np.linalg.norm((x, y, z, w)))
    if not np.isfinite(length) or length < 1e-6:
        raise InputError(f"expected a rotation as quaternion x y z w, found {x} {y} {z} {w}")
    x, y, z, w = x / length, y / length, z / length, w / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
