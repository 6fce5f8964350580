# SPDX-License-Identifier: Apache-2.0
"""How every node process begins and ends: DDS profile, signals, one line for arguments that ROS cannot read."""

import os
import signal

import rclpy
from rclpy.signals import SignalHandlerOptions

from yoso_ros.errors import InputError
from yoso_ros.resources import share_path

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def open_ros(args=None):
    """Begin: from here on both stop signals are a KeyboardInterrupt in the main thread, also while a model loads.

    Raises:
        InputError: ROS cannot read its arguments or a parameter file.
    """
    # Fast DDS loses most frames of camera size with its own defaults; the profile says more.
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(share_path("config/dds/large_images.xml")))
    # SIGINT is set too, for a shell that starts a process in the background has it ignore that signal.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.default_int_handler)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise InputError(" ".join(str(error).split())) from error


def ignore_stop_signals():
    """The end has begun: Ctrl-C under ros2 launch is two signals, the terminal's and that of launch."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
