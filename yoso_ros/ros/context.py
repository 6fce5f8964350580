# SPDX-License-Identifier: Apache-2.0
"""How every node process starts, runs and ends: arguments, DDS profile, executor, signals, exit code."""

import gc
import os
import signal
import sys
import threading
import time

import cv2
import rclpy
from rclpy.exceptions import ParameterException
from rclpy.signals import SignalHandlerOptions

from yoso_ros.errors import InputError
from yoso_ros.node_process import dds_profile_environment
from yoso_ros.stop_signals import STOP_SIGNALS, end_steps_on_signals

try:
    # Half the CPU time per message, because it does not collect all topics, services and events again for each.
    from rclpy.experimental import EventsExecutor as SingleThreadedExecutor
except ImportError:  # Humble
    from rclpy.executors import SingleThreadedExecutor

TOGETHER_S = 1.0  # Ctrl-C under ros2 launch is two signals, the terminal's and that of launch
SPIN_S = 0.1  # longest time that a signal waits for the executor
AFTER_FAULT_S = 0.01  # pause after a failure of the executor, so that repeated failures do not occupy a core
LONGEST_STOP_S = 1.7  # from a signal to the end of the process, whatever it is doing


def open_ros(args=None):
    """Initialise: from now on both stop signals raise KeyboardInterrupt in the main thread, even while a model loads.

    Raises:
        InputError: ROS cannot read its arguments or a parameter file.
    """
    # Fast DDS loses most frames of camera size with its own defaults; the profile says more.
    os.environ.update(dds_profile_environment())
    # One thread converts a camera image just as fast, and others would spin for a while after each.
    cv2.setNumThreads(1)
    # SIGINT is set too, because a shell makes processes in the background ignore it.
    interrupted = -float("inf")

    def interrupt(number, frame):
        # If two arrive together, the second would come during the handling of the first, uncaught.
        nonlocal interrupted
        before, interrupted = interrupted, time.monotonic()
        if interrupted - before > TOGETHER_S:
            raise KeyboardInterrupt

    for number in STOP_SIGNALS:
        signal.signal(number, interrupt)
    end_steps_on_signals(0)
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        raise InputError(" ".join(str(error).split())) from error


def spin_until_stopped(node):
    """Serve a node until SIGINT or SIGTERM.

    Args:
        node: rclpy node with `yoso_ros.ros.caught.GuardedCallbacks`.
    """
    stopped = threading.Event()

    def stop(number, frame):
        if not stopped.is_set():
            stopped.set()
            # A lifecycle transition that loads a model blocks the executor for seconds.
            end = threading.Timer(LONGEST_STOP_S, os._exit, [0])
            end.daemon = True
            end.start()

    # No KeyboardInterrupt from here on: raised within a callback, it would be logged as a fault of that callback.
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopped.is_set() and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:  # errors of rclpy itself, such as for an event of a destroyed object
                node.caught.note(error, "executor")
                stopped.wait(AFTER_FAULT_S)
    finally:
        executor.shutdown(timeout_sec=0)


def ignore_stop_signals():
    """Shutdown has begun; ignore further signals."""
    for number in STOP_SIGNALS:
        # Not a Python function that does nothing, because Python restores its own handlers on exit.
        signal.signal(number, signal.SIG_IGN)


def run_process(program, usage, run, args=None):
    """Run a node as a console script, up to the end of the process.

    Args:
        program: name of the console script.
        usage: function without arguments, the help text.
        run: function without arguments that creates the node and serves it; returns the exit code.
        args: list of str; None takes those of the process.

    Returns:
        Exit code, also of the process: that of `run`; 0 after --help, SIGINT and SIGTERM; 2 if the arguments, the
        model or its weights are unusable.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if args is None else args):
        print(usage())
        return 0
    try:
        open_ros(args)
        code = run()
    except KeyboardInterrupt:
        code = 0
    except (InputError, ParameterException, FileNotFoundError) as error:
        text = " ".join(str(error).split())
        print(f"{program}: {text}", file=sys.stderr)
        code = 2
    ignore_stop_signals()
    rclpy.try_shutdown()
    # Frees reference cycles of the node; then Fast DDS announces that the node has gone and removes its shared
    # memory.
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    # A regular exit of Python takes a second to unload the network's libraries, several on a busy machine, and it
    # would wait for a frame still in the network, or crash.
    os._exit(code)
