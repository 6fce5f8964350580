# SPDX-License-Identifier: Apache-2.0
"""`yoso-ros evaluate-bag --live`: a recording played to the running node over DDS, with a report."""

import importlib.util
import math
import signal
import tempfile
import time
from pathlib import Path

from yoso_ros.errors import InputError

OPTIONS = ("live", "rate", "hz", "sweep", "sweep_rates", "node", "input_topic")
PREFIX = "/replay/"
SWEEP = (1.0, 60.0, 1.0)  # lowest rate, highest rate and step, Hz
SWEEP_S, SWEEP_ITERATIONS = 5.0, 5  # as in ros2_benchmark


def add_arguments(parser):
    """Declare the options of the live evaluation."""
    live = parser.add_argument_group("live: the recording is played to the node over DDS, in real time")
    live.add_argument("--live", action="store_true", help="start the node and play the recording to it")
    live.add_argument("--rate", type=float, default=1.0, metavar="R", help="speed, relative to real time (default: 1)")
    live.add_argument("--hz", type=float, default=0.0, metavar="HZ", help="frames per second (default: as recorded)")
    live.add_argument("--sweep", action="store_true", help="find the highest rate with at most 5 %% loss")
    live.add_argument(
        "--sweep-rates",
        nargs=3,
        type=float,
        default=list(SWEEP),
        metavar=("LOW", "HIGH", "STEP"),
        help="rates for --sweep, Hz (default: 1 60 1)",
    )
    live.add_argument(
        "--node", metavar="NAME", help="play to this running node, such as /yoso, instead of starting one"
    )
    live.add_argument(
        "--input-topic",
        default=f"{PREFIX}image_raw",
        metavar="TOPIC",
        help="image topic of --node (default: %(default)s)",
    )


def check(arguments):
    """Raise `InputError` for values out of range."""
    low, high, step = arguments.sweep_rates
    for name, value in (("rate", arguments.rate), ("sweep-rates", min(low, step))):
        if not value > 0:
            raise InputError(f"--{name}: expected more than 0, found {value:g}")
    if not 0 <= arguments.hz <= 1000:
        raise InputError(f"--hz: expected 0 (as recorded) to 1000 frames per second, found {arguments.hz:g}")
    if high < low:
        raise InputError(f"--sweep-rates: expected LOW HIGH STEP with LOW up to HIGH, found {low:g} {high:g} {step:g}")
    if not arguments.input_topic.endswith("image_raw"):
        raise InputError(f"--input-topic: expected a name that ends in image_raw, found {arguments.input_topic!r}")


def measure(arguments, source, labels, label_set, model_labels, output, worst, decode):
    """Play and measure.

    Args:
        arguments: of the command. source: `Recording`.
        labels: `Labels` of the ground truth, or (). label_set: its `LabelSet`, or None.
        model_labels: `LabelSet` of the node's model.
        output: folder for the node's log and, for `yoso-ros compare`, the counts behind the streaming PQ.
        worst: `WorstFrames`, filled with answered frames. decode: see `add_worst_answers`.

    Returns:
        dict with "backend", "live", "per_frame", "sweep" if requested, and the entries of `play_accuracy`.

    Raises:
        InputError: a value is out of range, ROS is missing, or the node does not run.
    """
    check(arguments)
    for name in ("rclpy", "yoso_ros.msg"):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"--live needs ROS 2 and the compiled messages: {name} not found; see README.md")
    from yoso_ros.bags.bag import Bag
    from yoso_ros.bags.labels import Labels
    from yoso_ros.benchmark.bench_processes import NODE_NAME, open_bench
    from yoso_ros.evaluation.recordings.frame_counts import FILE_NAME, FrameCounts, write_frame_counts
    from yoso_ros.evaluation.recordings.live import add_worst_answers, per_frame, play_accuracy, play_numbers

    frame = next(iter(source), None)
    count = len(source)
    if frame is None or count < 2:
        raise InputError(f"{source.name}: expected two frames or more to play, found {count}")
    # Treat both like Ctrl-C, so that the child processes end too.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    prefix = arguments.input_topic.removesuffix("image_raw")
    names = ("image_raw", "image_raw/compressed", "camera_info")
    node = "/" + arguments.node.strip("/") if arguments.node else None
    with tempfile.TemporaryDirectory(dir=output, prefix=".answers.") as folder:
        answers, accuracy, sweep = Path(folder) / "answers", {}, {}
        camera = ["player", str(arguments.bag), source.topic, prefix, str(source.first)]
        remappings = {name: prefix + name for name in names}
        parameters = _parameters(arguments, frame.kind)
        with open_bench(camera, output / "node.log", parameters, remappings, attach_to=node) as bench:
            run, played = _play(bench, arguments, count, source.rate_hz, answers if labels else None)
            if arguments.sweep:
                sweep = {"sweep": _sweep(bench, arguments.sweep_rates)}
        play = _as_play(run, played)
        if labels and play.answered.any():  # without answers the recording is empty
            answers = Labels(Bag(answers), f"{node or NODE_NAME}/panoptic")
            counts = FrameCounts(label_set)
            accuracy = play_accuracy(play, labels, answers, model_labels, label_set, frame_counts=counts)
        if accuracy:
            write_frame_counts(counts.compute(), output)
            quality = accuracy["answered"]["PQ_per_frame"]
            add_worst_answers(worst, play, quality, source, decode, labels, answers)
        else:
            (output / FILE_NAME).unlink(missing_ok=True)  # left by an earlier run
    live = {
        "node": node or "started for this run",
        "rate_hz": run.rate_hz,
        "reached_hz": run.reached_hz,
        "times_real_time": run.reached_hz / source.rate_hz,
        "seconds": float(play.published_s[-1] - play.published_s[0]),
        **play_numbers(play),
        "stages_ms": run.stages,
        "unsound": run.unsound,
        **{name: getattr(run, name) for name in ("cpu_percent", "cpu_ms", "memory_mb", "peak_mb")},
    }
    rows = per_frame(play, accuracy)
    for name in ("answered", "streaming") if accuracy else ():
        del accuracy[name]["PQ_per_frame"]  # already in the rows
    backend = next(iter(played.stats.values()), {}).get("backend", "unknown")
    return {"backend": backend, "live": live, **accuracy, **sweep, "per_frame": rows}


def _parameters(arguments, kind):
    names = ("model", "weights", "device", "engine", "precision")
    values = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    return values | {"image_transport": kind}


def _play(bench, arguments, count, recorded_hz, answers):
    from contextlib import nullcontext

    from tqdm import tqdm

    rate = arguments.hz or recorded_hz * arguments.rate
    with tqdm(total=count, unit="frame", desc="play") as bar, bench.recorded(answers) if answers else nullcontext():
        started = time.monotonic()

        def show():
            # The player reports nothing while it plays, but keeps to the clock.
            bar.update(min(count, int((time.monotonic() - started) * rate)) - bar.n)

        outcome = bench.play(f"play {arguments.hz} {arguments.rate} {count}", rate, count / rate, show)
        bar.update(count - bar.n)
    return outcome


def _as_play(run, played):
    import numpy as np

    from yoso_ros.evaluation.recordings.live import Play

    stamps, published, recorded = np.array(played.sent, np.int64).T
    arrived = np.array([played.answered.get(stamp, np.nan) for stamp in stamps.tolist()])
    # Relative to the first, so that nothing is lost in float64.
    first = int(published[0])
    counts = {name: getattr(run, name) for name in ("received", "processed", "dropped", "failed")}
    return Play(stamps, recorded, 1e-9 * (published - first), 1e-9 * (arrived - first), counts)


def _sweep(bench, rates):
    """The highest rate with at most 5 % loss: dict, with the individual runs as "runs"."""
    from tqdm import tqdm

    from yoso_ros.benchmark.node_latency import highest_rate

    low, high, step = rates
    runs = []
    with tqdm(desc="highest rate", unit="run") as bar:

        def measured(rate):
            run = bench.run(rate, SWEEP_S)
            runs.append(
                {
                    "rate_hz": rate,
                    "reached_hz": run.reached_hz,
                    "loss_percent": 100 * run.loss,
                    "latency_p50_ms": run.percentile(50),
                    "latency_p95_ms": run.percentile(95),
                }
            )
            bar.update()
            bar.set_postfix(Hz=rate, loss=f"{run.loss:.1%}")
            return run

        rate, loss = highest_rate(measured, low, high, step, SWEEP_ITERATIONS)
    return {
        "highest_hz": rate,
        "loss_percent": 100 * loss,
        **{"low_hz": low, "high_hz": high, "step_hz": step, "seconds": SWEEP_S, "runs": runs},
    }


def print_summary(report):
    """Print the main numbers to the terminal."""
    live, frames = report["live"], report["live"]["frames"]
    if "answered" in report:
        answered, streaming = (report[n]["panoptic_quality"]["All"]["PQ"] for n in ("answered", "streaming"))
        print(
            f"PQ of the answers {answered:.1f}, mIoU {report['answered']['mean_iou']:.1f}; streaming PQ {streaming:.1f}"
        )
    latency, age = live["latency_ms"], live["age_ms"]
    print(
        f"{frames['played']} frames at {live['reached_hz']:.1f} Hz on {report['backend']}: {frames['answered']} "
        f"answered, {frames['dropped']} dropped, {frames['failed']} failed, "
        f"{frames['lost_in'] + frames['lost_out']} lost"
    )
    print(
        f"latency p50 {latency['p50']:.1f}, p95 {latency['p95']:.1f}, p99 {latency['p99']:.1f}, max "
        f"{latency['max']:.1f} ms; age of the newest answer p50 {age['p50']:.1f} ms; jitter {live['jitter_ms']:.1f} ms"
    )
    if math.isfinite(live["memory_mb"]):  # unknown for a node that this run did not start
        print(f"node: {live['cpu_percent']:.0f} % of one core, {live['memory_mb']:.0f} MB")
    if "sweep" in report:
        sweep = report["sweep"]
        print(
            f"highest rate with at most 5 % loss: {sweep['highest_hz']:g} Hz ({sweep['loss_percent']:.1f} % lost), "
            f"searched {sweep['low_hz']:g} to {sweep['high_hz']:g} Hz in steps of {sweep['step_hz']:g} Hz"
        )
