# SPDX-License-Identifier: Apache-2.0
"""Losses, learning rate and validation metrics for TensorBoard, if it is installed."""

from yoso_ros.errors import InputError

STEPS_BETWEEN = 20  # enough points for a curve, and the file of 370k iterations stays small


class TensorBoardLog:
    """Writes events below a folder.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("--tensorboard needs the package tensorboard: pip install yoso-ros[train]") from error
        self._writer = SummaryWriter(folder)

    def step(self, iteration, losses, learning_rate):
        """Log losses by name and the learning rate of the decoder, every 20th iteration."""
        if iteration % STEPS_BETWEEN == 0 or iteration == 1:
            for name, value in losses.items():
                self._writer.add_scalar(f"losses/{name}", value, iteration)
            self._writer.add_scalar("learning_rate", learning_rate, iteration)

    def metrics(self, iteration, metrics):
        """Log validation metrics by name and flush them to disk."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"validation/{name}", value, iteration)
        self._writer.flush()

    def close(self):
        """Flush and close the file."""
        self._writer.close()
