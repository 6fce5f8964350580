# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros download`: weights into the cache, for a robot or a container image that will run offline."""

import functools

SUMMARY = "Download weights of models, or ImageNet weights of backbones, into the cache."
EXAMPLE = "yoso-ros download yoso_r50_coco"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument(
        "names",
        nargs="+",
        metavar="NAME",
        help="model (see yoso-ros models), hf:ORG/NAME, or backbone: resnet18, resnet34, resnet50, mobilenet_v2",
    )


def run(arguments):
    """Download missing files and verify existing ones: each must match its model and its first download."""
    from yoso_ros.weights.cards import check_known
    from yoso_ros.weights.store import read_record

    for name in arguments.names:
        check_known(name)
    for name in arguments.names:
        path = _fetch(name)
        digest = read_record(path).get("sha256")
        size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
        print(f"{name}: {path}, {size / 1e6:.1f} MB" + (f", SHA-256 {digest}" if digest else ""))
    return 0


def _fetch(name):
    from yoso_ros.models import load_config
    from yoso_ros.training.backbone_weights import check_backbone_weights
    from yoso_ros.weights.find import find_backbone_weights, find_weights, fits
    from yoso_ros.weights.sources import load_sources

    if name in load_sources().backbones:
        return find_backbone_weights(name, functools.partial(check_backbone_weights, name))
    config = load_config(name)
    path = find_weights(config)
    if path.is_dir():  # of the hub; nothing but loading shows whether all keys are there
        fits(config, path)
    return path
