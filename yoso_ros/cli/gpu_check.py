# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros gpu-check`: all checks that need a GPU, in one report; runs offline from a source checkout."""

from pathlib import Path

SUMMARY = "Tests, times, PQ by precision and training throughput on a GPU, into docs/gpu/<date>.json."
EXAMPLE = "yoso-ros gpu-check --minutes 30"


def add_arguments(parser):
    """Add this subcommand's arguments."""
    parser.add_argument("--minutes", type=float, default=30.0, help="time limit for all steps (default: %(default)s)")
    parser.add_argument("--output", default="docs/gpu", help="folder of the report (default: %(default)s)")
    parser.add_argument("--data", help="data set for PQ, as for yoso-ros evaluate (default: rendered scenes)")
    parser.add_argument("--model", help="model for PQ (default: the one of the rendered scenes)")


def run(arguments):
    """Run the checks; exit code 1 if a step failed or did not fit in the time, 2 if there is no GPU."""
    import importlib.util
    import tempfile

    from yoso_ros.benchmark.gpu_check import MODEL, gpu_steps, machine, report_path, require_gpu, run_steps
    from yoso_ros.errors import InputError

    if arguments.minutes <= 0:
        raise InputError(f"--minutes: expected a number above 0, found {arguments.minutes:g}")
    require_gpu()
    if not Path("test/gpu").is_dir():
        raise InputError("expected the folder test/gpu here; run this in a source checkout of the package")
    path = report_path(arguments.output)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        steps = gpu_steps(
            Path(folder),
            arguments.data,
            arguments.model or MODEL,
            tensorrt=importlib.util.find_spec("tensorrt") is not None,
        )
        bad = run_steps(steps, {"machine": machine()}, path, 60 * arguments.minutes, tell=_tell)
    print(f"{path}: {len(steps) - len(bad)} of {len(steps)} steps passed" + (f"; failed: {', '.join(bad)}" * bool(bad)))
    return 1 if bad else 0


def _tell(line):
    print(line, flush=True)
