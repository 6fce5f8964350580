# SPDX-License-Identifier: Apache-2.0
"""Frames from recordings, image folders, videos and the rendered scene, all behind `open_source`. No ROS here."""

from pathlib import Path

from yoso_ros.bags import rendered
from yoso_ros.bags.frames import CameraInfo, CompressedImage, Frame, RawImage
from yoso_ros.bags.pictures import IMAGE_SUFFIXES, VIDEO_SUFFIXES, ImageFiles, VideoFile
from yoso_ros.errors import InputError

__all__ = ["CameraInfo", "CompressedImage", "Frame", "RawImage", "open_source"]


def open_source(source, topic=None):
    """Open anything that has frames.

    Args:
        source: "synthetic" for the rendered scene, or the path of a rosbag2 folder, a .mcap, .db3 (also .zstd) or .bag
            file, a folder of images, a video file, or one image.
        topic: image topic of a recording; None takes the only camera topic.

    Returns:
        an object with `len()`, `name`, `rate_hz` (frames/s), `losses` (lines that describe what a damaged recording has
        lost; reading may find more), for a recording `unchecked` (files without checksums), and an iterator of `Frame`
        that restarts each time.

    Raises:
        InputError: no such path, unknown kind, nothing readable, or an unsuitable topic; also while iterating.
    """
    if str(source) == rendered.NAME:
        return rendered.RenderedScene()
    path = Path(source)
    if not path.exists():
        raise InputError(f"no such source: {path}; expected {rendered.NAME!r} or the path of a bag, images or a video")
    suffix = path.suffix.lower()
    # rosbags is slow to import and only needed for recordings.
    if is_recording(path):
        from yoso_ros.bags.recording import Recording

        return Recording(path, topic)
    if path.is_dir():
        return ImageFiles.from_folder(path)
    if suffix in IMAGE_SUFFIXES:
        return ImageFiles(path, [str(path)])
    if suffix in VIDEO_SUFFIXES:
        return VideoFile(path)
    raise InputError(f"{path}: expected a bag (.mcap, .db3), a video or an image, found {suffix or 'no suffix'}")


def is_recording(path):
    """Whether a path looks like a rosbag2 folder or a file of a recording."""
    if path.is_dir():
        return any(p.name == "metadata.yaml" or _is_recording_file(p) for p in path.iterdir())
    return _is_recording_file(path)


def _is_recording_file(path):
    return path.name.removesuffix(".zstd").endswith((".mcap", ".db3")) or path.suffix == ".bag"
