# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros benchmark node`: images in and labels out of the running node over DDS, each in its own process."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

from yoso_ros.cli.image_size import height_and_width
from yoso_ros.errors import InputError
from yoso_ros.files import write_json

SUMMARY = "Latency, loss, CPU and memory of the node over DDS, with a constant result and with the real model."
EXAMPLE = "yoso-ros benchmark node --segmenters constant --rates 10 30 60 --seconds 60 --search"
SEARCH_S = 5.0  # length of one iteration, as in ros2_benchmark
SEARCH = {"constant": (10.0, 200.0, 5.0), "real": (1.0, 60.0, 1.0)}  # lowest rate, highest rate and step, Hz


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument(
        "--segmenters",
        nargs="+",
        default=["constant", "real"],
        choices=["constant", "real"],
        help="a constant result in place of the network, or the model itself (default: both)",
    )
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="the real model (default: %(default)s)")
    parser.add_argument("--weights", help="its weights (default: the shipped checkpoint)")
    parser.add_argument("--size", default="720x1280", metavar="HxW", help="size of the images (default: %(default)s)")
    parser.add_argument("--cameras", type=int, default=1, help="cameras playing at once, each at --rates (default: 1)")
    parser.add_argument("--source", default="synthetic", help="where the images come from (default: %(default)s)")
    parser.add_argument("--rates", nargs="*", type=float, default=[10.0, 30.0, 60.0], help="Hz (default: 10 30 60)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a run (default: %(default)s)")
    parser.add_argument(
        "--listen",
        nargs="+",
        default=[],
        choices=["confidence", "overlay", "color", "mask"],
        help="also subscribe to these outputs, which are produced on demand (default: none)",
    )
    parser.add_argument(
        "--parameters", nargs="+", default=[], metavar="NAME:=VALUE", help="node parameters, such as tracking:=false"
    )
    parser.add_argument("--search", action="store_true", help="also find the highest rate with at most 5 %% loss")
    parser.add_argument(
        "--iterations", type=int, default=5, help="runs that confirm the highest rate (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, help="also write the numbers to this JSON file")


def run(arguments):
    """Measure the segmenters one after the other and print the tables."""
    height, width = height_and_width("--size", arguments.size)
    if (
        arguments.seconds <= 0
        or min(arguments.iterations, arguments.cameras) < 1
        or any(rate <= 0 for rate in arguments.rates)
    ):
        raise InputError("--seconds, --rates, --iterations and --cameras: expected numbers above 0")
    report = {}
    for segmenter in arguments.segmenters:
        with _bench(segmenter, arguments, str(height), str(width)) as bench:
            report[segmenter] = _measure(bench, segmenter, arguments)
    if arguments.output:
        write_json(arguments.output, report)
    return 0


@contextlib.contextmanager
def _bench(segmenter, arguments, height, width):
    """The node, a camera and a monitor in a separate ROS domain."""
    from yoso_ros.benchmark.bench_processes import open_bench

    for parameter in arguments.parameters:
        if not all(parameter.partition(":=")):
            raise InputError(f"--parameters: expected NAME:=VALUE such as tracking:=false, found {parameter!r}")
    parameters, command = dict(parameter.split(":=", 1) for parameter in arguments.parameters), None
    if segmenter == "real":
        parameters |= {"model": arguments.model} | ({"weights": arguments.weights} if arguments.weights else {})
    else:
        command = [sys.executable, "-m", "yoso_ros.ros.runs.latency_roles", "node"]
    remappings, cameras = {"image_raw": "/benchmark/image_raw"}, []
    if arguments.cameras > 1:
        remappings, cameras = {}, [f"camera_{number}" for number in range(arguments.cameras)]
        parameters["cameras"] = f"[{', '.join(cameras)}]"
    with tempfile.TemporaryDirectory() as folder:
        camera, log = ["camera", height, width, arguments.source, *cameras], Path(folder) / "node.log"
        with open_bench(
            camera, log, parameters, remappings, command, listen=arguments.listen, cameras=cameras
        ) as bench:
            yield bench


def _measure(bench, segmenter, arguments):
    from tqdm import tqdm

    from yoso_ros.benchmark.node_latency import highest_rate

    runs, load = [], os.getloadavg()[0]
    for rate in tqdm(arguments.rates, desc=f"node, {segmenter}", unit="run"):
        runs.append(bench.run(rate, arguments.seconds))
    print(
        f"\nnode with the {segmenter} segmenter, {arguments.size} bgr8 in, panoptic + semantic + segments out over DDS"
    )
    if arguments.listen:
        print(f"also subscribed to {', '.join(arguments.listen)}")
    if arguments.cameras > 1:
        print(f"{arguments.cameras} cameras publishing simultaneously; Hz is per camera")
    if arguments.parameters:
        print(f"with {', '.join(arguments.parameters)}")
    print(f"load of the machine before the run: {load:.1f} on {os.cpu_count()} processors")
    print("latency: publish to receipt of the last label topic, ms; CPU: share of one core, and per processed frame")
    names = ("Hz", "sent", "received", "processed", "dropped", "failed", "lost", "p50", "p95", "p99", "max")
    print("".join(f"{name:>10}" for name in names) + f"{'CPU %':>8}{'CPU ms':>8}{'MB':>7}{'peak':>7}")
    for r in runs:
        whole = [r.sent, r.received, r.processed, r.dropped, r.failed]
        latency = [r.percentile(p) for p in (50, 95, 99, 100)]
        print(
            f"{r.reached_hz:10.1f}" + "".join(f"{n:10d}" for n in whole) + f"{100 * r.loss:9.1f}%"
            "" + "".join(f"{ms:10.1f}" for ms in latency) + f"{r.cpu_percent:8.0f}{r.cpu_ms:8.1f}{r.memory_mb:7.0f}"
            f"{r.peak_mb:7.0f}"
        )
    for r in runs:
        if r.stages:
            text = " + ".join(f"{name} {ms:.1f}" for name, ms in r.stages.items() if name != "outside")
            # Images are published after the labels, and only the arrival of the labels is measured outside.
            sound = "" if arguments.listen else f"; {r.unsound} of {r.answered} frames do not add up"
            print(f"stages at {r.rate_hz:g} Hz, means: {text}; outside {r.stages['outside']:.1f} ms{sound}")
    report = {
        "size": arguments.size,
        "seconds": arguments.seconds,
        "load_before": load,
        "runs": [_plain(r) for r in runs],
    }
    if arguments.search:
        low, high, step = SEARCH[segmenter]
        with tqdm(desc="highest rate", unit="run") as bar:

            def measure(rate):
                result = bench.run(rate, SEARCH_S)
                bar.update()
                bar.set_postfix(Hz=rate, loss=f"{result.loss:.1%}")
                return result

            rate, loss = highest_rate(measure, low, high, step, arguments.iterations)
        print(f"highest rate with at most 5 % loss: {rate:g} Hz ({loss:.1%} lost), searched {low:g} to {high:g} Hz")
        report["highest_rate"] = {"rate_hz": rate, "loss": loss, "low_hz": low, "high_hz": high, "step_hz": step}
    return report


def _plain(run):
    """The numbers of a run; those that ros2_benchmark also has appear under its names as well."""
    values = {name: value for name, value in vars(run).items() if name != "latency"}
    values |= {f"latency_p{p}_ms": run.percentile(p) for p in (50, 95, 99, 100)}
    if run.latency.size:
        values |= {
            "FIRST_SENT_RECEIVED_LATENCY": float(run.latency[0]),
            "MEAN_LATENCY": float(run.latency.mean()),
            "MAX_LATENCY": float(run.latency.max()),
            "NUM_MISSED_FRAMES": run.sent - run.answered,
            "NUM_FRAMES_SENT": run.sent,
        }
    return values
