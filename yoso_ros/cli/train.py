# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros train`: a recipe and a data set in, a checkpoint out; or `--check`, every fault of a data set."""

import os
import platform
import shlex
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

SUMMARY = "Train a model on a data set, or list the faults of a data set (--check)."
EXAMPLE = "yoso-ros train camvid_mobilenetv2 --data ../camvid --output out/camvid --backbone-weights imagenet"

IMAGENET = "imagenet"  # stands for the published ImageNet weights of the model's backbone


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("recipe", nargs="?", help="name in config/training, or the path of a YAML file")
    parser.add_argument("--check", metavar="DATA", help="read the whole data set, list every fault in it, and stop")
    parser.add_argument(
        "--label-set-out", metavar="FILE", help="with --check: write the classes of the data set as a label-set YAML"
    )
    parser.add_argument("--data", help="root of the data set: COCO panoptic, Cityscapes, ADE20K or Mapillary Vistas")
    parser.add_argument("--train-split", default="train", help="split to train on (default: %(default)s)")
    parser.add_argument("--val-split", default="val", help="split to validate on (default: %(default)s)")
    parser.add_argument("--output", help="folder for the checkpoint and the training state")
    parser.add_argument(
        "--backbone-weights",
        help="ImageNet weights of the backbone: a .pth with torchvision's keys, or imagenet: fetched",
    )
    parser.add_argument("--weights", help="start from this checkpoint, or from that of a model by its name")
    parser.add_argument("--resume", action="store_true", help="go on from the state in --output")
    parser.add_argument("--iterations", type=int, help="instead of the recipe's")
    parser.add_argument("--accumulation", type=int, help="forward passes per step, instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="a field of the model's configuration instead of the file's, such as aggregation=ifa; may be repeated",
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="instead of the recipe's")
    parser.add_argument(
        "--save-every", type=int, default=500, help="iterations between states for --resume (default: %(default)s)"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events to OUTPUT/tensorboard")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="data-loading processes (default: %(default)s)")


def run(arguments):
    """Check or train; returns the exit code."""
    from yoso_ros.errors import InputError

    splits = (arguments.train_split, arguments.val_split)
    if arguments.check:
        from yoso_ros.cli.dataset_check import check_dataset

        return check_dataset(arguments.check, splits, arguments.label_set_out)
    missing = [n for n in ("recipe", "data", "output") if getattr(arguments, n) is None]
    if missing:
        raise InputError(f"expected RECIPE, --data and --output (or --check DATA), missing: {', '.join(missing)}")
    if arguments.save_every < 1:
        raise InputError(f"--save-every: expected at least 1, found {arguments.save_every}")
    from yoso_ros.training.distributed import join_processes, leave_processes

    device = join_processes(arguments.device)
    try:
        return _train(arguments, splits, device)
    finally:
        leave_processes()


def _train(arguments, splits, device):
    from yoso_ros.checkpoint import save_checkpoint
    from yoso_ros.data import open_dataset
    from yoso_ros.files import write_json
    from yoso_ros.models import create_model, load_config
    from yoso_ros.processes import rank
    from yoso_ros.training.augment import Augmentation
    from yoso_ros.training.backbone_weights import load_backbone_weights
    from yoso_ros.training.config import load_recipe
    from yoso_ros.training.event_log import TensorBoardLog
    from yoso_ros.training.trainer import Trainer, seed_everything

    changes = {n: getattr(arguments, n) for n in ("iterations", "accumulation", "precision")}
    recipe = replace(load_recipe(arguments.recipe), **{n: v for n, v in changes.items() if v is not None})
    config = load_config(recipe.model, _read_changes(arguments.changes))
    train_set, val_set = (open_dataset(arguments.data, split, config.label_set) for split in splits)
    seed_everything(recipe.seed)
    model = create_model(config)
    origin = "fresh"
    if arguments.backbone_weights:
        path = _backbone_weights(arguments.backbone_weights, config)
        load_backbone_weights(model.backbone, path, config.pixel_std)
        origin = f"backbone from {path.name}"
    if arguments.weights:
        origin = _start_from(arguments.weights, model)
    output = Path(arguments.output)
    checkpoint = output / f"{config.name}.safetensors"
    story = _story(arguments, recipe, device, origin, train_set, val_set)
    log = TensorBoardLog(output / "tensorboard") if arguments.tensorboard and rank() == 0 else None

    def validate(average):
        metrics = _validate(average, config, val_set, device)
        if log:
            log.metrics(trainer.iteration, metrics)
        return metrics

    trainer = Trainer(
        model,
        recipe,
        train_set,
        Augmentation(recipe.augmentation, config.label_set),
        output,
        device=device,
        validate=validate,
        on_best=lambda best, metrics, iteration: save_checkpoint(
            checkpoint, best.state_dict(), config, {**story, "validation": metrics}
        ),
        on_step=log.step if log else None,
        workers=arguments.workers,
        save_every=arguments.save_every,
    )
    if arguments.resume:
        trainer.load_state()
    history = trainer.run(progress=not os.environ.get("YOSO_NO_PROGRESS"))
    if rank() == 0:
        write_json(output / "history.json", history)
        print(f"best PQ {trainer.best_pq:.2f}; weights in {checkpoint}")
    return 0


def _read_changes(texts):
    """KEY=VALUE as YAML has it: dict of field to plain value."""
    import yaml

    from yoso_ros.errors import InputError

    changes = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InputError(f"--set: expected KEY=VALUE, found {text!r}")
        try:
            changes[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key}: the value is not valid YAML: {value!r}") from error
    return changes


def _backbone_weights(name, config):
    from yoso_ros.training.backbone_weights import check_backbone_weights
    from yoso_ros.training.distributed import one_of_machine_first
    from yoso_ros.weights.find import find_backbone_weights

    if name != IMAGENET:
        return Path(name)
    with one_of_machine_first():
        return find_backbone_weights(config.backbone, partial(check_backbone_weights, config.backbone))


def _start_from(weights, model):
    """Load a checkpoint, by its file or by the name of its model; returns what the story says of it."""
    from yoso_ros.models import load_config, model_names
    from yoso_ros.processes import rank
    from yoso_ros.training.distributed import one_of_machine_first
    from yoso_ros.training.initial_weights import load_initial_weights
    from yoso_ros.weights.find import find_weights

    path, source = Path(weights), None
    if weights in model_names():
        source = load_config(weights)
        with one_of_machine_first():
            path = find_weights(source)
    told = load_initial_weights(model, path, source)
    if told and rank() == 0:
        print(told)
    return f"{path.name}{f': {told}' if told else ''}"


def _story(arguments, recipe, device, origin, train_set, val_set):
    import torch

    from yoso_ros.processes import world_size

    return {
        "command": "yoso-ros " + shlex.join(sys.argv[1:]),
        "recipe": asdict(recipe),
        "data": f"{Path(arguments.data).name}: {len(train_set)} {arguments.train_split} images, "
        f"validated on {len(val_set)} {arguments.val_split} images",
        "initial_weights": origin,
        "torch": torch.__version__,
        "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
        "processes": world_size(),
        "machine": platform.machine(),
    }


def _validate(model, config, dataset, device):
    """Panoptic quality of the model on a data set, through the very Segmenter that users run."""
    import copy

    from yoso_ros.evaluation.evaluate import evaluate_segmenter
    from yoso_ros.inference import Segmenter
    from yoso_ros.inference.engines import create_engine

    # A copy: the engine freezes its model and sets its memory format.
    segmenter = Segmenter(config, create_engine("torch", copy.deepcopy(model), str(device), "fp32"))
    show = not os.environ.get("YOSO_NO_PROGRESS")
    report = evaluate_segmenter(segmenter, dataset, progress=show, shared_out=True)
    groups = {name: report["panoptic_quality"][name] for name in ("All", "Things", "Stuff")}
    return {
        **{key: groups["All"][key] for key in ("PQ", "SQ", "RQ")},
        "PQ_things": groups["Things"]["PQ"],
        "PQ_stuff": groups["Stuff"]["PQ"],
        "mIoU": report["mean_iou"],
    }
