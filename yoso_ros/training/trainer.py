# SPDX-License-Identifier: Apache-2.0
"""The training loop: batches of targets through the criterion, with resume, averaging and validation."""

import os
import random
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from yoso_ros.errors import InputError
from yoso_ros.training.criterion import SetCriterion, Target
from yoso_ros.training.optim import WeightAverage, create_optimizer, learning_rate_factor


class TrainingSet(torch.utils.data.Dataset):
    """An endless, seeded sequence of augmented samples: item `i` depends on (seed, i) only, also across workers.

    Args:
        dataset: indexable; an item has `image` uint8 (H, W, 3) and what `targets` needs.
        augment: (sample, numpy Generator) -> (image uint8 (h, w, 3), labels (n,), masks bool (n, h, w)).
        length: number of samples in the run.
        seed: of the run.
    """

    def __init__(self, dataset, augment, length, seed):
        self.dataset, self.augment, self.length, self.seed = dataset, augment, length, seed

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        epoch, position = divmod(index, len(self.dataset))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.dataset))
        generator = np.random.default_rng((self.seed, epoch, position))
        return self.augment(self.dataset[int(order[position])], generator)


def collate(samples):
    """Samples of one size to (images float32 (B, 3, H, W), list of `Target`)."""
    images = torch.stack([torch.from_numpy(image).permute(2, 0, 1).float() for image, _, _ in samples])
    return images, [Target(torch.from_numpy(labels), torch.from_numpy(masks)) for _, labels, masks in samples]


class Trainer:
    """Trains a model for a recipe's iterations and keeps the best weights.

    Args:
        model: network whose training outputs have `stages`.
        config: a `TrainingConfig`.
        dataset: see `TrainingSet`.
        augment: see `TrainingSet`.
        folder: where `state.pt` (for resume) goes.
        device: torch device.
        validate: callable (model in eval mode) -> dict of metrics with "PQ", or None.
        on_best: callable (model, metrics, iteration), called when the validation PQ has risen.
        workers: data-loading processes.
    """

    def __init__(self, model, config, dataset, augment, folder, *, device, validate=None, on_best=None, workers=0):
        self.config, self.folder, self.device = config, Path(folder), torch.device(device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.dataset, self.augment, self.workers = dataset, augment, workers
        self.validate, self.on_best = validate, on_best
        self.criterion = SetCriterion(model.config.num_classes, config.criterion)
        self.optimizer = create_optimizer(self.model, config)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay is not None else None
        self.iteration, self.best_pq, self.history = 0, float("-inf"), []

    def run(self, progress=True):
        """Train to the last iteration; returns the list of validation metrics."""
        config = self.config
        bar = tqdm(total=config.iterations, initial=self.iteration, unit="it", disable=not progress, smoothing=0.05)
        for images, targets in self._batches():
            losses = self.step(images, targets)
            bar.set_postfix(loss=f"{losses['total']:.2f}", refresh=False)
            bar.update()
            last = self.iteration == config.iterations
            if self.validate is not None and (last or self.iteration % config.validate_every == 0):
                self.save_state()
                self._validate(bar)
        bar.close()
        return self.history

    def step(self, images, targets):
        """One optimiser step; returns the losses as floats with their sum under "total".

        Raises:
            InputError: the loss is not finite; says which part, and when.
        """
        config = self.config
        factor = learning_rate_factor(self.iteration, config)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor
        self.model.train()
        images = images.to(self.device, memory_format=torch.channels_last)
        targets = [Target(t.labels.to(self.device), t.masks.to(self.device)) for t in targets]
        losses = self.criterion(self.model(images).stages, targets)
        total = sum(losses.values())
        names = [*losses, "total"]
        values = torch.stack([*losses.values(), total]).detach().cpu()
        if not values.isfinite().all():
            bad = ", ".join(f"{n}={v:g}" for n, v in zip(names, values.tolist(), strict=True) if not np.isfinite(v))
            raise InputError(
                f"the loss is not finite at iteration {self.iteration}: {bad}; lower learning_rate "
                f"(now {config.learning_rate:g}) or clip_norm ({config.clip_norm:g})"
            )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        self.iteration += 1
        return dict(zip(names, values.tolist(), strict=True))

    def _batches(self):
        config = self.config
        done = self.iteration * config.batch_size
        samples = TrainingSet(self.dataset, self.augment, config.iterations * config.batch_size, config.seed)
        remaining = torch.utils.data.Subset(samples, range(done, len(samples)))
        # Its own generator: the loader draws a seed when it starts, which a resumed run would draw once more.
        generator = torch.Generator().manual_seed(config.seed)
        return torch.utils.data.DataLoader(
            remaining, config.batch_size, num_workers=self.workers, collate_fn=collate, generator=generator
        )

    def _validate(self, bar):
        model = self.average.model if self.average is not None else self.model.eval()
        metrics = {"iteration": self.iteration, **self.validate(model)}
        self.history.append(metrics)
        bar.write(", ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in metrics.items()))
        if metrics["PQ"] > self.best_pq:
            self.best_pq = metrics["PQ"]
            if self.on_best is not None:
                self.on_best(model, metrics, self.iteration)

    def save_state(self):
        """Write everything that `load_state` needs to go on, atomically."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "iteration": self.iteration,
            "best_pq": self.best_pq,
            "history": self.history,
            "torch_random": torch.get_rng_state(),
        }
        if self.average is not None:
            state["average"], state["average_updates"] = self.average.model.state_dict(), self.average.updates
        temporary = self.folder / f"state.{os.getpid()}.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.folder / "state.pt")

    def load_state(self):
        """Go on from `state.pt`.

        Raises:
            InputError: there is none.
        """
        path = self.folder / "state.pt"
        if not path.is_file():
            raise InputError(f"nothing to resume: expected {path}")
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.iteration, self.best_pq, self.history = state["iteration"], state["best_pq"], state["history"]
        torch.set_rng_state(state["torch_random"].cpu())
        if self.average is not None:
            self.average.model.load_state_dict(state["average"])
            self.average.updates = state["average_updates"]


def seed_everything(seed):
    """Seed torch, numpy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
