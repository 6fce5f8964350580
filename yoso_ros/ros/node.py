# SPDX-License-Identifier: Apache-2.0
"""The node: camera images in, panoptic label images out; thin, with the work in the modules beside it."""

import os
import re
import signal
import sys
import time

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header
from std_srvs.srv import SetBool

import yoso_ros
from yoso_ros.errors import InputError
from yoso_ros.msg import InferenceStats
from yoso_ros.resources import share_path
from yoso_ros.ros.diagnostics import HealthReport
from yoso_ros.ros.inputs import CameraInput
from yoso_ros.ros.messages import stats_message
from yoso_ros.ros.outputs import CameraOutputs
from yoso_ros.ros.parameters import MODEL_VALUE, check_change, declare_parameters, read_settings, unknown_classes, usage
from yoso_ros.ros.worker import LatestItemWorker

STATS_QOS = QoSProfile(depth=10)
DIAGNOSTICS_PERIOD_S = 1.0
SPIN_S = 0.1  # longest time that a signal waits for the executor
STOP_S = 1.2  # time that the frame in work gets to finish when the node ends
CLOCK_LIMIT_S = 10.0  # a stamp farther from now was not made by this machine's clock
WARMUP_SHAPE = (480, 640, 3)


class PanopticNode(LifecycleNode):
    """Panoptic segmentation of one camera topic.

    States: unconfigured holds nothing; configure loads the model (seconds) and creates the publishers; active reads
    images; inactive keeps the model ready and costs no time; clean-up frees the model.

    Args:
        load_segmenter: called as `yoso_ros.load_segmenter` is; returns the segmenter.

    Raises:
        InputError: a parameter is not allowed.
    """

    def __init__(self, load_segmenter=yoso_ros.load_segmenter):
        super().__init__("yoso")
        declare_parameters(self)
        self.settings = read_settings(self)
        self._load_segmenter = load_segmenter
        self._phase = "unconfigured"
        self._segmenter = self._input = self._outputs = None
        self._model_thresholds = {}
        self._last_done = (Header(), {})
        self._health = HealthReport(self.get_name())
        self._worker = LatestItemWorker(self._segment, self._finish, name="segmentation")
        self._stats = self.create_publisher(InferenceStats, "~/stats", STATS_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATS_QOS)
        self.create_service(SetBool, "~/enable", self._on_enable)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # reports go on while a simulation pauses
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report_health, clock=steady)
        self.add_on_set_parameters_callback(self._on_parameters)

    # Lifecycle

    def start(self):
        """Configure and activate. Returns True when the node is active; else the cause is in the log."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def on_configure(self, state):
        """Load the model and create its topics."""
        try:
            self._configure()
        except Exception as error:  # rclpy hides exceptions of transitions, and the cause must be seen
            self.get_logger().error(_cause(error))
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._phase = "inactive"
        return TransitionCallbackReturn.SUCCESS

    def _configure(self):
        settings = self.settings = read_settings(self)
        settings.refuse_what_is_not_served()
        started = time.perf_counter()
        self._segmenter = self._load_segmenter(
            settings.model,
            weights=settings.weights or None,
            device=settings.device,
            engine=settings.engine,
            precision=settings.precision,
        )
        label_set = self._segmenter.label_set
        fault = unknown_classes(settings.mask_classes, self._class_names())
        if fault:
            raise InputError(fault)
        self._model_thresholds = {n: getattr(self._segmenter, n) for n in ("score_threshold", "overlap_threshold")}
        self._apply(settings)
        for _ in range(settings.warmup_iterations):
            self._segmenter(np.zeros(WARMUP_SHAPE, np.uint8))
        prefix = f"{settings.cameras[0]}/" if settings.cameras else ""
        self._outputs = CameraOutputs(self, prefix)
        self._outputs.set_label_set(label_set, settings.label_info_period_s)
        self._input = CameraInput(self, prefix, settings.image_transport, settings.input_reliability, self._on_image)
        self.get_logger().info(
            f"{settings.model} on {self._segmenter.backend}, {len(label_set)} classes of {label_set.name}, "
            f"score threshold {self._segmenter.score_threshold:g}, "
            f"overlap threshold {self._segmenter.overlap_threshold:g}, "
            f"ready after {time.perf_counter() - started:.1f} s; reading {self._input.topic}"
        )

    def on_activate(self, state):
        """Begin to read images."""
        self._worker.start()
        self._phase = "active"
        self._follow_enable()
        return TransitionCallbackReturn.SUCCESS

    def on_deactivate(self, state):
        """Stop reading images; the model stays loaded."""
        self._phase = "inactive"
        self._input.unsubscribe()
        # Without a limit, for the model must not be freed or used again while a frame is in work.
        self._worker.stop(timeout=None)
        return TransitionCallbackReturn.SUCCESS

    def on_cleanup(self, state):
        """Free the model and take its topics away."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state):
        """Stop and free everything, from any state."""
        if self._phase == "active":
            self.on_deactivate(state)
        self._release()
        self._phase = "finalized"
        return TransitionCallbackReturn.SUCCESS

    def _release(self):
        if self._input is not None:
            self._input.unsubscribe()
        if self._outputs is not None:
            self._outputs.destroy()
        self._segmenter = self._input = self._outputs = None
        self._phase = "unconfigured"

    def close(self):
        """End the work before the node is destroyed. Returns False when a frame is in work still."""
        if self._input is not None:
            self._input.unsubscribe()
        return self._worker.stop(STOP_S)

    # Parameters and services

    def _class_names(self):
        return None if self._segmenter is None else [label.name for label in self._segmenter.label_set.classes]

    def _on_parameters(self, changes):
        result = check_change(changes, self._phase == "unconfigured", self._class_names())
        if result.successful:
            self._apply(read_settings(self, {change.name: change.value for change in changes}))
        return result

    def _apply(self, settings):
        self.settings = settings
        self._worker.limit_rate(settings.max_rate_hz)
        for name, own in self._model_thresholds.items() if self._segmenter is not None else ():
            value = getattr(settings, name)
            setattr(self._segmenter, name, own if value == MODEL_VALUE else value)
        self._follow_enable()

    def _follow_enable(self):
        if self._phase == "active" and self.settings.enable:
            self._input.subscribe()
        elif self._input is not None:
            self._input.unsubscribe()

    def _on_enable(self, request, response):
        (result,) = self.set_parameters([Parameter("enable", value=request.data)])
        response.success = result.successful
        response.message = result.reason or ("enabled" if request.data else "disabled")
        return response

    # Frames

    def _on_image(self, message):
        self._health.frame_arrived()
        self._worker.deliver(message)

    def _segment(self, message, received, started):
        """Segment and publish one image message, in the worker's thread. Returns the times in milliseconds."""
        frame = self._input.decode(message)
        decoded = time.perf_counter()
        result = self._segmenter(frame)
        segmented = time.perf_counter()
        header = message.header
        self._outputs.publish(frame, result, header, self._input.camera_info(header), self.settings)
        published = time.perf_counter()
        preprocess_ms, inference_ms = result.timings_ms["preprocess"], result.timings_ms["inference"]
        return {
            "queue_ms": 1e3 * (started - received),
            "preprocess_ms": 1e3 * (decoded - started) + preprocess_ms,
            "inference_ms": inference_ms,
            # All the rest of the call, so that the stages add up to the latency.
            "postprocess_ms": 1e3 * (segmented - decoded) - preprocess_ms - inference_ms,
            "publish_ms": 1e3 * (published - segmented),
            "latency_ms": 1e3 * (published - received),
            "age_ms": self._age_ms(header.stamp),
        }

    def _age_ms(self, stamp):
        if self.get_parameter("use_sim_time").value:
            return np.nan
        age = self.get_clock().now().nanoseconds * 1e-9 - (stamp.sec + stamp.nanosec * 1e-9)
        return 1e3 * age if abs(age) <= CLOCK_LIMIT_S else np.nan

    def _finish(self, message, times, error):
        """Report the outcome of one image message, in the worker's thread."""
        if error is None:
            self._last_done = (message.header, times)
        else:
            cause = _cause(error)
            # Numbers change from frame to frame; the rest of the line names the kind.
            if self._health.failure(cause, re.sub(r"\d+", "#", cause)):
                self.get_logger().warning(f"a frame failed (reported once): {cause}")
        header, times = self._last_done
        self._stats.publish(stats_message(header, self._worker.counts, times, self._segmenter.backend))

    def _report_health(self):
        backend = "" if self._segmenter is None else self._segmenter.backend
        stamp = self.get_clock().now().to_msg()
        settings, counts = self.settings, self._worker.counts
        self._diagnostics.publish(
            self._health.message(stamp, self._phase, settings.enable, counts, backend, settings.model)
        )


def _cause(error):
    text = " ".join(str(error).split())
    return text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _run(load_segmenter):
    node = PanopticNode(load_segmenter)
    try:
        if node.settings.autostart and not node.start():
            return 2
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while True:
            executor.spin_once(timeout_sec=SPIN_S)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        ended = node.close()
        node.destroy_node()
        rclpy.try_shutdown()
        if not ended:
            # A thread inside the network cannot be ended, and Python would wait for it or crash in its clean-up.
            sys.stderr.flush()
            os._exit(0)


def main(args=None, load_segmenter=yoso_ros.load_segmenter):
    """Run the node as a process of its own (console script `panoptic_node`).

    Returns:
        Exit code: 0 after SIGINT, SIGTERM or --help; 2 when the arguments, the model or its weights are of no use.
    """
    if {"-h", "--help"} & set(sys.argv[1:] if args is None else args):
        print(usage())
        return 0
    # Fast DDS loses most frames of camera size with its own defaults; the profile says more.
    os.environ.setdefault("FASTRTPS_DEFAULT_PROFILES_FILE", str(share_path("config/dds/large_images.xml")))
    # Both signals become KeyboardInterrupt in the main thread, also while the model loads. SIGINT is set too, for a
    # shell that starts a process in the background has it ignore that signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        try:
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # what rclpy raises for arguments and parameter files that it cannot read
            raise InputError(" ".join(str(error).split())) from error
        return _run(load_segmenter)
    except KeyboardInterrupt:
        return 0
    except (InputError, ParameterException, FileNotFoundError) as error:
        print(f"panoptic_node: {_cause(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
