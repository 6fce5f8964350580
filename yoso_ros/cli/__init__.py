# SPDX-License-Identifier: Apache-2.0
"""The `yoso-ros` command: one module per subcommand, imported only when it is called.

Each module has SUMMARY (one line), EXAMPLE (a command line), `add_arguments(parser)` and `run(arguments)`; bad input
raises `InputError`, which becomes one line and exit code 2.
"""

import argparse
import contextlib
import importlib
import logging
import sys

from yoso_ros.cli.faults import fault_line
from yoso_ros.stop_signals import end_steps_on_signals

INTERRUPTED = 130  # exit code after Ctrl-C, as of a shell

# Subcommand and its module, which is in ros/ if it drives the node itself; the main `--help` imports them all.
SUBCOMMANDS = {
    "models": "yoso_ros.cli.models",
    "download": "yoso_ros.cli.download",
    "segment": "yoso_ros.cli.segment",
    "train": "yoso_ros.cli.train",
    "ablate": "yoso_ros.cli.ablate",
    "evaluate": "yoso_ros.cli.evaluate",
    "evaluate-bag": "yoso_ros.cli.evaluate_bag",
    "compare": "yoso_ros.cli.compare",
    "bag": "yoso_ros.cli.bag",
    "data": "yoso_ros.cli.data",
    "export": "yoso_ros.cli.export",
    "quantize": "yoso_ros.cli.quantize",
    "convert": "yoso_ros.cli.convert",
    "benchmark": "yoso_ros.cli.benchmark",
    "gpu-check": "yoso_ros.cli.gpu_check",
    "synthesize": "yoso_ros.cli.synthesize",
    "demo": "yoso_ros.ros.demo_command",
    "loop-demo": "yoso_ros.cli.loop_demo",
}


def build_parser(only=None):
    """The argument parser, limited to one subcommand if `only`, the first argument, names one.

    For any other first argument, such as `--help`, it lists all subcommands without their arguments, because declaring
    those imports libraries.
    """
    parser = argparse.ArgumentParser(prog="yoso-ros", description="Real-time panoptic segmentation for robots.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in SUBCOMMANDS.items():
        if only in SUBCOMMANDS and name != only:
            continue
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=f"example: {module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == only or only is None:
            module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(argv=None):
    """Run one subcommand; returns the exit code (2 on bad input and where the machine has too little of something)."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError):  # names of files may hold bytes that are no text
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments = build_parser(argv[0] if argv else "").parse_args(argv)
        _show_log()
        end_steps_on_signals(INTERRUPTED)
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # what reads the output has ended, as `head` does
        sys.stdout = None
        return 1
    except Exception as error:
        line = fault_line(error)
        if line is None:
            raise
        print(f"yoso-ros {argv[0] if argv else ''}: {line}", file=sys.stderr)
        return 2


def _show_log():
    """Send the package's log messages (the chosen engine, an export) to stderr as plain text."""
    logger = logging.getLogger("yoso_ros")
    if not logger.handlers:
        logger.addHandler(logging.StreamHandler())
        logger.setLevel(logging.INFO)
