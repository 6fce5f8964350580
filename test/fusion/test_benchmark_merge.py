# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark merge`: prints a table, and refuses what it cannot measure."""

import re

import pytest
import torch

from yoso_ros.benchmark import merge as benchmark
from yoso_ros.cli import main
from yoso_ros.models import load_config


def test_prints_both_times_and_the_ratio(capsys):
    sizes = ["--sizes", "96x130", "--output-size", "120x160"]
    assert main(["benchmark", "merge", *sizes, "--kept", "5", "12", "--rounds", "1"]) == 0
    rows = re.findall(
        r"^ +96x130 +120x160 +(\d+) +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)x +([\d.]+)$",
        capsys.readouterr().out,
        re.M,
    )
    assert [int(row[0]) for row in rows] == [5, 12]
    for kept, segments, literal, merge, least, ratio, bound in rows:
        assert least == merge  # of one round
        assert float(bound) <= float(merge)
        assert 1 <= int(segments) <= int(kept)
        assert float(ratio) == pytest.approx(float(literal) / float(merge), rel=0.1, abs=0.1)


def test_least_traffic_by_hand():
    # 2 maps of 32 x 40 cells in float32 (the input padded to 128 x 160), then 4 + 1 bytes for each of 100 x 150 pixels.
    assert benchmark.least_traffic((100, 130), (100, 150), 2) == 2 * 32 * 40 * 4 + 100 * 150 * 5


@pytest.mark.parametrize("kept", [1, 30, 100])
def test_exactly_the_asked_number_of_proposals_is_kept(kept):
    config = load_config("yoso_r50_coco")
    logits, masks = benchmark.panoptic_proposals(kept, (100, 200), len(config.label_set))
    assert masks.shape == (100, 32, 56) and logits.shape == (100, len(config.label_set) + 1)
    scores, classes = logits.softmax(-1).max(-1)
    assert ((classes < len(config.label_set)) & (scores > config.score_threshold)).sum() == kept


def test_maps_that_differ_are_an_error(monkeypatch):
    monkeypatch.setattr(benchmark, "literal_merge", lambda c, m, i, output_size, k: (torch.full(output_size, 7), []))
    with pytest.raises(RuntimeError, match="pixels of the merge differ"):
        benchmark.measure_merge((64, 64), (64, 64), 5, 1, load_config("yoso_r50_coco"))


@pytest.mark.parametrize(
    "arguments", ["--sizes 512", "--kept 101", "--rounds 0", "--output-size 0x5", "--model nothing"]
)
def test_bad_options_exit_with_2_and_one_line(arguments, capsys):
    assert main(["benchmark", "merge", *arguments.split()]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
