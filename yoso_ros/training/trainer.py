# SPDX-License-Identifier: Apache-2.0
"""The training loop: batches of targets through the criterion, with resume, averaging and validation."""

import contextlib
import dataclasses
import errno
import json
import logging
import random
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from yoso_ros.checkpoint import read_torch_file
from yoso_ros.errors import InputError, brief
from yoso_ros.files import WriteError, atomic_path
from yoso_ros.processes import is_distributed, rank, world_size
from yoso_ros.reading import parse_json
from yoso_ros.training.batches import ShareOfBatches, TrainingSet, load_batches, pad_batch
from yoso_ros.training.criteria import find_criterion
from yoso_ros.training.distributed import mean_over_processes, synchronize_batch_norms
from yoso_ros.training.optim import WeightAverage, create_optimizer, freeze_stages, learning_rate_factor
from yoso_ros.training.targets import Target

STATE_FILE = "state.pt"
# What a resumed run may have differently: how long it is, and how often it looks.
MAY_CHANGE = ("iterations", "validate_every", "patience")
_LOG = logging.getLogger(__name__)
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Trains a model for a recipe's iterations and keeps the best weights.

    Under torchrun (after `join_processes`) each process takes its share of every batch, and the losses and gradients
    are those of the joint batch. Validation is shared in the same way; process 0 writes files.

    Args:
        model: a `PanopticNetwork`.
        config: a `TrainingConfig`.
        dataset: see `TrainingSet`.
        augment: see `TrainingSet`.
        folder: where `state.pt` (for resume) goes.
        device: torch device.
        validate: callable (model in eval mode) -> dict of metrics with "PQ", or None. Every process calls it and must
            get the same metrics.
        on_best: callable (model, metrics, iteration), called when the validation PQ has improved.
        on_step: callable (iteration, losses, learning rate), called in process 0 after each step, or None.
        workers: data-loading processes.
        save_every: iterations between writes of `state.pt`; it is also written at each validation and at the end.
        distillation: a `Distillation`, or None.

    Raises:
        InputError: the batch cannot be divided evenly, or fp16 is requested on a CPU.
    """

    def __init__(
        self, model, config, dataset, augment, folder, *, device, validate=None, on_best=None, on_step=None, workers=0,
        save_every=500, distillation=None,
    ):  # fmt: skip
        self.config, self.folder, self.device = config, Path(folder), torch.device(device)
        if config.batch_size % (world_size() * config.accumulation):
            raise InputError(
                f"batch_size {config.batch_size} cannot be shared out over {world_size()} processes in "
                f"{config.accumulation} passes; expected a multiple of {world_size() * config.accumulation}"
            )
        if config.precision == "fp16" and self.device.type == "cpu":
            raise InputError("precision fp16 needs a CUDA device; on a CPU use fp32 or bf16")
        self.model = model.to(self.device, memory_format=torch.channels_last)
        synchronize_batch_norms(self.model, self.device)
        freeze_stages(self.model.backbone, config.frozen_stages)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay is not None else None
        self.network = self.model
        if is_distributed():
            self.network = DistributedDataParallel(self.model)
        self.dataset, self.augment, self.workers = dataset, augment, workers
        self.validate, self.on_best, self.on_step, self.save_every = validate, on_best, on_step, save_every
        self.distillation = distillation
        self.criterion = find_criterion(model.config.architecture)[1](model.config, config.criterion)
        self.optimizer = create_optimizer(self.model, config)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self.iteration, self.best_pq, self.history = 0, float("-inf"), []

    def run(self, progress=True):
        """Train to the last iteration, or until patience runs out; returns the list of validation metrics."""
        config, batches = self.config, iter(self.batches())
        bar = tqdm(
            total=config.iterations,
            initial=self.iteration,
            unit="it",
            disable=not progress or rank() > 0,
            smoothing=0.05,
        )
        while True:
            # First, so that a run that was stopped during a validation repeats it.
            if self._validation_is_due():
                self._validate(bar)
                self.save_state()
            elif self.iteration and (self.iteration % self.save_every == 0 or self.iteration == config.iterations):
                self.save_state()
            if self.iteration >= config.iterations or self._is_out_of_patience():
                break
            begin = time.perf_counter()
            joint = [next(batches) for _ in range(config.accumulation)]
            loaded = time.perf_counter()
            losses = self.step(joint)
            waiting = (loaded - begin) / (time.perf_counter() - begin)
            if self.on_step is not None and rank() == 0:
                self.on_step(self.iteration, losses, self.optimizer.param_groups[-1]["lr"])
            # If the share of waiting is well above 0, more workers help.
            bar.set_postfix(loss=f"{losses['total']:.2f}", waiting_for_data=f"{waiting:.0%}", refresh=False)
            bar.update()
        bar.close()
        return self.history

    def batches(self):
        """DataLoader for the rest of the run: this process's share, `accumulation` batches per step."""
        config, world = self.config, world_size()
        total = config.iterations * config.batch_size
        samples = TrainingSet(self.dataset, self.augment, total, config.seed)
        size = config.batch_size // (world * config.accumulation)
        share = ShareOfBatches(self.iteration * config.batch_size, total, size, rank(), world)
        return load_batches(samples, share, workers=self.workers, device=self.device)

    def step(self, batches):
        """One optimiser step.

        Args:
            batches: `accumulation` pairs of B images (3, h, w) 0..255 and B `Target`.

        Returns:
            dict of the losses of the joint batch as floats, with their sum under "total".

        Raises:
            InputError: the loss is not finite; the message says which part, and at which iteration.
        """
        config = self.config
        factor = learning_rate_factor(self.iteration, config)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
        # The sampled points depend only on this, so that a resumed run draws the same points.
        torch.manual_seed(int(np.random.SeedSequence((config.seed, self.iteration, rank())).generate_state(1)[0]))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        batches = [self._on_device(*batch) for batch in batches]
        normalizer, values = self._joint_normalizer(batches), 0
        taught = self._taught([images for images, _ in batches])
        for index, (images, targets) in enumerate(batches):
            last = index == len(batches) - 1
            with contextlib.nullcontext() if last or not is_distributed() else self.network.no_sync():
                losses = self._losses(images, targets, normalizer, *taught[index])
                self.scaler.scale(sum(losses.values())).backward()
            values = values + torch.stack([v.detach() for v in losses.values()])
        losses = dict(zip(losses, mean_over_processes(values).tolist(), strict=True))
        losses["total"] = sum(losses.values())
        self._check_finite(losses)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update(self.model)
        self.iteration += 1
        return losses

    def _on_device(self, images, targets):
        images = [image.to(self.device, non_blocking=True) for image in images]
        targets = [Target(*(part.to(self.device, non_blocking=True) for part in target)) for target in targets]
        return pad_batch(images, targets, self.model.pixel_mean, self.model.size_divisor)

    def _losses(self, images, targets, normalizer, soft_targets=None, soft_normalizer=None):
        mixed = self.config.precision != "fp32"
        with torch.autocast(self.device.type, _AUTOCAST[self.config.precision]) if mixed else contextlib.nullcontext():
            outputs = self.network(images)
        losses = self.criterion(outputs, targets, normalizer)
        return losses if soft_targets is None else losses | self.distillation(outputs, soft_targets, soft_normalizer)

    def _taught(self, batches):
        """Targets from the teacher for each pass, with their joint normalizer: list of arguments for `_losses`."""
        if self.distillation is None:
            return [()] * len(batches)
        soft = [self.distillation.targets(images) for images in batches]
        joint = self._joint([self.distillation.normalizer(targets) for targets in soft])
        return [(targets, joint) for targets in soft]

    def _joint_normalizer(self, batches):
        return self._joint([self.criterion.normalizer(targets, tuple(i.shape[2:])) for i, targets in batches])

    def _joint(self, normalizers):
        return mean_over_processes(torch.stack(normalizers).sum(0).to(self.device))

    def _check_finite(self, losses):
        bad = ", ".join(f"{name}={value:g}" for name, value in losses.items() if not np.isfinite(value))
        if bad:
            raise InputError(
                f"the loss is not finite at iteration {self.iteration}: {bad}; lower learning_rate "
                f"(now {self.config.learning_rate:g}) or clip_norm ({self.config.clip_norm:g})"
            )

    def _validation_is_due(self):
        if self.validate is None or not self.iteration:
            return False
        done = self.history[-1]["iteration"] if self.history else 0
        last = self.iteration == self.config.iterations
        return done < self.iteration and (last or self.iteration % self.config.validate_every == 0)

    def _is_out_of_patience(self):
        """Whether `patience` validations in a row brought no new best; depends on the history alone."""
        values = [metrics["PQ"] for metrics in self.history]
        return 0 < self.config.patience <= len(values) - 1 - values.index(max(values)) if values else False

    def _validate(self, bar):
        # Saved before the long wait; the state after it replaces this one.
        self.save_state()
        model = self.average.model if self.average is not None else self.model.eval()
        metrics = {"iteration": self.iteration, **self.validate(model)}
        self.history.append(metrics)
        if rank() == 0:
            bar.write(", ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items()))
        if metrics["PQ"] > self.best_pq:
            self.best_pq = metrics["PQ"]
            if self.on_best is not None and rank() == 0:
                self.on_best(model, metrics, self.iteration)

    def save_state(self):
        """Write everything that `load_state` needs to resume, atomically; only in process 0."""
        if rank() > 0:
            return
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "iteration": self.iteration,
            "best_pq": self.best_pq,
            "history": self.history,
            "run": json.dumps(self._run(), default=str),
        }
        if self.average is not None:
            state["average"], state["average_updates"] = self.average.model.state_dict(), self.average.updates
        path = self.folder / STATE_FILE
        needed = sum(tensor.nbytes for tensor in _tensors(state))
        try:
            with atomic_path(path, needed) as temporary:
                try:
                    torch.save(state, temporary)
                except RuntimeError as error:  # torch's word for a full disk, which names neither disk nor file
                    full = shutil.disk_usage(self.folder).free < needed
                    raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from error
        except WriteError as error:
            kept = f"; {path} is whole and of before: go on from it with --resume" if path.is_file() else ""
            raise WriteError(f"{error}{kept}") from error

    def load_state(self):
        """Resume from `state.pt`, in every process.

        Raises:
            InputError: there is none, or it belongs to another model, or to a run with another seed, recipe or data.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            raise InputError(f"nothing to resume: expected {path}")
        state = read_torch_file(path, self.device)
        if not isinstance(state, dict) or {"model", "optimizer", "iteration"} - state.keys():
            raise InputError(f"{path}: expected the state of a training run, found another file")
        if state["model"].keys() != self.model.state_dict().keys():
            raise InputError(f"{path}: expected the state of a {self.model.config.name}, found that of another model")
        if "run" in state:
            self._compare(parse_json(state["run"], path), path)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.iteration, self.best_pq, self.history = state["iteration"], state["best_pq"], state["history"]
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]

    def _run(self):
        """What a resumed run must share with the first for the two to be one: dict of plain values."""
        return {**dataclasses.asdict(self.config), "training_images": len(self.dataset)}

    def _compare(self, before, path):
        now = json.loads(json.dumps(self._run(), default=str))
        for name in sorted({*before, *now}):
            if before.get(name) == now.get(name):
                continue
            text = f"{name} {brief(before.get(name))}, now {brief(now.get(name))}"
            if name not in MAY_CHANGE:
                raise InputError(
                    f"{path}: the run was begun with {text}; resume it with the same recipe, options and data, or "
                    "begin another in another --output"
                )
            _LOG.warning("resumed with another setting: begun with %s", text)


def _tensors(values):
    for value in values.values() if isinstance(values, dict) else values:
        if torch.is_tensor(value):
            yield value
        elif isinstance(value, (dict, list, tuple)):
            yield from _tensors(value)


def seed_everything(seed):
    """Seed torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
