# SPDX-License-Identifier: Apache-2.0
"""sensor_msgs/PointCloud2 to points and back, without a copy per point."""

import sys

import numpy as np
from sensor_msgs.msg import PointCloud2, PointField

from yoso_ros.errors import InputError
from yoso_ros.geometry.point_cloud import cloud_bytes

DATATYPES = {PointField.FLOAT32: "f4", PointField.FLOAT64: "f8"}
FIELDS = (
    ("x", 0, PointField.FLOAT32),
    ("y", 4, PointField.FLOAT32),
    ("z", 8, PointField.FLOAT32),
    ("rgb", 12, PointField.FLOAT32),
    ("label", 16, PointField.UINT16),
    ("instance", 18, PointField.UINT16),
)


def cloud_message(cloud, header):
    """sensor_msgs/PointCloud2 of a cloud.

    Args:
        cloud: `yoso_ros.geometry.point_cloud.POINT` (H, W) for an organized cloud, or (n,).
        header: std_msgs/Header of the depth image or of the lidar's points.
    """
    height, width = cloud.shape if cloud.ndim == 2 else (1, cloud.size)
    message = PointCloud2(header=header, height=height, width=width, is_bigendian=sys.byteorder == "big")
    message.fields = [PointField(name=name, offset=offset, datatype=kind, count=1) for name, offset, kind in FIELDS]
    message.point_step = cloud.dtype.itemsize
    message.row_step = width * cloud.dtype.itemsize
    message.is_dense = bool(np.isfinite(cloud["z"]).all())
    message.data = cloud_bytes(cloud)
    return message


def read_points(message):
    """Coordinates of a sensor_msgs/PointCloud2: float32 (n, 3), in its order; padding and other fields are ignored.

    Raises:
        InputError: x, y, z are missing or of an unsupported type, or the data has the wrong length.
    """
    fields = {field.name: field for field in message.fields if field.name in "xyz"}
    if len(fields) < 3 or any(f.datatype not in DATATYPES for f in fields.values()):
        found = ", ".join(f"{f.name} (type {f.datatype})" for f in message.fields) or "none"
        raise InputError(f"expected the fields x, y, z as float32 or float64; found {found}")
    order = ">" if message.is_bigendian else "<"
    row_bytes = message.width * message.point_step
    data = np.frombuffer(message.data, np.uint8)
    if message.row_step < row_bytes or data.size != message.height * message.row_step:
        raise InputError(
            f"expected {message.height} rows of at least {row_bytes} bytes, found a row step of {message.row_step} "
            f"and {data.size} bytes"
        )
    try:
        point = np.dtype(
            {
                "names": list("xyz"),
                "formats": [order + DATATYPES[fields[name].datatype] for name in "xyz"],
                "offsets": [fields[name].offset for name in "xyz"],
                "itemsize": message.point_step,
            }
        )
    except ValueError as error:
        raise InputError(f"expected fields within the point step of {message.point_step} bytes: {error}") from error
    rows = data.reshape(message.height, message.row_step)[:, :row_bytes]
    points = np.ascontiguousarray(rows).reshape(-1).view(point)
    return np.stack([points[name] for name in "xyz"], axis=-1).astype(np.float32, copy=False)
