# SPDX-License-Identifier: Apache-2.0
"""bench_loading.py on a small rendered data set."""

import bench_loading
import pytest
import script

from yoso_ros.data.synthetic.dataset import Synthesis, write_dataset


@pytest.mark.parametrize("bad", [["--workers", "-1"], ["--seconds", "0"]])
def test_bad_values_are_named(bad, capsys):
    assert script.main(bench_loading, ["synthetic_mobilenetv2", "--data", "nowhere", *bad]) == 2
    assert bad[0] in capsys.readouterr().err


def test_rates_of_each_number_of_workers(tmp_path, capsys):
    write_dataset(tmp_path, Synthesis(count=6))
    command = ["synthetic_mobilenetv2", "--data", str(tmp_path), "--workers", "0", "1"]
    assert script.main(bench_loading, [*command, "--seconds", "0.3"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["0", "1"] and all(float(row[1]) > 1 for row in rows)
    assert rows[0][2] == "1.00x"
