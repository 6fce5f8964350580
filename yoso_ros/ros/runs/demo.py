# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the node as a separate process, a recording played to it over DDS, its answers recorded."""

import contextlib
import itertools
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

from yoso_ros.bags.labels import segment_from_message
from yoso_ros.demo.answers import Answer
from yoso_ros.demo.report import Report
from yoso_ros.errors import InputError
from yoso_ros.images.decoding import decode_compressed, decode_image
from yoso_ros.node_process import NodeProcess, dds_environment, reserved_domain
from yoso_ros.ros.runs.playback import FramePublisher, Pacer
from yoso_ros.ros.runs.recorder import Recorder, pixels
from yoso_ros.stop_signals import held_back

PREFIX = "/demo/"
NODE_NAME = "/yoso"
START_S = 180.0  # for loading the model on a slow machine and for discovery
ANSWER_S = 60.0  # for one frame
FIRST_PAUSE_S = 1.0  # before the first frame is sent again; doubled repeatedly
QUIET_S = 3.0  # for messages still in transit at the end
IN_WORK = 3  # maximum number of frames in progress at the end: one in the network, one waiting, one in transit
POLL_S = 0.25  # between checks of the node's process


@dataclass(frozen=True, kw_only=True)
class Run:
    """Options of a demonstration.

    Attributes:
        source: opened source (`yoso_ros.bags.open_source`). count: frames to play.
        model, weights: for the node; weights None for the shipped checkpoint.
        label_set: `LabelSet` of the model.
        output: folder. rate_hz: 0 for the recorded rate.
        every_frame: wait for each answer before sending the next frame; else play in real time.
        command: list of str, command to start instead of this package's node.
    """

    source: object
    count: int
    model: str
    weights: str | None
    label_set: object
    output: Path
    rate_hz: float = 0.0
    every_frame: bool = True
    command: tuple[str, ...] | None = None


def play_and_record(options):
    """Run the demonstration; returns the summary, which is also in `output`/summary.json.

    Raises:
        InputError: the source is damaged, or the node ended or did not start; the message has its last lines.
    """
    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    frames = itertools.islice(options.source, options.count)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{options.source.name}: expected frames, found none")
    with reserved_domain() as domain:
        # rmw reads these when the first node of the process is created.
        os.environ.update(dds_environment(domain))
        return _play_in(domain, options, output, first, frames)


def _play_in(domain, options, output, first, frames):
    parameters = {"model": options.model, "image_transport": first.kind, "input_reliability": "reliable"}
    if options.weights:
        parameters["weights"] = str(options.weights)
    remappings = {"image_raw": f"{PREFIX}image_raw", "camera_info": f"{PREFIX}camera_info"}
    with contextlib.ExitStack() as started:
        with held_back():
            process = NodeProcess(parameters, remappings, domain, output / "node.log", options.command)
            started.callback(process.stop)
        node = started.enter_context(_SpunNode(domain))
        report = Report(output, options.label_set, options.count, options.rate_hz or options.source.rate_hz, _picture)
        try:
            player = _Player(options, node, process, report, first.kind)
            return player.play(itertools.chain([first], frames))
        except BaseException:
            report.discard()
            raise


class _SpunNode:
    """A node of this process in `domain`, spun in a thread for the length of a with block."""

    def __init__(self, domain):
        self._domain, self._context = domain, rclpy.Context()

    def __enter__(self):
        rclpy.init(
            context=self._context, domain_id=self._domain, signal_handler_options=SignalHandlerOptions.NO, args=[]
        )
        self._node = rclpy.create_node("yoso_demo", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="demo spin", daemon=True)
        self._thread.start()
        return self._node

    def _spin(self):
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def __exit__(self, *_):
        self._executor.shutdown(timeout_sec=1.0)
        self._context.try_shutdown()
        self._thread.join(2.0)
        self._node.destroy_node()


class _Player:
    def __init__(self, options, node, process, report, kind):
        self._options, self._process, self._report = options, process, report
        self._publisher = FramePublisher(node, kind, prefix=PREFIX)
        self._recorder = Recorder(node, NODE_NAME)
        self._sent = {}  # stamp to (index, frame, time), until answered
        self._sent_count, self._longest_s = 0, 0.0

    def play(self, frames):
        self._wait_for_node()
        first = next(frames)
        self._warm_up(first)
        frames = itertools.chain([first], frames)
        pacer = Pacer(self._options.rate_hz)
        with tqdm(total=self._options.count, desc="demo", unit="frame") as bar:
            for index, frame in enumerate(frames):
                self._until(lambda: False, pacer.seconds_until(frame.stamp_ns))
                self._sent[frame.stamp_ns] = (index, frame, time.monotonic())
                self._publisher.publish(frame)
                self._sent_count += 1
                if self._options.every_frame and not self._until(self._is_settled, ANSWER_S):
                    raise InputError(f"the node gave no answer to frame {index} within {ANSWER_S:g} s")
                self._collect(bar)
            # In real time the last frames are still in progress.
            self._until(self._is_settled, QUIET_S + IN_WORK * self._longest_s if self._report.count else ANSWER_S)
            self._collect(bar)
        return self._report.finish(self._facts(), self._counts())

    def _wait_for_node(self):
        with tqdm(desc="waiting for the node to load its model", bar_format="{desc}: {elapsed}", leave=False) as bar:
            deadline = time.monotonic() + START_S
            while not (self._publisher.subscription_count and self._recorder.is_connected):
                self._process.check()
                if time.monotonic() > deadline:
                    raise InputError(f"the node did not subscribe to {self._publisher.topic} within {START_S:g} s")
                time.sleep(POLL_S)
                bar.refresh()

    def _warm_up(self, frame):
        """Send a frame until the node has processed it, then reset the counters.

        Seeing each other's topics does not guarantee that messages arrive in both directions yet: those sent before
        discovery is complete are lost.
        """
        recorder, pause, deadline = self._recorder, FIRST_PAUSE_S, time.monotonic() + ANSWER_S
        for number in itertools.count(1):
            self._publisher.publish(frame, number)  # stamps of a few nanoseconds, which do not occur in sources
            if self._until(self._has_answered_all, min(pause, deadline - time.monotonic())):
                break
            if time.monotonic() >= deadline:
                raise InputError(f"the node gave no answer to the first frame within {ANSWER_S:g} s")
            pause *= 2
        recorder.reset()

    def _has_answered_all(self):
        counts, completed = self._recorder.counts, self._recorder.completed
        return 0 < counts["received"] <= self._recorder.finished and completed >= counts["processed"]

    def _until(self, condition, seconds):
        """Wait for a condition while the node lives; returns whether it holds."""
        deadline = time.monotonic() + seconds
        while not self._recorder.wait_for(condition, max(0.0, min(POLL_S, deadline - time.monotonic()))):
            self._process.check()
            if time.monotonic() >= deadline:
                return False
        return True

    def _is_settled(self):
        """Whether the node has finished all sent frames and everything it published has arrived."""
        recorder = self._recorder
        return recorder.finished >= self._sent_count and recorder.completed >= recorder.counts["processed"]

    def _collect(self, bar):
        """Pass complete answers to the report."""
        for stamp, parts in self._recorder.take():
            if stamp not in self._sent:
                continue
            index, frame, sent_s = self._sent[stamp]
            answer = _answer(index, frame, sent_s, parts)
            self._longest_s = max(self._longest_s, answer.latency_ms / 1e3)
            self._report.add(answer)
            bar.update(index + 1 - bar.n)
            # Answers arrive in order: older frames were dropped or have failed.
            self._sent = {s: value for s, value in self._sent.items() if value[0] > index}
        counts = self._recorder.counts
        bar.set_postfix(answered=self._report.count, dropped=counts["dropped"], failed=counts["failed"], refresh=False)

    def _facts(self):
        mode = "every frame: each answer was awaited before the next frame was sent"
        if not self._options.every_frame:
            mode = "real time: frames were sent at the source's rate, whether or not the node kept up"
        return {
            "source": self._options.source.name,
            "model": self._options.model,
            "weights": str(self._options.weights or "shipped checkpoint"),
            "backend": self._recorder.stats.backend,
            "mode": mode,
            "rate_hz": self._options.rate_hz or self._options.source.rate_hz,
        }

    def _counts(self):
        counts = self._recorder.counts
        lost = max(0, self._sent_count - counts["received"])
        sizes = {"in_source": len(self._options.source), "asked_for": self._options.count}
        return {**sizes, "sent": self._sent_count, "lost": lost, **counts}


def _picture(frame):
    return (decode_image if frame.kind == "raw" else decode_compressed)(frame.image)


def _answer(index, frame, sent_s, parts):
    messages, received_s = parts.messages, parts.labels_received_s
    stats = messages["stats"]
    return Answer(
        index=index,
        frame=frame,
        panoptic=pixels(messages["panoptic"]),
        semantic=pixels(messages["semantic"]),
        overlay=pixels(messages["overlay"]),
        segments=[segment_from_message(s) for s in messages["segments"].segments],
        stages_ms={n: getattr(stats, n) for n in stats.get_fields_and_field_types() if n.endswith("_ms")},
        latency_ms=1e3 * (received_s - sent_s),
        sent_s=sent_s,
        received_s=received_s,
    )
