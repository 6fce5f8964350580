# SPDX-License-Identifier: Apache-2.0
"""The one place where a node's exceptions are caught, counted and logged once per cause; the node continues."""

import functools
import threading

from rclpy.lifecycle import TransitionCallbackReturn

from yoso_ros.ros.causes import Causes, cause_of


class CaughtErrors:
    """Exceptions raised by callbacks of a node. Any thread may add one.

    Args:
        logger: of the node.
    """

    def __init__(self, logger):
        self._logger, self._causes, self._lock = logger, Causes(), threading.Lock()
        self.count, self.last = 0, ""  # number since the node was created; the last one as a line

    def note(self, error, place):
        """Count an exception and log it if its cause is new; `place` says where it occurred."""
        text = f"{place}: {cause_of(error)}"
        with self._lock:
            self.count, self.last = self.count + 1, text
            line = self._causes.line(text)
        if line is not None:
            self._logger.error(f"{line} (caught, reported once; the node continues)")

    def guard(self, function, place, otherwise=lambda *arguments: None):
        """Wrap a function: an exception is recorded, and the result of `otherwise` (same arguments) is returned."""

        @functools.wraps(function)  # rclpy inspects the number of arguments
        def guarded(*arguments):
            try:
                return function(*arguments)
            except Exception as error:
                self.note(error, place)
                return otherwise(*arguments)

        return guarded

    @property
    def values(self):
        """Values for diagnostics: dict of str by name."""
        return {"caught errors": str(self.count), "last caught error": self.last or "none"}


def _empty_response(request, response):
    return response


class GuardedCallbacks:
    """Mix-in, to be listed before rclpy's Node: no callback of the node can end its process."""

    @functools.cached_property
    def caught(self):
        """`CaughtErrors` of this node."""
        return CaughtErrors(self.get_logger())

    def create_subscription(self, msg_type, topic, callback, qos_profile, **options):
        """As rclpy's."""
        callback = self.caught.guard(callback, f"message of {topic}")
        return super().create_subscription(msg_type, topic, callback, qos_profile, **options)

    def create_service(self, srv_type, srv_name, callback, **options):
        """As rclpy's; if the callback raises, the request is answered with the empty response, a refusal."""
        callback = self.caught.guard(callback, f"service {srv_name}", _empty_response)
        return super().create_service(srv_type, srv_name, callback, **options)

    def create_timer(self, timer_period_sec, callback, *arguments, **options):
        """As rclpy's."""
        return super().create_timer(timer_period_sec, self.caught.guard(callback, "timer"), *arguments, **options)


class GuardedLifecycle(GuardedCallbacks):
    """The same for a LifecycleNode, whose own services and transitions are guarded too."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        # They are not made by `create_service`.
        for name in ("change_state", "get_state", "get_available_states", "get_available_transitions"):
            self._guard_service(getattr(self, f"_service_{name}"))
        self._guard_service(self._service_get_transition_graph)
        answer = self._service_change_state.callback

        def change_state(request, response):
            # rclpy raises for an id that is not a transition of the current state, and for a label it refuses.
            by_id = {transition[0] for transition in self._state_machine.available_transitions}
            if not request.transition.label and request.transition.id not in by_id:
                response.success = False
                return response
            return answer(request, response)

        self._service_change_state.callback = change_state

    def _guard_service(self, service):
        service.callback = self.caught.guard(service.callback, f"service {service.srv_name}", _empty_response)

    def guarded_transition(self, change, name):
        """Carry out a transition. Returns SUCCESS, or ERROR, after which rclpy calls `on_error`."""
        failed = object()
        outcome = self.caught.guard(change, f"transition {name}", lambda: failed)()
        return TransitionCallbackReturn.ERROR if outcome is failed else TransitionCallbackReturn.SUCCESS
