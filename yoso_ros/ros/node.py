# SPDX-License-Identifier: Apache-2.0
"""The node: camera images in, panoptic label images out; a thin layer over the other modules."""

import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

import yoso_ros
from yoso_ros.errors import InputError
from yoso_ros.msg import InferenceStats
from yoso_ros.ros.batch import FrameStages
from yoso_ros.ros.bond import SupervisorBond, bond_messages_installed
from yoso_ros.ros.camera import STATS_QOS, Camera, FrameLog
from yoso_ros.ros.caught import GuardedLifecycle
from yoso_ros.ros.causes import cause_of
from yoso_ros.ros.context import ignore_stop_signals, run_process, spin_until_stopped
from yoso_ros.ros.diagnostics import idle_status
from yoso_ros.ros.log import forward_log
from yoso_ros.ros.memory import free_memory, memory_values
from yoso_ros.ros.parameters import MODEL_VALUE, check_change, declare_parameters, read_settings, unknown_classes, usage
from yoso_ros.ros.segment_service import SegmentService
from yoso_ros.ros.worker import LatestItemsWorker

DIAGNOSTICS_PERIOD_S = 1.0
FOLLOW_PERIOD_S = 0.25  # how soon the reliability of a new publisher is followed
STOP_S = 1.0  # time for the current frame to finish when the node ends
CLOCK_LIMIT_S = 10.0  # a stamp farther from the current time does not come from this machine's clock


class PanopticNode(GuardedLifecycle, LifecycleNode):
    """Panoptic segmentation of one camera, or of several in one pass of the network.

    States: unconfigured holds no resources; configure loads the model (seconds) and creates the publishers; active
    reads images; inactive keeps the model loaded and uses no CPU; clean-up frees the model.

    Args:
        load_segmenter: called like `yoso_ros.load_segmenter`; returns the segmenter.

    Raises:
        InputError: a parameter is not allowed.
    """

    def __init__(self, load_segmenter=yoso_ros.load_segmenter):
        super().__init__("yoso")
        declare_parameters(self)
        self.settings = read_settings(self)
        self._load_segmenter = load_segmenter
        self._phase = "unconfigured"
        self._failure = ""  # why the last configuration failed
        self._segmenter = None
        self._cameras = {}  # name to Camera, while the node is configured
        self._lost = {}  # name of a camera to the number of images lost by the middleware, over all configurations
        self._model_thresholds = {}
        self._stages = FrameStages(self._source, self._age_ms)
        # A request gets a separate pass: together with it, camera frames would be padded to its size, and an engine
        # for one batch size would be built again.
        self._worker = LatestItemsWorker(
            (self._stages.prepare, self._stages.infer, self._stages.publish),
            self.caught.guard(self._finish, "report of a frame"),
            apart=(SegmentService.SOURCE,),
            name="segmentation",
        )
        self._log = FrameLog(self.create_publisher(InferenceStats, "~/stats", STATS_QOS))
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", STATS_QOS)
        self.create_service(SetBool, "~/enable", self._on_enable)
        self._requests = SegmentService(
            self, self._worker.deliver, lambda: self._phase == "active", lambda: self.settings.max_image_pixels
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # reports continue while a simulation is paused
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._report_health, clock=steady)
        self.create_timer(FOLLOW_PERIOD_S, self._follow_publishers, clock=steady)
        self._bond = SupervisorBond(self, self._on_broken_bond)
        self._caught_before = 0  # errors in the last report
        self.add_on_set_parameters_callback(self.caught.guard(self._on_parameters, "parameters", _refused))

    # Lifecycle

    def start(self):
        """Configure and activate. Returns True if the node is active; otherwise the cause is in the log."""
        return (
            self.trigger_configure() == TransitionCallbackReturn.SUCCESS
            and self.trigger_activate() == TransitionCallbackReturn.SUCCESS
        )

    def on_configure(self, state):
        """Load the model and create its topics."""
        try:
            self._configure()
        except Exception as error:  # rclpy hides exceptions of transitions, and the cause must be visible
            self._tell_failure(error)
            self._release()
            return TransitionCallbackReturn.FAILURE
        self._phase, self._failure = "inactive", ""
        return TransitionCallbackReturn.SUCCESS

    def _configure(self):
        settings = self.settings = read_settings(self)
        settings.check()
        if settings.bond and not bond_messages_installed():
            raise InputError("bond: expected the ROS package bond to be installed, found none")
        started = time.perf_counter()
        self._segmenter = self._load_segmenter(
            settings.model,
            weights=settings.weights or None,
            download=settings.download,
            device=settings.device,
            engine=settings.engine,
            precision=settings.precision,
            **settings.engine_options,
        )
        self._stages.segmenter = self._segmenter
        label_set = self._segmenter.label_set
        fault = unknown_classes(settings.mask_classes, self._class_names())
        if fault:
            raise InputError(fault)
        self._model_thresholds = {n: getattr(self._segmenter, n) for n in ("score_threshold", "overlap_threshold")}
        self._apply(settings)
        names = settings.cameras or ("",)
        for _ in range(settings.warmup_runs):
            self._segmenter.batch([np.zeros(settings.warmup_shape, np.uint8)] * len(names))
        for name in names:
            counts = self._worker.counts_of(name)
            lost = self._lost.get(name, 0)
            self._cameras[name] = Camera(
                self, name, settings, label_set, self._worker.deliver, counts, self._score_threshold, lost
            )
        topics = ", ".join(camera.input.topic for camera in self._cameras.values())
        self.get_logger().info(
            f"{settings.model} on {self._segmenter.backend}, {len(label_set)} classes of {label_set.name}, "
            f"score threshold {self._segmenter.score_threshold:g}, "
            f"overlap threshold {self._segmenter.overlap_threshold:g}, "
            f"ready after {time.perf_counter() - started:.1f} s; reading {topics}"
        )

    def on_activate(self, state):
        """Start reading images."""
        self._phase = "active"
        try:
            self._worker.start()
            self._follow_enable()
            if self.settings.bond:
                self._bond.start()
        except Exception as error:
            self._tell_failure(error)
            self.on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS

    def _tell_failure(self, error):
        self._failure = cause_of(error)
        self.get_logger().error(self._failure)

    def on_deactivate(self, state):
        """Stop reading images; the model stays loaded."""
        return self.guarded_transition(self._deactivate, "deactivate")

    def _deactivate(self):
        self._phase = "inactive"
        self._bond.stop()
        self._unsubscribe()
        # Without a limit, because the model must not be freed or reused while a frame is in progress.
        self._worker.stop(timeout=None)
        self._requests.refuse_waiting()

    def on_cleanup(self, state):
        """Free the model and destroy its topics."""
        return self.guarded_transition(self._release, "cleanup")

    def on_shutdown(self, state):
        """Stop and free everything, from any state."""
        outcome = self.guarded_transition(self._free_all, "shutdown")
        self._phase = "finalized"
        return outcome

    def on_error(self, state):
        """A transition failed halfway: free everything, so that the node can be configured again."""
        self.guarded_transition(self._free_all, "error processing")
        return TransitionCallbackReturn.SUCCESS

    def _on_broken_bond(self, reason):
        self.get_logger().warning(f"{reason}: deactivating")
        self.trigger_deactivate()

    def _free_all(self):
        if self._phase == "active":
            self._deactivate()
        self._release()

    def _release(self):
        cameras, self._cameras = self._cameras, {}
        self._lost |= {name: camera.input.lost for name, camera in cameras.items()}
        for camera in cameras.values():
            self.caught.guard(camera.destroy, "end of a camera")()
        self._segmenter = self._stages.segmenter = None
        self._phase = "unconfigured"
        free_memory()

    def close(self):
        """Stop the work before the node is destroyed. Returns False if a frame is still in progress."""
        self._bond.stop()
        self._unsubscribe()
        ended = self._worker.stop(STOP_S)
        self._requests.refuse_waiting()
        return ended

    def _unsubscribe(self):
        for camera in self._cameras.values():
            camera.input.unsubscribe()

    # Parameters and services

    def _class_names(self):
        return None if self._segmenter is None else [label.name for label in self._segmenter.label_set.classes]

    def _on_parameters(self, changes):
        result = check_change(changes, read_settings(self), self._phase == "unconfigured", self._class_names())
        if result.successful:
            self._apply(read_settings(self, {change.name: change.value for change in changes}))
        return result

    def _apply(self, settings):
        self.settings = self._stages.settings = settings
        self._worker.limit_rate(settings.max_rate_hz)
        for name, own in self._model_thresholds.items() if self._segmenter is not None else ():
            value = getattr(settings, name)
            setattr(self._segmenter, name, own if value == MODEL_VALUE else value)
        for camera in self._cameras.values():
            camera.outputs.follow_threshold()
        self._follow_enable()

    def _follow_enable(self):
        if self._phase == "active" and self.settings.enable:
            for camera in self._cameras.values():
                camera.listen()
        else:
            self._unsubscribe()

    def _score_threshold(self):
        return self._segmenter.score_threshold

    def _follow_publishers(self):
        for camera in self._cameras.values():
            camera.input.follow()

    def _on_enable(self, request, response):
        (result,) = self.set_parameters([Parameter("enable", value=request.data)])
        response.success = result.successful
        response.message = result.reason or ("enabled" if request.data else "disabled")
        return response

    # Frames

    def _source(self, source):
        """The object that decodes and publishes the images of a source."""
        return self._requests if source == SegmentService.SOURCE else self._cameras[source]

    def _age_ms(self, stamp):
        if self.get_clock().ros_time_is_active:
            return np.nan
        age = self.get_clock().now().nanoseconds * 1e-9 - (stamp.sec + stamp.nanosec * 1e-9)
        return 1e3 * age if abs(age) <= CLOCK_LIMIT_S else np.nan

    def _finish(self, delivery, times, error):
        """Report the outcome of one image message, in the worker's last thread."""
        cause = None if error is None else cause_of(error)
        if delivery.source == SegmentService.SOURCE:
            return self._requests.finish(delivery.item, cause)
        camera = self._cameras[delivery.source]
        line = None if cause is None else camera.health.failure(cause)
        if line is not None:
            place = f"a frame of {camera.name}" if camera.name else "a frame"
            self.get_logger().warning(f"{place} failed (reported once): {line}")
        header, backend = delivery.item.header, self._segmenter.backend
        if self.get_logger().is_enabled_for(LoggingSeverity.DEBUG):
            outcome = f"failed: {cause}" if times is None else f"latency {times['latency_ms']:.1f} ms"
            stamp = f"{header.stamp.sec}.{header.stamp.nanosec:09d}"
            self.get_logger().debug(f"frame {stamp} of {camera.input.topic}: {outcome}")
        camera.report(header, times, self._worker.counts_of(delivery.source), backend)
        self._log.report(header, times, self._worker.counts_of(*self._cameras), backend)

    def _report_health(self):
        array = DiagnosticArray()
        array.header.stamp = self.get_clock().now().to_msg()
        if self._cameras:
            settings, backend = self.settings, self._segmenter.backend
            more = {**memory_values(backend, settings.device), **self.caught.values}
            new_errors, self._caught_before = self.caught.count - self._caught_before, self.caught.count
            for camera in self._cameras.values() if new_errors else ():
                camera.health.warning(f"{new_errors} errors caught, the last one: {self.caught.last}", "caught errors")
            array.status = [
                camera.status(self._phase, settings.enable, self._worker.counts_of(name), backend, settings.model, more)
                for name, camera in self._cameras.items()
            ]
        else:
            name = f"{self.get_name()}: segmentation"
            array.status = [idle_status(name, self._phase, self._failure, self.caught.values)]
        self._diagnostics.publish(array)


def _refused(changes):
    return SetParametersResult(successful=False, reason="the change could not be made; the cause is in the log")


def main(args=None, load_segmenter=yoso_ros.load_segmenter):
    """Run the node as a separate process (console script `panoptic_node`); see `run_process`."""
    return run_process("panoptic_node", usage, lambda: _run(load_segmenter), args)


def _run(load_segmenter):
    node = PanopticNode(load_segmenter)
    forward_log(node)
    try:
        if node.settings.build_only:
            return 0 if node.trigger_configure() == TransitionCallbackReturn.SUCCESS else 2
        if node.settings.autostart and not node.start():
            return 2
        spin_until_stopped(node)
        return 0
    finally:
        ignore_stop_signals()
        node.close()
        node.destroy_node()


if __name__ == "__main__":
    sys.exit(main())
