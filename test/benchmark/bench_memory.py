# SPDX-License-Identifier: Apache-2.0
"""`bench_memory.py`: resident memory of the node in each state of its lifecycle, engine by engine."""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

from yoso_ros.errors import InputError

SUMMARY = "Resident memory of the node before, with and after its model, engine by engine."
EXAMPLE = "python test/benchmark/bench_memory.py --engines torch openvino onnxruntime --rounds 3"
ENGINES = ("torch", "openvino", "onnxruntime", "tensorrt")
RATE_HZ, FRAMES = 10, 20  # played while the node is active
SETTLE_S = 3.0  # for the frames still in work
NODE = "/yoso"


def add_arguments(parser):
    """Add this benchmark's arguments."""
    parser.add_argument("--model", default="yoso_mobilenetv2_camvid", help="(default: %(default)s)")
    parser.add_argument(
        "--engines", nargs="+", default=["torch", "openvino"], choices=ENGINES, help="one after another"
    )
    parser.add_argument("--device", default="auto", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="from configure to clean-up (default: %(default)s)")


def run(arguments):
    """Move a node of each engine through its states and print the table."""
    from tqdm import tqdm

    if arguments.rounds < 1:
        raise InputError(f"--rounds: expected at least 1, found {arguments.rounds}")
    rows = []
    with tqdm(total=len(arguments.engines) * arguments.rounds, desc="memory", unit="round") as bar:
        for engine in arguments.engines:
            rows += _measure(engine, arguments, bar)
    print(f"{arguments.model}, 720x1280 frames; resident memory of the node's process in MB")
    print(f"{'engine':>12} {'round':>6} {'unconfigured':>13} {'configured':>11} {'active':>8} {'cleaned up':>11}")
    for engine, number, *values in rows:
        print(f"{engine:>12} {number:6d} {values[0]:13.0f} {values[1]:11.0f} {values[2]:8.0f} {values[3]:11.0f}")
    return 0


def _measure(engine, arguments, bar):
    """A row (engine, round, four values in MB) for each round."""
    from yoso_ros.benchmark.node_latency import memory_mb

    rows = []
    parameters = {"autostart": "false", "model": arguments.model, "engine": engine, "device": arguments.device}
    with _processes(parameters) as (node, camera, caller):

        def change(transition):
            node.check()
            if not caller.ask(transition):
                raise InputError(f"the node with engine {engine} did not {transition}:\n  {node.last_lines()}")
            return memory_mb(node.pid)[0]

        for number in range(1, arguments.rounds + 1):
            values = [memory_mb(node.pid)[0], change("configure")]
            change("activate")
            camera.ask(f"{RATE_HZ} {FRAMES}")
            time.sleep(SETTLE_S)
            values.append(memory_mb(node.pid)[0])
            change("deactivate")
            values.append(change("cleanup"))
            rows.append((engine, number, *values))
            bar.update()
    return rows


@contextlib.contextmanager
def _processes(parameters):
    """The node, a camera and the caller of its transitions, in a ROS domain of their own."""
    from yoso_ros.benchmark.node_bench import Role
    from yoso_ros.node_process import NodeProcess, dds_environment, reserved_domain
    from yoso_ros.stop_signals import held_back

    roles = [sys.executable, "-m", "yoso_ros.ros.runs.latency_roles"]
    with contextlib.ExitStack() as started:
        domain = started.enter_context(reserved_domain())
        log = Path(started.enter_context(tempfile.TemporaryDirectory())) / "node.log"
        with held_back():
            node = NodeProcess(parameters, {"image_raw": "/benchmark/image_raw"}, domain, log)
            started.callback(node.stop)
        camera = Role([*roles, "camera", "720", "1280", "synthetic"], dds_environment(domain))
        started.callback(camera.stop)
        caller = Role([*roles, "lifecycle", NODE], dds_environment(domain))
        started.callback(caller.stop)
        yield node, camera, caller


if __name__ == "__main__":
    import script

    sys.exit(script.main(sys.modules["__main__"]))
