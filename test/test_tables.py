# SPDX-License-Identifier: Apache-2.0
"""Names in tables: no formula for a spreadsheet, no column too many for Markdown."""

import csv
from types import SimpleNamespace

from yoso_ros.evaluation.recordings.segment_file import SegmentFile
from yoso_ros.evaluation.report import per_class_table
from yoso_ros.results import Segment
from yoso_ros.tables import csv_text, text_of_csv


def test_names_stay_names(tmp_path):
    for name in ("=1+1", "+x", "-x", "@x", "'=x", "road", "'"):
        assert text_of_csv(csv_text(name)) == name and csv_text(name)[:1] not in "=+-@"
    segment = Segment(1, 0, "=HYPERLINK(1)", True, 1, 0.5, 4, (0, 0, 2, 2), (0.5, 0.5), 0)

    frame = SimpleNamespace(stamp_ns=1, index=0, result=SimpleNamespace(segments=[segment]))
    with SegmentFile(tmp_path / "segments.csv") as file:
        file.add(frame)
    assert list(csv.DictReader((tmp_path / "segments.csv").open()))[0]["class_name"] == "'=HYPERLINK(1)"
    row = {"name": "a|b\nc", "is_thing": True, "pq": 0.5, "tp": 1}
    assert "| a\\|b c | thing | 50.0 | 1 |" in per_class_table({"per_class": [row]})
