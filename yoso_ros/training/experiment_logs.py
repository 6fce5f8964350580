# SPDX-License-Identifier: Apache-2.0
"""The same numbers as for TensorBoard, sent to Weights & Biases or MLflow if the user has installed them.

Neither is a dependency: they are imported by name when requested.
"""

import importlib

from yoso_ros.errors import InputError
from yoso_ros.training.event_log import STEPS_BETWEEN


class WandbLog:
    """Writes a Weights & Biases run; location and account come from its own environment variables.

    Args:
        folder: pathlib.Path for its files. name: of the run. facts: dict of plain values, the run's configuration.

    Raises:
        InputError: wandb is not installed.
    """

    def __init__(self, folder, name, facts):
        wandb = _library("wandb", "--wandb")
        folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(project="yoso_ros", name=name, dir=str(folder), config=facts)

    def step(self, iteration, losses, learning_rate):
        """Log losses by name and the learning rate, every 20th iteration."""
        if iteration % STEPS_BETWEEN == 0 or iteration == 1:
            self._run.log(_step_values(losses, learning_rate), step=iteration)

    def metrics(self, iteration, metrics):
        """Log validation metrics by name."""
        self._run.log({f"validation/{name}": value for name, value in metrics.items()}, step=iteration)

    def close(self):
        """End the run."""
        self._run.finish()


class MlflowLog:
    """Writes an MLflow run; arguments, methods and errors as in `WandbLog`."""

    def __init__(self, folder, name, facts):
        self._mlflow = _library("mlflow", "--mlflow")
        self._mlflow.set_experiment("yoso_ros")
        self._mlflow.start_run(run_name=name)
        self._mlflow.log_params({key: str(value)[:250] for key, value in facts.items()})

    def step(self, iteration, losses, learning_rate):
        """See `WandbLog.step`."""
        if iteration % STEPS_BETWEEN == 0 or iteration == 1:
            self._mlflow.log_metrics(_step_values(losses, learning_rate), step=iteration)

    def metrics(self, iteration, metrics):
        """See `WandbLog.metrics`."""
        self._mlflow.log_metrics({f"validation/{name}": value for name, value in metrics.items()}, step=iteration)

    def close(self):
        """See `WandbLog.close`."""
        self._mlflow.end_run()


def _step_values(losses, learning_rate):
    return {f"losses/{name}": value for name, value in losses.items()} | {"learning_rate": learning_rate}


def _library(name, option):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{option} needs the package {name}: pip install {name}") from error
