# SPDX-License-Identifier: Apache-2.0
"""Runs a measurement for developers as a script: `python test/benchmark/bench_points.py --size 480x640`."""

import argparse
import sys
from pathlib import Path

from yoso_ros.errors import InputError

sys.path.append(str(Path(__file__).resolve().parents[1]))  # modules that tests share


def main(measurement, argv=None):
    """Parse the arguments of a measurement and run it.

    Args:
        measurement: module or namespace with SUMMARY, EXAMPLE, `add_arguments(parser)` and `run(arguments)`.
        argv: list of str; those of the process by default.

    Returns:
        Exit code, 2 on bad input.
    """
    parser = argparse.ArgumentParser(
        description=measurement.SUMMARY,
        epilog=f"example: {measurement.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    measurement.add_arguments(parser)
    arguments = parser.parse_args(argv)
    try:
        return measurement.run(arguments) or 0
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
