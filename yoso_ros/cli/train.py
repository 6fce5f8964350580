# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros train`: a recipe and a data set in, a checkpoint out; or with `--check`, all faults of a data set."""

import os
import platform
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path

SUMMARY = "Train a model on a data set, or list the faults of a data set (--check)."
EXAMPLE = "yoso-ros train camvid_mobilenetv2 --data ../camvid --output out/camvid --backbone-weights imagenet"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("recipe", nargs="?", help="name in config/training, or the path of a YAML file")
    parser.add_argument("--check", metavar="DATA", help="read the whole data set, list its faults, and exit")
    parser.add_argument(
        "--label-set-out", metavar="FILE", help="with --check: write the classes of the data set as a label-set YAML"
    )
    parser.add_argument("--data", help="root of the data set: COCO panoptic, Cityscapes, ADE20K or Mapillary Vistas")
    parser.add_argument(
        "--more-data", nargs="+", default=[], metavar="DATA[=WEIGHT]",
        help="additional data sets to train on; WEIGHT: how often their images occur per epoch (default: once)",
    )  # fmt: skip
    parser.add_argument("--model", help="model to train instead of the recipe's: name or YAML file")
    parser.add_argument("--train-split", default="train", help="split to train on (default: %(default)s)")
    parser.add_argument("--val-split", default="val", help="split to validate on (default: %(default)s)")
    parser.add_argument("--output", help="folder for the checkpoint and the training state")
    parser.add_argument(
        "--backbone-weights",
        help="ImageNet weights of the backbone: a .pth with torchvision's keys, or imagenet to download them",
    )
    parser.add_argument(
        "--weights", help="checkpoint to start from, or the name of a model to start from its checkpoint"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the state in --output")
    parser.add_argument("--iterations", type=int, help="iterations, instead of the recipe's")
    parser.add_argument("--accumulation", type=int, help="forward passes per step, instead of the recipe's")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="changes",
        help="override a field of the model's configuration, such as aggregation=ifa; may be repeated",
    )
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), help="precision, instead of the recipe's")
    parser.add_argument(
        "--save-every", type=int, default=500, help="iterations between states for --resume (default: %(default)s)"
    )
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard events to OUTPUT/tensorboard")
    parser.add_argument("--wandb", action="store_true", help="log to Weights & Biases, if it is installed")
    parser.add_argument("--mlflow", action="store_true", help="log to MLflow, if it is installed")
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
    from yoso_ros.cli.train_start import load_backbone, model_config, read_changes, start_from, teacher, training_data
    from yoso_ros.data import open_dataset
    from yoso_ros.files import write_json
    from yoso_ros.models import create_model
    from yoso_ros.processes import rank
    from yoso_ros.training.augment import Augmentation
    from yoso_ros.training.config import load_recipe
    from yoso_ros.training.own_classes import write_model_file
    from yoso_ros.training.trainer import Trainer, seed_everything

    changes = {n: getattr(arguments, n) for n in ("iterations", "accumulation", "precision")}
    recipe = load_recipe(arguments.recipe, arguments.model)
    recipe = replace(recipe, **{n: v for n, v in changes.items() if v is not None})
    output = Path(arguments.output)
    config = model_config(arguments, recipe, read_changes(arguments.changes))
    train_set, val_set = (open_dataset(arguments.data, split, config.label_set) for split in splits)
    train_set = training_data(arguments, recipe, train_set)
    seed_everything(recipe.seed)
    model = create_model(config)
    origin = "fresh"
    if arguments.backbone_weights:
        origin = load_backbone(arguments.backbone_weights, model)
    if arguments.weights:
        origin = start_from(arguments.weights, model)
    if recipe.classes == "data" and rank() == 0:
        write_model_file(config, output / f"{config.name}.yaml")
    checkpoint = output / f"{config.name}.safetensors"
    provenance = _provenance(arguments, recipe, device, origin, train_set, val_set)
    logs = _logs(arguments, output, config.name, provenance) if rank() == 0 else []

    def on_step(*values):
        for log in logs:
            log.step(*values)

    def validate(average):
        metrics = _validate(average, config, val_set, device)
        for log in logs:
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
            checkpoint, best.state_dict(), config, {**provenance, "validation": metrics}
        ),
        on_step=on_step if logs else None,
        workers=arguments.workers,
        save_every=arguments.save_every,
        distillation=teacher(recipe, config, device),
    )
    if arguments.resume:
        trainer.load_state()
    history = trainer.run(progress=not os.environ.get("YOSO_NO_PROGRESS"))
    for log in logs:
        log.close()
    if rank() == 0:
        write_json(output / "history.json", history)
        print(f"best PQ {trainer.best_pq:.2f}; weights in {checkpoint}")
    return 0


def _logs(arguments, output, name, provenance):
    from yoso_ros.training.event_log import TensorBoardLog
    from yoso_ros.training.experiment_logs import MlflowLog, WandbLog

    logs = [TensorBoardLog(output / "tensorboard")] if arguments.tensorboard else []
    facts = {**provenance["recipe"], "data": provenance["data"]}
    logs += [WandbLog(output / "wandb", name, facts)] if arguments.wandb else []
    return logs + ([MlflowLog(output, name, facts)] if arguments.mlflow else [])


def _provenance(arguments, recipe, device, origin, train_set, val_set):
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
    """Panoptic quality of the model on a data set, through the same Segmenter that users run."""
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
