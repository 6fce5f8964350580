# SPDX-License-Identifier: Apache-2.0
"""Forward the package's own log lines (chosen engine, exported graph) to the ROS log of a node."""

import logging

from rclpy.logging import LoggingSeverity


class RosLogHandler(logging.Handler):
    """Passes records to a ROS logger.

    Args:
        logger: result of `rclpy.node.Node.get_logger`.
    """

    def __init__(self, logger):
        super().__init__()
        self._logger = logger

    def emit(self, record):
        """Log one record at its level."""
        text = record.getMessage()
        # One line per level: rclpy remembers the severity of each call site and refuses another one there.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def forward_log(node):
    """Forward the package's log to a node's ROS log, from INFO up, or from DEBUG up if the node logs that."""
    logger = logging.getLogger("yoso_ros")
    ros_level = node.get_logger().get_effective_level()
    logger.setLevel(logging.DEBUG if ros_level <= LoggingSeverity.DEBUG else logging.INFO)
    logger.addHandler(RosLogHandler(node.get_logger()))
