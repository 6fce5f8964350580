# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark modules`: FLOPs equal the paper's, Equations 2 and 10 by hand, the figure, the command."""

import re

import pytest
import torch
from PIL import Image
from torch import nn

from yoso_ros.benchmark.flops import count_flops, count_parts
from yoso_ros.benchmark.modules import (
    AGGREGATION_CHANNELS,
    AGGREGATION_SIDE,
    PAPER_FLOPS,
    PAPER_FPS,
    aggregation_inputs,
    aggregation_ratio,
    attention_ratio,
    measure_fps,
    module_flops,
)
from yoso_ros.cli import main
from yoso_ros.models import load_config

# GMac of (backbone, neck, decoder) and parameters, of the authors' code by fvcore.
FACTS = {
    ("yoso_r50_coco", (512, 800)): ((33.55, 20.22, 3.61), 42_036_893),
    ("yoso_r50_coco", (800, 1333)): ((88.06, 53.06, 8.93), 42_036_893),
    ("yoso_r50_cityscapes", (1024, 2048)): ((171.76, 103.50, 17.15), 42_559_801),
    ("yoso_r50_ade20k", (640, 864)): ((45.29, 27.29, 4.76), 42_045_631),
    ("yoso_r50_mapillary", (1536, 2048)): ((257.63, 155.25, 38.33), 42_594_575),
}


def test_flops_of_tables_5_and_6_equal_the_papers_to_their_printed_digit():
    for name, flops in module_flops().items():
        unit = 1e9 if PAPER_FLOPS[name] >= 1e9 else 1e6
        assert round(flops / unit, 1) == PAPER_FLOPS[name] / unit, name


@pytest.mark.parametrize(("name", "size"), FACTS)
def test_flops_and_parameters_of_the_parts_equal_the_authors_code(name, size):
    expected, parameters = FACTS[name, size]
    parts = count_parts(load_config(name), size)
    assert list(parts) == ["backbone", "neck", "decoder"]
    for (flops, _), wanted in zip(parts.values(), expected, strict=True):
        assert flops / 1e9 == pytest.approx(wanted, abs=0.011)
    assert sum(count for _, count in parts.values()) == parameters


def test_convolutions_count_their_multiplications():
    images = torch.zeros(2, 6, 10, 8)
    assert count_flops(nn.Conv2d(6, 4, 3, stride=2, padding=1), images) == 2 * 4 * 5 * 4 * 6 * 9
    assert count_flops(nn.Conv2d(6, 4, 3, padding=1, groups=2), images) == 2 * 4 * 10 * 8 * 3 * 9
    # Each of the 80 input pixels is multiplied with 6 x 4 kernels of 4 x 4.
    assert count_flops(nn.ConvTranspose2d(6, 4, 4, 2, 1), images) == 2 * 80 * 6 * 4 * 16
    assert count_flops(nn.Linear(8, 3), images) == 2 * 6 * 10 * 8 * 3


def test_equation_2_by_hand():
    # c5..c2 = 64, 16, 4, 1 and d = 2: (4 * 84 + 85 * 2) / ((1 + 1 + 1 + 1) * 2 + 24 + 6) = 506 / 38.
    assert aggregation_ratio(64, 16, 4, 1, 2) == pytest.approx(506 / 38)


def test_equation_2_is_the_ratio_of_the_counted_flops_with_the_accumulation_added():
    flops = module_flops()
    c2, c3, c4, c5 = AGGREGATION_CHANNELS
    added = 3 * 128 * AGGREGATION_SIDE**2  # three sums of maps, which the counter leaves out
    assert aggregation_ratio(c5, c4, c3, c2, 128) == pytest.approx(flops["ifa"] / (flops["cfa"] + added))


def test_equation_10_by_hand():
    # n = 10, d = 20, t = 3: (4 * 10 * 400 + 2 * 100 * 20) / (2 * 10 * 20 * 3 + 2 * 100 * 20) = 20000 / 5200.
    assert attention_ratio(10, 20, 3) == pytest.approx(20000 / 5200)


def test_inputs_are_those_of_table_5():
    assert [tuple(p.shape) for p in aggregation_inputs("meta")] == [
        (1, 128, 256, 256), (1, 256, 128, 128), (1, 512, 64, 64), (1, 1024, 32, 32),
    ]  # fmt: skip


def test_settings_of_tables_7_to_10_run_with_their_own_decoder():
    fps = measure_fps(load_config("yoso_mobilenetv2_camvid"), (64, 64), "cpu", 1)
    assert set(fps) == {(table, value) for table, (_, values) in PAPER_FPS.items() for value in values}
    assert all(value > 0 for value in fps.values())
    # The setting that is the configuration's own is measured once.
    assert fps[7, 2] == fps[8, 3] == fps[9, 2]


def test_command_prints_the_tables_and_draws_figure_5(capsys, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra plots")
    from yoso_ros.benchmark import modules

    monkeypatch.setattr(modules, "AGGREGATION_SIDE", 32)
    monkeypatch.setattr(modules, "module_flops", lambda: {name: int(f) for name, f in PAPER_FLOPS.items()})
    assert main(["benchmark", "modules", "--rounds", "1", "--figures", str(tmp_path / "new")]) == 0
    out = capsys.readouterr().out
    assert re.findall(r"^ +(\w+) +([\d.]+[GM]) +([\d.]+[GM]) +\d+ +\d+$", out, re.M) == [
        ("IFA", "16.6G", "16.6G"), ("CFA", "2.1G", "2.1G"), ("MHCA", "31.5M", "31.5M"), ("SDCA", "5.4M", "5.4M"),
        ("DCA", "15.5M", "15.5M"), ("PDCA", "5.2M", "5.2M"), ("DDCA", "0.3M", "0.3M"),
    ]  # fmt: skip
    assert "yoso_r50_coco 800x1344: backbone 88.06 G 23,454,912" in out
    (figure,) = (tmp_path / "new").iterdir()
    with Image.open(figure) as image:
        assert (
            figure.name == "flops_reduction.png"
            and image.width > 2 * 400
            and len(image.convert("RGB").getcolors(1 << 20)) > 50
        )


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--fps-size", "12"], ["--device", "tpu"]])
def test_bad_arguments_exit_with_2(arguments, capsys):
    assert main(["benchmark", "modules", *arguments]) == 2
    assert capsys.readouterr().err.startswith("yoso-ros benchmark: ")
