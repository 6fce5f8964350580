# SPDX-License-Identifier: Apache-2.0
"""Everything that needs a GPU, step by step within a time limit, each in a separate process, with one report."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import torch

from yoso_ros.errors import InputError
from yoso_ros.files import write_json

MODEL, LARGE_MODEL, RECIPE = "yoso_mobilenetv2_synthetic", "yoso_r50_coco", "synthetic_mobilenetv2"
PRECISIONS = ("fp32", "bf16", "fp16")
LAST_LINES = 40  # characters of a step's output in the report
LEAST_S = 5.0  # a step is not started with less time left


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: key of its entry in the report.
        command: list of str, arguments of this Python.
        limit_s: time limit in seconds.
        read: function without arguments that returns the step's numbers; called after success and failure.
    """

    name: str
    command: list[str]
    limit_s: float
    read: Callable[[], object] = field(default=lambda: None)


def require_gpu():
    """Raise an `InputError` of one line if torch finds no CUDA device."""
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise InputError(
            f"there is no GPU: torch {torch.__version__}, {built}, finds no CUDA device; nothing was checked"
        )


def machine():
    """The hardware and software of the measurement: dict of plain values."""
    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "gpu_memory_gb": round(properties.total_memory / 1e9, 1),
        "gpus": torch.cuda.device_count(),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "torch": torch.__version__,
        "tensorrt": _version("tensorrt"),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def gpu_steps(folder, data=None, model=MODEL, device="cuda", tensorrt=False):
    """The steps in order of importance, because the last ones are omitted when the time is up.

    Args:
        folder: pathlib.Path for the files that the steps write.
        data: root of a data set for PQ; None renders one.
        model: the model evaluated on it.
        device: "cuda" or "cuda:N".
        tensorrt: whether to include that engine.

    Returns:
        list of `Step`.
    """
    ways = [f"torch:{precision}" for precision in PRECISIONS] + ["tensorrt:fp32", "tensorrt:fp16"] * tensorrt
    package = ["-m", "yoso_ros"]
    results = folder / "tests.xml"
    pytest = ["-m", "pytest", "test/gpu", "test/fusion", "-m", "gpu", "-q", "-rs", "--timeout", "500"]
    steps = [Step("tests", [*pytest, "--junitxml", str(results)], 600, lambda: read_tests(results))]

    def benchmark(name, arguments, limit_s):
        output = folder / f"{name}.json"
        command = [*package, "benchmark", *arguments, "--device", device, "--output", str(output)]
        steps.append(Step(name, command, limit_s, lambda: json.loads(output.read_text())))

    benchmark("engines", ["engines", "--engines", *ways, "--sizes", "360x480", "512x800", "--rounds", "30"], 300)
    whole = ["--engines", "baseline", *ways, "--rounds", "30"]
    benchmark("frame_to_result", ["throughput", *whole], 300)
    sizes = ["--sizes", "512x800", "800x1333"]
    benchmark("frame_to_result_r50", ["throughput", "--model", LARGE_MODEL, "--weights", "random", *sizes, *whole], 420)
    own = str(folder / "data")
    for split, count, seed in (("train", 64, 1), ("val", 100, 1_000_001)):
        scenes = ["--count", str(count), "--seed", str(seed), "--frames-per-scene", "4"]
        steps.append(Step(f"render_{split}", [*package, "synthesize", "--output", own, "--split", split, *scenes], 120))
    for name, place, precision in [("torch", "cpu", "fp32"), *((*way.partition(":")[::2], None) for way in ways)]:
        engine, place, precision = (name, place, precision) if precision else (name, device, place)
        output = folder / f"pq_{engine}_{place}_{precision}".replace(":", "_")
        options = ["--engine", engine, "--device", place, "--precision", precision, "--output", str(output)]
        steps.append(
            Step(
                f"pq_{engine}_{place}_{precision}",
                [*package, "evaluate", "--data", data or own, "--model", model, "--pictures", "0", *options],
                150,
                lambda path=output / "report.json": _quality(path),
            )
        )
    benchmark("training", ["training", RECIPE, "--data", own, "--precisions", *PRECISIONS], 240)
    return steps


def _quality(path):
    report = json.loads(path.read_text())
    return {**report["panoptic_quality"]["All"], "mean_iou": report.get("mean_iou"), "backend": report.get("backend")}


def read_tests(path):
    """Counts of a JUnit file, and the messages of failed and skipped tests: dict."""
    cases = list(ElementTree.parse(path).iter("testcase"))
    kinds = {"failed": [], "skipped": []}
    for case in cases:
        for child in case:
            kind = {"failure": "failed", "error": "failed", "skipped": "skipped"}.get(child.tag)
            if kind:
                kinds[kind].append(f"{case.get('classname')}::{case.get('name')}: {child.get('message', '')[:500]}")
    passed = len(cases) - sum(map(len, kinds.values()))
    return {"passed": passed, **kinds}


def run_steps(steps, facts, path, limit_s, tell=print):
    """Run the steps in order and write the report after each of them.

    Args:
        steps: list of `Step`.
        facts: dict, the start of the report.
        path: pathlib.Path of the report, JSON.
        limit_s: time limit for all steps, in seconds.
        tell: called with a line after each step.

    Returns:
        names of the steps that failed, timed out or were not started.
    """
    end, report = time.monotonic() + limit_s, {**facts, "steps": {}}
    for step in steps:
        left = end - time.monotonic()
        entry = _run(step, min(step.limit_s, left)) if left >= LEAST_S else {"ended": "not started: the time is up"}
        report["steps"][step.name] = entry
        write_json(path, report)
        tell(f"{step.name}: {entry['ended']}, {entry.get('seconds', 0):.0f} s")
    return [name for name, entry in report["steps"].items() if entry["ended"] != "well"]


def _run(step, limit_s):
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, *step.command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s
        )
        printed, ended = done.stdout, f"with exit code {done.returncode}" if done.returncode else "well"
    except subprocess.TimeoutExpired as error:
        printed, ended = error.stdout or b"", f"stopped after {limit_s:.0f} s"
    # A progress bar overwrites its line again and again; the last state is enough.
    lines = [line.rpartition("\r")[2] for line in printed.decode(errors="replace").replace("\r\n", "\n").split("\n")]
    try:
        numbers = step.read()
    except (OSError, ValueError, KeyError, InputError, ElementTree.ParseError) as error:
        numbers = f"none: {error}"
        ended = "without its numbers" if ended == "well" else ended
    return {
        "ended": ended,
        "seconds": round(time.monotonic() - started, 1),
        "command": ["python", *step.command],
        "numbers": numbers,
        "printed": [line for line in lines if line.strip()][-LAST_LINES:],
    }


def report_path(folder):
    """docs/gpu/<date>.json, or <date>-2.json and so on if it exists: pathlib.Path."""
    date, number = time.strftime("%Y-%m-%d"), 1
    while True:
        path = Path(folder) / (f"{date}.json" if number == 1 else f"{date}-{number}.json")
        if not path.exists():
            return path
        number += 1
