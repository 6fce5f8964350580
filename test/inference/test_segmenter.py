# SPDX-License-Identifier: Apache-2.0
"""Segmenter: golden map end to end, any frame size, batches, thresholds, clear errors.

Random weights appear here only to check shapes and invariants, never as results.
"""

import dataclasses
import json

import numpy as np
import pytest
import torch

import yoso_ros
from yoso_ros.checkpoint import save_checkpoint
from yoso_ros.errors import InputError
from yoso_ros.models import create_model, load_config
from yoso_ros.models.yoso.official_checkpoint import load_official_state_dict

SMALL = "yoso_mobilenetv2_camvid"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights whose class scores are not all void, so that maps are not empty."""
    torch.manual_seed(0)
    config = load_config(SMALL)
    model = create_model(config)
    for stage in model.decoder.stages:
        torch.nn.init.normal_(stage.class_predictor.weight, std=2.0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_checkpoint(path, model.state_dict(), config, {"random": True})
    return path


@pytest.fixture(scope="module")
def segmenter(weights):
    return yoso_ros.load_segmenter(SMALL, weights, engine="torch", score_threshold=0.05, overlap_threshold=0.1)


def check(result, frame):
    assert result.panoptic.dtype == np.uint16 and result.semantic.dtype == np.uint8
    assert result.panoptic.shape == result.semantic.shape == result.confidence.shape == frame.shape[:2]
    assert np.array_equal(result.panoptic >> 8, result.semantic)
    assert np.array_equal(result.confidence == 0, result.panoptic == 65535)
    ids, areas = np.unique(result.panoptic[result.panoptic != 65535], return_counts=True)
    assert {s.id: s.area for s in result.segments} == dict(zip(ids.tolist(), areas.tolist(), strict=True))
    assert set(result.timings_ms) == {"preprocess", "inference", "postprocess"}


@pytest.mark.parametrize("size", [(360, 480), (1, 1), (7, 300), (500, 41), (101, 77)])
def test_any_frame_size(segmenter, size):
    frame = np.random.default_rng(size[0]).integers(0, 256, (*size, 3), np.uint8)
    check(segmenter(frame), frame)


def test_batch_of_different_sizes(segmenter):
    generator = np.random.default_rng(5)
    frames = [generator.integers(0, 256, (*s, 3), np.uint8) for s in ((120, 160), (90, 200), (120, 160))]
    for result, frame in zip(segmenter.batch(frames), frames, strict=True):
        check(result, frame)
    assert segmenter.batch([]) == []
    # Frames of one network size do not see each other.
    same = segmenter.batch([frames[0], frames[2]])
    alone = segmenter(frames[2])
    assert (same[1].panoptic != alone.panoptic).mean() < 1e-3


def test_timings_add_up_to_the_call(segmenter):
    import time

    frame = np.zeros((200, 300, 3), np.uint8)
    start = time.perf_counter()
    result = segmenter(frame)
    spent = 1e3 * (time.perf_counter() - start)
    assert all(value > 0 for value in result.timings_ms.values()) and sum(result.timings_ms.values()) <= spent


def test_thresholds_take_effect_and_are_checked(segmenter):
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    before = segmenter.score_threshold
    assert segmenter(frame).segments
    segmenter.score_threshold = 1.0
    assert segmenter(frame).segments == []
    segmenter.score_threshold = before
    with pytest.raises(ValueError, match="score_threshold: expected 0 to 1, found 1.5"):
        segmenter.score_threshold = 1.5


def test_golden_image_end_to_end(golden, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(golden))
    import fill

    # The shortest edge of the golden image, so that the frame passes the network at its own size.
    config = dataclasses.replace(load_config("yoso_r50_coco"), shortest_edge=256)
    keys = json.loads((golden / "keys_coco.json").read_text())
    model = create_model(config).eval()
    load_official_state_dict(model, {k: torch.from_numpy(np.asarray(fill.value(k, s))) for k, s, _ in keys})
    from yoso_ros.inference import Segmenter
    from yoso_ros.inference.engines import create_engine

    result = Segmenter(config, create_engine("torch", model, "cpu", "fp32"))(fill.image(1, 256, 320))
    truth = np.load(golden / "golden_coco.npz")["A_panoptic_seg"]
    segments = json.loads((golden / "golden_coco.json").read_text())["A"]
    classes = np.full(len(segments) + 1, 255)
    for segment in segments:
        classes[segment["id"]] = segment["category_id"]
    assert (result.semantic != classes[truth]).sum() <= 20
    assert len(result.segments) == len(segments)


RANDOM = object()  # stands for the module's weights file


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "nothing"}, "unknown model 'nothing'"),
        (
            {"model": "yoso_r50_coco", "download": False},
            "the weights of yoso_r50_coco are not here: run `yoso-ros download",
        ),
        ({"weights": "missing.safetensors"}, "expected a weights file at missing.safetensors"),
        ({"weights": RANDOM, "engine": "magic"}, "engine: expected one of auto, torch"),
        ({"weights": RANDOM, "precision": "int3"}, "precision: expected one of"),
        ({"weights": RANDOM, "device": "tpu"}, "device: expected auto, cpu, cuda"),
        ({"weights": RANDOM, "device": "cuda:99"}, "cuda:99 is not present"),
        ({"weights": RANDOM, "device": "cpu", "precision": "fp16"}, "fp16 needs a CUDA device"),
        ({"weights": RANDOM, "model": "yoso_r50_coco"}, "keys do not fit the model"),
    ],
)
def test_bad_arguments_say_what_was_expected(weights, arguments, message):
    arguments = {"model": SMALL, **arguments}
    if arguments.get("weights") is RANDOM:
        arguments["weights"] = weights
    with pytest.raises(InputError, match=message):
        yoso_ros.load_segmenter(**arguments)
