# SPDX-License-Identifier: Apache-2.0
"""Every segment of a run as a line of CSV."""

import csv
from pathlib import Path
from typing import Any

from yoso_ros.files import atomic_path
from yoso_ros.stamps import stamp_text
from yoso_ros.tables import csv_text

SEGMENT_COLUMNS = ("id", "class_id", "class_name", "is_thing", "instance_id", "track_id", "score", "area")


class SegmentFile:
    """Writes one line per segment in a `with` block; the file is renamed into place when the block ends without error.

    Args:
        path: pathlib.Path of the CSV file.
    """

    def __init__(self, path: str | Path):
        self._whole = atomic_path(path)

    def __enter__(self):
        self._file = self._whole.__enter__().open("w", newline="")
        self._rows = csv.writer(self._file)
        box, centroid = ("x", "y", "width", "height"), ("centroid_x", "centroid_y")
        self._rows.writerow(("stamp", "frame", *SEGMENT_COLUMNS, *box, *centroid))
        return self

    def add(self, frame: Any) -> None:
        """Write the segments of a `ReplayedFrame`."""
        stamp = stamp_text(frame.stamp_ns)
        for s in frame.result.segments:
            plain = (
                s.id,
                s.class_id,
                csv_text(s.class_name),
                int(s.is_thing),
                s.instance_id,
                s.track_id,
                f"{s.score:.4f}",
                s.area,
            )
            centroid = (f"{value:.1f}" for value in s.centroid_xy)
            self._rows.writerow((stamp, frame.index, *plain, *s.box_xywh, *centroid))

    def __exit__(self, *error):
        self._file.close()
        return self._whole.__exit__(*error)
