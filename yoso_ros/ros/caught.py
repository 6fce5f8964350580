# SPDX-License-Identifier: Apache-2.0
"""The one place where a node's own exceptions end: caught, counted, told once per cause, and the node goes on."""

import functools
import threading

from rclpy.lifecycle import TransitionCallbackReturn

from yoso_ros.ros.causes import Causes, cause_of


class CaughtErrors:
    """Exceptions that callbacks of a node have raised. Any thread may note one.

    Args:
        logger: of the node.
    """

    def __init__(self, logger):
        self._logger, self._causes, self._lock = logger, Causes(), threading.Lock()
        self.count, self.last = 0, ""  # how many since the node was made; the last one in a line

    def note(self, error, place):
        """Count an exception and log it if its cause is a new one; `place` says where it came up."""
        text = f"{place}: {cause_of(error)}"
        with self._lock:
            self.count, self.last = self.count + 1, text
            line = self._causes.line(text)
        if line is not None:
            self._logger.error(f"{line} (caught, told once; the node goes on)")

    def guard(self, function, place, otherwise=lambda *arguments: None):
        """The function, but an exception is noted, and what `otherwise` returns for the same arguments is returned."""

        @functools.wraps(function)  # rclpy looks at the number of arguments
        def guarded(*arguments):
            try:
                return function(*arguments)
            except Exception as error:
                self.note(error, place)
                return otherwise(*arguments)

        return guarded

    @property
    def values(self):
        """What diagnostics show: dict of str by name."""
        return {"caught errors": str(self.count), "last caught error": self.last or "none"}


def _empty_response(request, response):
    return response


class GuardedCallbacks:
    """Put before rclpy's Node among the bases of a class: no callback of that node can end its process."""

    @functools.cached_property
    def caught(self):
        """`CaughtErrors` of this node."""
        return CaughtErrors(self.get_logger())

    def create_subscription(self, msg_type, topic, callback, qos_profile, **options):
        """As rclpy's."""
        callback = self.caught.guard(callback, f"message of {topic}")
        return super().create_subscription(msg_type, topic, callback, qos_profile, **options)

    def create_service(self, srv_type, srv_name, callback, **options):
        """As rclpy's; a request whose callback raises is answered with the empty response, a refusal."""
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
            # rclpy raises for an id that is no transition of the present state, and for a label it refuses.
            by_id = {transition[0] for transition in self._state_machine.available_transitions}
            if not request.transition.label and request.transition.id not in by_id:
                response.success = False
                return response
            return answer(request, response)

        self._service_change_state.callback = change_state

    def _guard_service(self, service):
        service.callback = self.caught.guard(service.callback, f"service {service.srv_name}", _empty_response)

    def guarded_transition(self, change, name):
        """Make a change of a transition. Returns SUCCESS, or ERROR, after which rclpy calls `on_error`."""
        failed = object()
        outcome = self.caught.guard(change, f"transition {name}", lambda: failed)()
        return TransitionCallbackReturn.ERROR if outcome is failed else TransitionCallbackReturn.SUCCESS
