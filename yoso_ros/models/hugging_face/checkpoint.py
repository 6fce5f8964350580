# SPDX-License-Identifier: Apache-2.0
"""Checkpoints in the format of transformers: a folder with config.json, preprocessor_config.json and safetensors.

Never read: pickles, and code that comes with a checkpoint.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yoso_ros.errors import InputError
from yoso_ros.models.hugging_face.config import MASK_STRIDE
from yoso_ros.models.hugging_face.families import FAMILIES
from yoso_ros.models.hugging_face.labels import find_labels
from yoso_ros.models.hugging_face.network import HuggingFaceNetwork, import_transformers

_LOG = logging.getLogger(__name__)
TASK = "the task is panoptic"
BILINEAR = 2  # of Pillow
# Defaults of the processors for fields missing in their file.
IMAGENET: dict[str, Any] = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "rescale_factor": 1 / 255,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "maskformer": {"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 32},
    "mask2former": {"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 32},
    "oneformer": {"size": {"shortest_edge": 800, "longest_edge": 1333}},
    "eomt": {"size": {"shortest_edge": 640, "longest_edge": 640}},
    "eomt_dinov3": {"size": {"shortest_edge": 640, "longest_edge": 640}},
}


def complete_from_folder(mapping: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Complete the fields of a `HuggingFaceConfig` that a mapping leaves open, from the files of a checkpoint.

    Args:
        mapping: with "source"; its other fields are kept.
        folder: of the checkpoint.

    Raises:
        InputError: a file is missing or damaged, the model is of another family, or its frames need preprocessing
            that this package does not support.
    """
    source = mapping["source"]
    network = _read_json(folder / "config.json")
    family = network.get("model_type")
    if family not in FAMILIES:
        raise InputError(
            f"{source}: expected a panoptic model of the families {', '.join(FAMILIES)}, found model_type {family!r}"
        )
    _check_strides(network, source)
    processor = _read_processor(folder, family)
    fields = {
        "network": network,
        "backbone": _backbone_in_words(network),
        **_frame_fields(processor, network, source),
    }
    if family == "oneformer":
        fields["task_tokens"] = _task_tokens(folder, int(network.get("task_seq_len", 77)))
    labels = network.get("id2label") or {str(i): f"LABEL_{i}" for i in range(int(network.get("num_labels", 2)))}
    names = [labels[key] for key in sorted(labels, key=int)]
    if mapping.get("label_set") is None:
        fused = processor.get("label_ids_to_fuse", network.get("label_ids_to_fuse"))
        mapping = {**mapping, "label_set": find_labels(names, fused, source)}
    elif len(mapping["label_set"]) != len(names):
        raise InputError(f"{source}: expected a label set of {len(names)} classes, found {len(mapping['label_set'])}")
    return {**fields, **mapping}


def load_folder(network: HuggingFaceNetwork, folder: Path) -> None:
    """Load the weights of a checkpoint folder into a network, strictly.

    Raises:
        InputError: there are no safetensors, they are damaged, or keys are missing or of another shape.
    """
    transformers = import_transformers()
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder}: expected weights as safetensors, found none (pickled weights are never read)")
    try:
        with _quiet(transformers):
            model, info = transformers.AutoModelForUniversalSegmentation.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                dtype="float32",
            )
    except Exception as error:  # of many kinds: from the file format, from the shapes, from the library
        raise InputError(f"{folder}: its weights cannot be read: {' '.join(str(error).split())[:300]}") from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith("criterion."))
    if missing or info["mismatched_keys"]:
        raise InputError(
            f"{folder}: {len(missing)} weights are missing and {len(info['mismatched_keys'])} of another shape: "
            f"{', '.join([*missing, *(str(key) for key in info['mismatched_keys'])][:5])}"
        )
    if info["unexpected_keys"]:
        _LOG.warning("%s: weights that the network does not have: %s", folder, sorted(info["unexpected_keys"])[:5])
    probabilities = getattr(model, "attn_mask_probs", None)
    if probabilities is not None and probabilities.any():
        raise InputError(
            f"{folder}: expected a trained network, whose attn_mask_probs are 0, found {probabilities.tolist()}"
        )
    network.take(model)


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silence transformers, which shows a progress bar for every file that it opens."""
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: expected a file of the checkpoint, cannot read it ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, found something else ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def _read_processor(folder: Path, family: str) -> dict[str, Any]:
    """The checkpoint's preprocessing settings, completed with the defaults of its processor."""
    if (folder / "preprocessor_config.json").is_file():
        found = _read_json(folder / "preprocessor_config.json")
    else:
        found = _read_json(folder / "processor_config.json").get("image_processor", {})
    if isinstance(found.get("size"), int):  # as older versions wrote it
        found = {**found, "size": {"shortest_edge": found["size"], "longest_edge": found.get("max_size", 1333)}}
    return {**IMAGENET, **DEFAULTS[family], **{key: value for key, value in found.items() if value is not None}}


def _frame_fields(processor: dict[str, Any], network: dict[str, Any], source: str) -> dict[str, Any]:
    """Size rule and normalisation of a processor as fields of the configuration."""
    if processor.get("do_split_image"):
        raise InputError(
            f"{source}: this checkpoint cuts frames into windows for semantic segmentation; expected a panoptic one"
        )
    for key, expected in (("do_resize", True), ("resample", BILINEAR)):
        if processor.get(key, expected) != expected:
            raise InputError(f"{source}: expected {key} {expected} in its preprocessing, found {processor[key]}")
    size = processor["size"]
    factor = float(processor["rescale_factor"]) if processor.get("do_rescale", True) else 1.0
    mean, std = processor["image_mean"], processor["image_std"]
    if not processor.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    fields = {
        "pixel_mean": tuple(value / factor for value in mean),
        "pixel_std": tuple(value / factor for value in std),
    }
    if {"height", "width"} <= size.keys():
        edges, rule = sorted((size["height"], size["width"])), "stretch"
    else:
        edges, rule = (size["shortest_edge"], size.get("longest_edge") or size["shortest_edge"]), "edges"
    if network["model_type"].startswith("eomt"):
        side = network.get("image_size", 640)
        if not isinstance(side, int):
            raise InputError(f"{source}: expected image_size, the side of a square, found {side!r}")
        padded = rule == "edges" and processor.get("do_pad", False)
        if list(edges) != [side, side] or not (padded or rule == "stretch"):
            raise InputError(
                f"{source}: expected a processor that pads frames to {side}x{side}, the one size of this network, "
                f"found size {size} and do_pad {processor.get('do_pad', False)}"
            )
        rule = "canvas" if padded else rule
    multiple = int(processor.get("size_divisor") or 1) if rule == "edges" else 1
    return {**fields, "resize": rule, "shortest_edge": edges[0], "longest_edge": edges[1], "size_multiple": multiple}


def _check_strides(network: dict[str, Any], source: str) -> None:
    """Check that masks are at stride 4, as required by the merge."""
    stride = network.get("common_stride", MASK_STRIDE)
    if network["model_type"].startswith("eomt"):
        stride = network.get("patch_size", 16) / 2 ** network.get("num_upscale_blocks", 2)
    if stride != MASK_STRIDE:
        raise InputError(f"{source}: expected masks at stride {MASK_STRIDE} of the input, found {stride}")


def _backbone_in_words(network: dict[str, Any]) -> str:
    inner = network.get("backbone_config") or {}
    return str(inner.get("model_type") or network.get("backbone") or f"{network['model_type']} encoder")


def _task_tokens(folder: Path, length: int) -> tuple[int, ...]:
    """Token ids of the panoptic task from the checkpoint's own tokenizer."""
    transformers = import_transformers()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        tokens = tokenizer([TASK], padding="max_length", max_length=length, truncation=True)
    except Exception as error:  # of many kinds
        raise InputError(
            f"{folder}: expected the tokenizer of a OneFormer (vocab.json, merges.txt): "
            f"{' '.join(str(error).split())[:200]}"
        ) from error
    return tuple(i * m for i, m in zip(tokens["input_ids"][0], tokens["attention_mask"][0], strict=True))
