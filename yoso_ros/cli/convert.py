# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros convert`: any checkpoint that the package can read to its own safetensors format."""

import hashlib
from pathlib import Path

SUMMARY = "Convert a checkpoint (the authors' .pth, or IFA weights) to a model's safetensors format."
EXAMPLE = "yoso-ros convert yoso_res50_coco.pth --model yoso_r50_coco --output yoso_r50_coco.safetensors"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("weights", help="the authors' .pth, or a .safetensors of this package")
    parser.add_argument("--model", required=True, help="model name or YAML that the weights belong to")
    parser.add_argument("--output", required=True, help="file to write, .safetensors")


def run(arguments):
    """Convert; every key of the file must match the model."""
    from yoso_ros.checkpoint import load_weights, save_checkpoint
    from yoso_ros.errors import InputError
    from yoso_ros.models import create_model, load_config

    source, output = Path(arguments.weights), Path(arguments.output)
    if output.suffix != ".safetensors":
        raise InputError(f"--output: expected a file name that ends in .safetensors, found {output.name}")
    config = load_config(arguments.model)
    model = create_model(config)
    load_weights(model, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    save_checkpoint(output, model.state_dict(), config, {"converted_from": source.name, "sha256": digest})
    print(f"{len(model.state_dict())} tensors of {source.name} -> {output}; use it with --model {arguments.model}")
    return 0
