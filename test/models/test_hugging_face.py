# SPDX-License-Identifier: Apache-2.0
"""Models of the hub: equal to transformers in outputs and preprocessing; their labels and their weights."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from hub_checkpoints import NAMES, processor_of, write_checkpoint

from yoso_ros.errors import InputError
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.preprocess import network_input
from yoso_ros.inference.segmenter import Segmenter, load_network
from yoso_ros.label_sets import load_label_set
from yoso_ros.models import load_config
from yoso_ros.models.hugging_face.config import aspect_size

transformers = pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")

FAMILIES = ("maskformer", "mask2former", "oneformer", "eomt", "eomt_dinov3")
GREY_LEVEL = 1 / 255 / 0.224  # after normalisation


@pytest.fixture(scope="module", params=FAMILIES)
def checkpoint(request, tmp_path_factory):
    """(folder, the model of transformers, the network of this package) of a family."""
    folder = tmp_path_factory.mktemp(request.param)
    model = write_checkpoint(request.param, folder)
    return folder, model, load_network(folder)


def processor(family, **fields):
    module = "eomt" if family.startswith("eomt") else family
    name = {"eomt": "Eomt", "maskformer": "MaskFormer", "mask2former": "Mask2Former", "oneformer": "OneFormer"}[module]
    module = __import__(f"transformers.models.{module}.image_processing_pil_{module}", fromlist=["x"])
    return getattr(module, f"{name}ImageProcessorPil")(**fields)


def frame_of(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.float32)
    smooth = torch.nn.functional.interpolate(torch.from_numpy(coarse).permute(2, 0, 1)[None], (height, width))
    return smooth[0].permute(1, 2, 0).numpy().astype(np.uint8)


def test_outputs_and_preprocessing_equal_those_of_transformers(checkpoint):
    folder, model, network = checkpoint
    config = network.config
    fields = {"class_info_file": None, "num_text": None} if config.family == "oneformer" else {}
    theirs = processor(config.family, **json.loads((folder / "preprocessor_config.json").read_text()), **fields)
    for height, width in ((48, 64), (120, 161), (300, 200), (97, 31)):
        frame = frame_of(height, width)
        ours, (size,) = network_input([frame], config, network.size_divisor)
        pixels = theirs(images=[frame], return_tensors="pt")["pixel_values"]
        normalised = network.normalize(ours)
        # OneFormer's goes on with an odd size; its authors and this package pad it to a multiple of 32.
        rows, columns = pixels.shape[2:]
        assert (rows, columns) == (size if config.resize == "edges" else ours.shape[2:])
        assert (normalised[..., :rows, :columns] - pixels).abs().max() <= 1.01 * GREY_LEVEL
    task = {"task_inputs": torch.tensor([config.task_tokens])} if config.family == "oneformer" else {}
    with torch.no_grad():
        expected, outputs = model(normalised, **task), network(ours)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(outputs.class_logits, expected.class_queries_logits, **close)
    torch.testing.assert_close(outputs.mask_logits, expected.masks_queries_logits, **close)
    assert outputs.mask_logits.shape[1:] == (config.num_proposals, ours.shape[2] // 4, ours.shape[3] // 4)


def test_size_rule_equals_that_of_transformers():
    from transformers.image_transforms import get_size_with_aspect_ratio

    generator = np.random.default_rng(0)
    for height, width, shortest, longest in generator.integers([1, 1, 32, 64], [2000, 2000, 900, 2000], (3000, 4)):
        sizes = tuple(map(int, (height, width, shortest, longest)))
        assert aspect_size(*sizes) == get_size_with_aspect_ratio(sizes[:2], *sizes[2:]), sizes


def test_segmenter_gives_a_result_at_the_size_of_the_frame(checkpoint):
    folder, _, network = checkpoint
    segmenter = Segmenter(network.config, create_engine("torch", network, "cpu", "fp32"))
    segmenter.score_threshold, segmenter.overlap_threshold = 0.2, 0.3
    result = segmenter(frame_of(70, 110))
    assert result.panoptic.shape == (70, 110) and segmenter.label_set is load_label_set("cityscapes")
    assert segmenter.config.source == str(folder) and segmenter.outputs(frame_of(70, 110), ("semantic",)).semantic.any()


def test_labels_come_from_known_sets_or_from_the_files_or_are_asked_for(tmp_path):
    def config_of(names, **fields):
        processor = {**processor_of("eomt"), **fields}
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
        labels = {str(i): name for i, name in enumerate(names)}
        (tmp_path / "config.json").write_text(
            json.dumps({"model_type": "eomt", "image_size": 64, "id2label": labels, "num_queries": 12})
        )
        return load_config(str(tmp_path))

    ade = [label.name.split(",")[0] for label in load_label_set("ade20k_panoptic").classes]
    ade[8] = "windowpane; window"
    assert config_of(ade).label_set is load_label_set("ade20k_panoptic")
    assert config_of([f"LABEL_{i}" for i in range(133)]).label_set is load_label_set("coco_panoptic")
    made = config_of(["floor", "robot", "box"], label_ids_to_fuse=[0]).label_set
    assert made.thing_ids == (1, 2) and made.classes[1].name == "robot"
    with pytest.raises(InputError, match="which of them are things.*label_set"):
        config_of([f"part {i}" for i in range(19)])
    yaml = tmp_path / "own.yaml"
    yaml.write_text(f"architecture: hugging_face\nsource: {tmp_path}\nlabel_set: cityscapes\nscore_threshold: 0.6\n")
    config = load_config(yaml)
    assert (config.name, config.score_threshold, config.label_set.name) == ("own", 0.6, "cityscapes")
    with pytest.raises(InputError, match="windows for semantic segmentation"):
        config_of(NAMES, do_split_image=True)
    with pytest.raises(InputError, match="expected shortest_edge and longest_edge 64"):
        dataclasses.replace(config, shortest_edge=32)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    write_checkpoint("eomt", tmp_path, trained=False)
    with pytest.raises(InputError, match="trained network, whose attn_mask_probs are 0"):
        load_network(tmp_path)
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    weights["attn_mask_probs"].zero_()
    save_file({**weights, "query.weight": weights["query.weight"] * float("nan")}, path, {"format": "pt"})
    with pytest.raises(InputError, match="finite weights"):
        load_network(tmp_path)
    del weights["query.weight"]
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(InputError, match="1 weights are missing.*query.weight"):
        load_network(tmp_path)
    path.unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="no"):
        load_network(tmp_path)
