# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros train`: a recipe and a data set in, a checkpoint out."""

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

SUMMARY = "Train a model on a COCO-panoptic data set."
EXAMPLE = "yoso-ros train camvid_mobilenetv2 --data ../camvid --output out/camvid --backbone-weights mobilenet_v2.pth"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("recipe", help="name in config/training, or the path of a YAML file")
    parser.add_argument("--data", required=True, help="root of the data set")
    parser.add_argument("--train-split", default="train", help="split to train on (default: %(default)s)")
    parser.add_argument("--val-split", default="val", help="split to validate on (default: %(default)s)")
    parser.add_argument("--output", required=True, help="folder for the checkpoint and the training state")
    parser.add_argument("--backbone-weights", help="ImageNet weights of the backbone with torchvision's keys")
    parser.add_argument("--weights", help="start from this checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --output")
    parser.add_argument("--iterations", type=int, help="instead of the recipe's")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data-loading processes (default: %(default)s)")


def run(arguments):
    """Train; returns the exit code."""
    import dataclasses

    import torch

    from yoso_ros.checkpoint import load_weights, save_checkpoint
    from yoso_ros.configuration import dataclass_from_mapping, read_yaml
    from yoso_ros.data.coco_panoptic import CocoPanoptic
    from yoso_ros.errors import InputError
    from yoso_ros.models import create_model, load_config
    from yoso_ros.resources import share_path
    from yoso_ros.training.augment import Augmentation
    from yoso_ros.training.backbone_weights import load_backbone_weights
    from yoso_ros.training.config import TrainingConfig
    from yoso_ros.training.trainer import Trainer, seed_everything

    recipe = Path(arguments.recipe)
    if recipe.suffix not in (".yaml", ".yml"):
        recipe = share_path("config/training") / f"{arguments.recipe}.yaml"
    training = dataclass_from_mapping(TrainingConfig, read_yaml(recipe), str(recipe))
    if arguments.iterations is not None:
        if arguments.iterations < 1:
            raise InputError(f"--iterations: expected at least 1, found {arguments.iterations}")
        training = dataclasses.replace(training, iterations=arguments.iterations)
    config = load_config(training.model)
    train_set, val_set = (
        CocoPanoptic.from_root(arguments.data, split, config.label_set)
        for split in (arguments.train_split, arguments.val_split)
    )
    seed_everything(training.seed)
    model = create_model(config)
    origin = "fresh"
    if arguments.backbone_weights:
        load_backbone_weights(model.backbone, arguments.backbone_weights)
        origin = f"backbone from {Path(arguments.backbone_weights).name}"
    if arguments.weights:
        load_weights(model, arguments.weights)
        origin = Path(arguments.weights).name

    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    output = Path(arguments.output)
    story = {
        "command": "yoso-ros " + shlex.join(sys.argv[1:]),
        "recipe": asdict(training),
        "data": f"{Path(arguments.data).name}: {len(train_set)} {arguments.train_split} images, "
        f"validated on {len(val_set)} {arguments.val_split} images",
        "initial_weights": origin,
        "torch": torch.__version__,
        "device": device if device == "cpu" else torch.cuda.get_device_name(),
        "machine": platform.machine(),
    }

    def keep_best(average, metrics, iteration):
        save_checkpoint(
            output / f"{config.name}.safetensors", average.state_dict(), config, {**story, "validation": metrics}
        )

    trainer = Trainer(
        model,
        training,
        train_set,
        Augmentation(training.augmentation, config.label_set),
        output,
        device=device,
        validate=lambda average: _validate(average, config, val_set, device),
        on_best=keep_best,
        workers=arguments.workers,
    )
    if arguments.resume:
        trainer.load_state()
    history = trainer.run(progress=not os.environ.get("YOSO_NO_PROGRESS"))
    output.mkdir(parents=True, exist_ok=True)
    (output / "history.json").write_text(json.dumps(history, indent=1))
    print(f"best PQ {trainer.best_pq:.2f}; weights in {output / f'{config.name}.safetensors'}")
    return 0


def _validate(model, config, dataset, device):
    """Panoptic quality of the model on a data set, through the very Segmenter that users run."""
    import copy

    from yoso_ros.evaluation.evaluate import evaluate_segmenter
    from yoso_ros.inference import Segmenter
    from yoso_ros.inference.engines import create_engine

    # A copy: the engine freezes its model and sets its memory format.
    segmenter = Segmenter(config, create_engine("torch", copy.deepcopy(model), device, "fp32"))
    report = evaluate_segmenter(segmenter, dataset, progress=False)
    groups = {name: report["panoptic_quality"][name] for name in ("All", "Things", "Stuff")}
    return {
        **{key: groups["All"][key] for key in ("PQ", "SQ", "RQ")},
        "PQ_things": groups["Things"]["PQ"],
        "PQ_stuff": groups["Stuff"]["PQ"],
        "mIoU": report["mean_iou"],
    }
