# SPDX-License-Identifier: Apache-2.0
"""The other side of a soak test: a camera with some bad frames, a user who changes things, and a check of answers."""

import array
import itertools
import json
import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

import yoso_ros
from yoso_ros.benchmark.constant_segmenter import ConstantSegmenter
from yoso_ros.msg import InferenceStats
from yoso_ros.ros.messages import image_message
from yoso_ros.stamps import seconds_and_nanoseconds

IMAGE_TOPIC = "/benchmark/image_raw"
NODE = "/yoso"
QOS = QoSProfile(depth=50)
PICTURES = 3  # of each size
AGREEMENT = 0.999  # share of the pixels; a network's threads may sum in another order
COMPARED = 10  # one in this many answers is compared
PATIENCE_S = 300.0  # for any request to the node
SETTLED_S = 120.0  # for the last frames of a stretch to be accounted for, even on a busy machine
QUIET_S = 1.5  # without a new count nothing is in transit any more; losses are reported once per second
# The camera waits while this many frames are in transit. More than the node's queue holds would replace each other
# there, without being counted, when the node gets no CPU time.
ON_THEIR_WAY = 10
COUNTED = ("received", "processed", "dropped", "failed")
ROUND = ("deactivate", "cleanup", "configure", "activate")
# Changed and reset while frames continue; their answers are not compared.
CHANGES = (
    ("score_threshold", 0.9, -1.0),
    ("overlay_alpha", 0.1, 0.5),
    ("max_rate_hz", 5.0, 0.0),
    ("tracking", False, True),
)


def bad_frames(good):
    """Variants of an image message that are unusable: list of sensor_msgs/Image."""
    variants = []
    for changes in ({"encoding": "nonsense"}, {"height": 0}, {"step": 1}, {"data": array.array("B", b"short")}):
        message = Image(height=good.height, width=good.width, encoding=good.encoding, step=good.step)
        message.data = array.array("B", bytes(good.data))
        for name, value in changes.items():
            setattr(message, name, value)
        variants.append(message)
    return variants


class Side:
    """Publishes, listens, and accounts for every frame.

    Args:
        segmenter: computes the expected answers. sizes: list of (height, width).
        bad_every: one frame in this many is bad.
    """

    def __init__(self, segmenter, sizes, bad_every):
        rclpy.init(args=[])
        self.node = rclpy.create_node("soak")
        self._camera = self.node.create_publisher(Image, IMAGE_TOPIC, QOS)
        self.node.create_subscription(InferenceStats, f"{NODE}/stats", self._on_stats, QOS)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QOS)
        self.node.create_subscription(Image, f"{NODE}/panoptic/image_raw", self._on_answer, QOS)
        self._parameters = self.node.create_client(SetParameters, f"{NODE}/set_parameters")
        self._lifecycle = self.node.create_client(ChangeState, f"{NODE}/change_state")
        self._frames = {size: self._pictures(segmenter, size) for size in sizes}
        self._sizes, self._bad_every = itertools.cycle(sizes), bad_every
        self._size = next(self._sizes)
        self._events = itertools.cycle((self.change_parameter, self.leave_and_return, self.change_size, self.lifecycle))
        self._changes = itertools.cycle(CHANGES)
        self._sent = {}  # stamp to expected panoptic image, None for a bad frame; the newest ones
        # The node's counts arrive with every finished frame and once per second, because some frames end without one.
        self._counts, self._lost, self._caught = dict.fromkeys(COUNTED, 0), 0, 0
        counts = "sent bad in_transitions answers compared wrong unaccounted parameter_changes returns"
        self.totals = dict.fromkeys([*counts.split(), "size_changes", "lifecycle_rounds"], 0)
        self._number = 0
        self._base = (0, 0, 0, 0)  # sent, received, finished and lost at the start of a stretch

    def _pictures(self, segmenter, size):
        """(Message, expected bytes of the answer, None for a bad frame) of good pictures, and of bad ones."""
        coarse = np.random.default_rng(0).integers(0, 256, (PICTURES, 6, 8, 3), np.uint8)
        rows, columns = (np.arange(n) * m // n for n, m in zip(size, (6, 8), strict=True))
        frames = [np.ascontiguousarray(picture[rows][:, columns]) for picture in coarse]
        good = [(image_message(frame, Image().header), segmenter(frame).panoptic) for frame in frames]
        for message, _ in good:
            message.data = array.array("B", bytes(message.data))
        return good, [(message, None) for message in bad_frames(good[0][0])]

    # From the node

    def _on_stats(self, message):
        self._counts = {name: getattr(message, name) for name in COUNTED}

    def _on_diagnostics(self, message):
        values = {value.key: value.value for status in message.status for value in status.values}
        self._caught = int(values.get("caught errors", self._caught))
        if "received" in values:  # not while the node has no camera
            self._counts = {name: int(values[name]) for name in COUNTED}
            self._lost = int(values["lost"])

    def _on_answer(self, message):
        self.totals["answers"] += 1
        stamp = message.header.stamp.sec, message.header.stamp.nanosec
        if stamp not in self._sent:  # sent while something changed
            return
        expected = self._sent[stamp]
        if expected is None:
            self.totals["wrong"] += 1
        elif self.totals["answers"] % COMPARED == 0:
            self.totals["compared"] += 1
            found = np.frombuffer(message.data, np.uint16).reshape(message.height, message.width)
            same = found.shape == expected.shape and np.mean(found == expected) >= AGREEMENT
            self.totals["wrong"] += not same

    # To the node

    def _publish(self, steady):
        good, bad = self._frames[self._size]
        self._number += 1
        is_bad = self._number % self._bad_every == 0
        choice = bad[self._number // self._bad_every % len(bad)] if is_bad else good[self._number % len(good)]
        message, expected = choice
        stamp = seconds_and_nanoseconds(time.time_ns())
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        if steady:
            self._sent[stamp] = expected
            while len(self._sent) > 1000:
                del self._sent[next(iter(self._sent))]
        self.totals["sent" if steady else "in_transitions"] += 1
        self.totals["bad"] += is_bad
        self._camera.publish(message)

    def _spin(self, seconds, rate_hz=0.0, steady=False, until=lambda: False):
        """Serve for some time, publishing at a rate, until a condition holds; returns whether it does."""
        start, published = time.monotonic(), 0
        while time.monotonic() < start + seconds:
            if published < (time.monotonic() - start) * rate_hz:
                if not steady or self._on_their_way() < ON_THEIR_WAY:
                    self._publish(steady)
                published = max(
                    published + 1, int((time.monotonic() - start) * rate_hz) - 5
                )  # a delay is not compensated
            rclpy.spin_once(self.node, timeout_sec=min(0.01, 0.2 / rate_hz) if rate_hz else 0.01)
            if until():
                return True
        return until()

    def _accounted(self):
        received, *finished = (self._counts[name] for name in COUNTED)
        return received, sum(finished), self._lost

    def _on_their_way(self):
        """Frames of this stretch that were sent but neither received nor reported lost."""
        sent, received, _, lost = self._base
        now_received, _, now_lost = self._accounted()
        return self.totals["sent"] - sent - (now_received - received) - (now_lost - lost)

    def _unfinished(self):
        """Frames of this stretch that the node has received but not yet processed, dropped or failed."""
        _, received, finished, _ = self._base
        now_received, now_finished, _ = self._accounted()
        return now_received - received - (now_finished - finished)

    def _await_silence(self):
        """Wait until the node has finished everything sent during a change."""
        before, now = None, self._accounted()
        while before != now or now[0] != now[1]:
            self._spin(QUIET_S)
            before, now = now, self._accounted()

    def run(self, seconds, rate_hz):
        """Change something while frames continue, then publish for some time and account for every frame."""
        next(self._events)(rate_hz)
        self._await(lambda: self._camera.get_subscription_count() > 0, "the node reads the images")
        self._await_silence()
        self._base = (self.totals["sent"], *self._accounted())
        self._spin(seconds, rate_hz, steady=True)
        if not self._spin(SETTLED_S, until=lambda: self._on_their_way() == self._unfinished() == 0):
            # Either of the two may be negative: counted but never sent.
            self.totals["unaccounted"] += abs(self._on_their_way()) + abs(self._unfinished())
        return self.totals | self._counts | {"lost": self._lost, "caught": self._caught}

    def connect(self):
        """Wait for the node."""
        ready = (
            self._parameters.service_is_ready,
            self._lifecycle.service_is_ready,
            self._camera.get_subscription_count,
        )
        self._await(lambda: all(is_ready() for is_ready in ready), "the node")
        self._spin(1.0)

    def _await(self, condition, what):
        if not self._spin(PATIENCE_S, until=condition):
            raise TimeoutError(f"no sign within {PATIENCE_S:g} s: {what}")

    def _ask(self, client, request, rate_hz):
        future = client.call_async(request)
        if not self._spin(PATIENCE_S, rate_hz, until=future.done):
            raise TimeoutError(f"no answer of {client.srv_name} within {PATIENCE_S:g} s")
        return future.result()

    # Changes

    def change_parameter(self, rate_hz):
        """Apply one of `CHANGES` and revert it."""
        name, value, default = next(self._changes)
        for wanted in (value, default):
            parameters = [Parameter(name, value=wanted).to_parameter_msg()]
            (result,) = self._ask(self._parameters, SetParameters.Request(parameters=parameters), rate_hz).results
            if not result.successful:
                raise RuntimeError(f"{name} {wanted} was refused: {result.reason}")
            self.totals["parameter_changes"] += 1
            self._spin(0.3, rate_hz)

    def leave_and_return(self, rate_hz):
        """The camera disappears and returns."""
        self.node.destroy_publisher(self._camera)
        self._spin(1.0)
        self._camera = self.node.create_publisher(Image, IMAGE_TOPIC, QOS)
        self.totals["returns"] += 1

    def change_size(self, rate_hz):
        """Switch to images of the next size."""
        self._size = next(self._sizes)
        self.totals["size_changes"] += 1

    def lifecycle(self, rate_hz):
        """A round of the lifecycle under load."""
        for name in ROUND:
            transition = Transition(id=getattr(Transition, f"TRANSITION_{name.upper()}"))
            if not self._ask(self._lifecycle, ChangeState.Request(transition=transition), rate_hz).success:
                raise RuntimeError(f"the transition {name} failed")
        self.totals["lifecycle_rounds"] += 1


def main(model, bad_every, *sizes):
    """Answer each line "SECONDS RATE_HZ" of stdin with the counts of all frames so far, as a line of JSON.

    Args:
        model: name of the node's model, "constant" for the constant result. bad_every: frames for a bad one.
        sizes: "HxW" of the images.
    """
    segmenter = ConstantSegmenter(model) if model == "constant" else yoso_ros.load_segmenter(model)
    side = Side(segmenter, [tuple(map(int, size.split("x"))) for size in sizes], int(bad_every))
    side.connect()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(side.run(*map(float, line.split()))), flush=True)
    side.node.destroy_node()
    rclpy.shutdown()
