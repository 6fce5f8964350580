# SPDX-License-Identifier: Apache-2.0
"""How every node process begins, runs and ends: arguments, DDS profile, executor, signals, exit code."""

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
from yoso_ros.stop_signals import end_steps_on_signals

try:
    # Half the CPU time per message, for it does not list all topics, services and events anew for each of them.
    from rclpy.experimental import EventsExecutor as SingleThreadedExecutor
except ImportError:  # Humble
    from rclpy.executors import SingleThreadedExecutor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER_S = 1.0  # Ctrl-C under ros2 launch is two signals, the terminal's and that of launch
SPIN_S = 0.1  # longest time that a signal waits for the executor
AFTER_FAULT_S = 0.01  # pause of an executor that failed, so that one that always fails takes no whole core
LONGEST_STOP_S = 1.7  # from a signal to the end of the process, whatever it does then


def open_ros(args=None):
    """Begin: from here on both stop signals are a KeyboardInterrupt in the main thread, also while a model loads.

    Raises:
        InputError: ROS cannot read its arguments or a parameter file.
    """
    # Fast DDS loses most frames of camera size with its own defaults; the profile says more.
    os.environ.update(dds_profile_environment())
    # A picture of a camera is converted as soon by one thread, and the others would spin for a while after each.
    cv2.setNumThreads(1)
    # SIGINT is set too, for a shell that starts a process in the background has it ignore that signal.
    interrupted = -float("inf")

    def interrupt(number, frame):
        # Of two at once the second would come while the first is dealt with, and nobody would catch it.
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
            # A transition of the lifecycle, which loads a model, keeps the executor for seconds.
            end = threading.Timer(LONGEST_STOP_S, os._exit, [0])
            end.daemon = True
            end.start()

    # No KeyboardInterrupt from here on: raised within a callback the executor would log it as a fault of that callback.
    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not stopped.is_set() and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:  # of rclpy itself, such as for an event of what was destroyed meanwhile
                node.caught.note(error, "executor")
                stopped.wait(AFTER_FAULT_S)
    finally:
        executor.shutdown(timeout_sec=0)


def ignore_stop_signals():
    """The end has begun, and no further signal changes anything."""
    for number in STOP_SIGNALS:
        # Not a function that does nothing: on its way out Python takes its own handlers back.
        signal.signal(number, signal.SIG_IGN)


def run_process(program, usage, run, args=None):
    """The whole of a console script that is a node, up to the end of the process once the node ran.

    Args:
        program: name of the console script.
        usage: function without arguments, the help text.
        run: function without arguments that makes the node and serves it; returns the exit code.
        args: list of str, those of the process when None.

    Returns:
        Exit code, also of the process: that of `run`; 0 after --help, SIGINT and SIGTERM; 2 when the arguments, the
        model or its weights are of no use.
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
    # Frees what of the node is in circles of references; with the last of it Fast DDS tells the others that the node
    # is gone and removes its shared memory.
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    # Python's own way out takes a second to unload the network's libraries, several on a busy machine, and it would
    # wait for a frame that is in the network still, or crash beside it.
    os._exit(code)
