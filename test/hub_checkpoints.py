# SPDX-License-Identifier: Apache-2.0
"""Small checkpoints of the hub's families with random weights, written by transformers itself."""

import json

import pytest

from yoso_ros.label_sets import load_label_set

NAMES = [label.name for label in load_label_set("cityscapes").classes]
EDGES = {"shortest_edge": 64, "longest_edge": 96}
SWIN = {"embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
DECODER = {
    "feature_size": 32,
    "mask_feature_size": 32,
    "hidden_dim": 32,
    "encoder_feedforward_dim": 32,
    "dim_feedforward": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "num_queries": 12,
}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_blocks": 1,
    "image_size": 64,
    "num_queries": 12,
}


def write_checkpoint(family, folder, names=NAMES, processor=None, trained=True):
    """Write a small checkpoint of a family; returns the model of transformers in evaluation mode.

    Args:
        family: model_type.
        folder: pathlib.Path.
        names: of the classes; None leaves them out.
        processor: fields of preprocessor_config.json; None for those that checkpoints of the family have.
        trained: False leaves the masked attention of an EoMT's training switched on.
    """
    transformers = pytest.importorskip("transformers", reason="needs transformers (yoso-ros[hub])")
    import torch

    torch.manual_seed(0)
    swin = {**SWIN, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    if family == "maskformer":
        config = transformers.MaskFormerConfig(
            backbone_config=transformers.SwinConfig(**swin),
            decoder_config=transformers.DetrConfig(
                d_model=32, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32, num_queries=12
            ),
            fpn_feature_size=32,
            mask_feature_size=32,
        )
    elif family in ("mask2former", "oneformer"):
        kind = {"mask2former": transformers.Mask2FormerConfig, "oneformer": transformers.OneFormerConfig}[family]
        own = {"conv_dim": 32, "mask_dim": 32, "is_training": False} if family == "oneformer" else {}
        config = kind(backbone_config=transformers.SwinConfig(**swin), **DECODER, **own)
    else:
        kind = {"eomt": transformers.EomtConfig, "eomt_dinov3": transformers.EomtDinov3Config}[family]
        config = kind(**VIT, **({"intermediate_size": 64} if family == "eomt_dinov3" else {}))
    if names is None:
        config.num_labels = 19
    else:
        config.id2label = dict(enumerate(names))
        config.label2id = {name: i for i, name in enumerate(names)}
    model = transformers.AutoModelForUniversalSegmentation.from_config(config).eval()
    for name, module in model.named_modules():
        if "class_predictor" in name:  # wide logits, so that some queries are kept
            torch.nn.init.normal_(module.weight, std=1.0)
    if trained and hasattr(model, "attn_mask_probs"):
        model.attn_mask_probs.zero_()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor or processor_of(family)))
    if family == "oneformer":
        write_tokenizer(folder)
    return model


def processor_of(family):
    """Fields of a family's preprocessor_config.json, for small frames."""
    common = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 2}
    common |= {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    if family.startswith("eomt"):
        return {**common, "size": {"shortest_edge": 64, "longest_edge": 64}, "do_pad": True, "do_split_image": False}
    if family == "mask2former":  # as on the hub: one size, whatever the aspect
        return {**common, "size": {"height": 96, "width": 96}, "size_divisor": 32}
    return {**common, "size": EDGES, **({"size_divisor": 32} if family == "maskformer" else {})}


def write_tokenizer(folder):
    """A tokenizer of CLIP's kind that knows single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
