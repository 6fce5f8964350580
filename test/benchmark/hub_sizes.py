# SPDX-License-Identifier: Apache-2.0
"""`hub_sizes.py`: folders of hub models at their published sizes, without weights, to be timed with random ones.

Where the hub can be reached, `yoso-ros benchmark networks --models hf:ORG/NAME --weights random` needs none of them.
"""

import json
import sys
from pathlib import Path

from yoso_ros.label_sets import load_label_set

SUMMARY = "Write folders of hub models at their published sizes, without weights, for yoso-ros benchmark networks."
EXAMPLE = "python test/benchmark/hub_sizes.py --output out/hub_sizes"

SWIN_TINY = {
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
VIT_SMALL = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "patch_size": 16}
EOMT = {**VIT_SMALL, "num_queries": 200, "image_size": 640}
SQUARE = {"size": {"shortest_edge": 640, "longest_edge": 640}, "do_pad": True, "do_split_image": False}
# folder -> (configuration class of transformers, its fields, fields of the processor, label set). What is not said is
# as the classes have it by default; the sizes of EoMT are those of docs/hub_models.md.
MODELS = {
    "eomt_small_640": ("EomtConfig", {**EOMT, "num_blocks": 3}, SQUARE, "coco_panoptic"),
    "eomt_dinov3_small_640": (
        "EomtDinov3Config",
        {**EOMT, "num_blocks": 3, "intermediate_size": 1536},
        SQUARE,
        "coco_panoptic",
    ),
    "mask2former_swin_tiny": (
        "Mask2FormerConfig",
        {"num_queries": 100},
        {"size": {"height": 384, "width": 384}},
        "coco_panoptic",
    ),
    "maskformer_swin_tiny": (
        "MaskFormerConfig",
        {},
        {"size": {"shortest_edge": 800, "longest_edge": 1333}, "size_divisor": 32},
        "coco_panoptic",
    ),
    "oneformer_swin_tiny": (
        "OneFormerConfig",
        {"is_training": False},
        {"size": {"shortest_edge": 512, "longest_edge": 2048}},
        "ade20k_panoptic",
    ),
}


def add_arguments(parser):
    """Add the arguments of this script."""
    parser.add_argument("--output", type=Path, required=True, help="folder for the folders")


def run(arguments):
    """Write config.json and preprocessor_config.json of each, and the tokenizer that OneFormer needs."""
    import hub_checkpoints
    import transformers

    for name, (kind, fields, processor, labels) in MODELS.items():
        if kind.startswith(("Mask", "One")):
            fields = {**fields, "backbone_config": transformers.SwinConfig(**SWIN_TINY)}
        config = getattr(transformers, kind)(**fields)
        names = [label.name for label in load_label_set(labels).classes]
        config.id2label = dict(enumerate(names))
        config.label2id = {label: index for index, label in enumerate(names)}
        folder = arguments.output / name
        config.save_pretrained(folder)
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        if kind.startswith("One"):
            hub_checkpoints.write_tokenizer(folder)
        print(folder)
    return 0


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules[__name__]))
