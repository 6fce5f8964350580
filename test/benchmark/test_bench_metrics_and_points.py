# SPDX-License-Identifier: Apache-2.0
"""The measurements of metrics and of point clouds: both ways agree, and the table has its columns."""

import bench_metrics
import bench_points
import script


def test_metrics(capsys):
    assert script.main(bench_metrics, ["--sizes", "48x64", "--pairs", "1", "--rounds", "1"]) == 0
    size, segments, literal, here, ratio = capsys.readouterr().out.splitlines()[-1].split()
    assert size == "48x64" and float(segments) >= 2 and float(literal) > 0 and float(here) > 0 and ratio.endswith("x")


def test_points(capsys):
    assert script.main(bench_points, ["--size", "48x64", "--rounds", "1"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["organized", "known", "plain"]
    assert script.main(bench_points, ["--rounds", "0"]) == 2
    assert "--rounds: expected at least 1, found 0" in capsys.readouterr().err
