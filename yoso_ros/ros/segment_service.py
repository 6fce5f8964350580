# SPDX-License-Identifier: Apache-2.0
"""`~/segment_image`: segments one image as the node does with a camera's, with or without a camera."""

import threading
import time
from collections import deque

from rclpy.clock import Clock, ClockType

from yoso_ros.images.decoding import decode_image
from yoso_ros.ros.messages import image_message, segments_message
from yoso_ros.srv import SegmentImage

LONGEST_ANSWER_S = 30.0
CHECK_S = 1.0  # how often that is checked
NOT_ACTIVE = "the node is not active; activate it first"


class _Request:
    """A request, with the attribute `header` that the worker's items need."""

    def __init__(self, image, response):
        self.image, self.response = image, response
        self.header = image.header
        self.reply_to = None  # rclpy's identifier of the client
        self.deadline = time.monotonic() + LONGEST_ANSWER_S


def _refusal(request, response):
    return SegmentImage.Response(message="the request could not be served; the cause is in the node's log")


class SegmentService:
    """Passes the images of requests to the node's worker, like a camera; the response is sent when the result is ready.

    Neither callbacks nor cameras have to wait, because the worker takes one image of each source in a pass.

    Args:
        node: rclpy node with `GuardedCallbacks` whose service it is.
        deliver: called with (request, `SOURCE`); the worker then calls `decode`, `publish` and finally `finish`.
        active: function without arguments, whether the worker is running.
        max_pixels: function without arguments, the maximum number of pixels of an image; larger ones are refused.
    """

    SOURCE = "~/segment_image"  # not a valid camera name

    def __init__(self, node, deliver, active, max_pixels=lambda: None):
        self._deliver, self._active, self._max_pixels = deliver, active, max_pixels
        self._lock = threading.Lock()
        self._waiting = deque()  # requests without a response, the first one in progress
        self._in_work = None
        answer = node.caught.guard(self._answer, f"service {self.SOURCE}", _refusal)
        service = node.create_service(SegmentImage, self.SOURCE, answer)
        # An executor sends the callback's result at once, and the events executor does not support coroutines. So the
        # callback returns its request, and instead of sending it, the request is kept until there is a response.
        self._send = service.send_response
        service.send_response = self._keep
        self._send_guarded = node.caught.guard(self._send, f"response of {self.SOURCE}")
        node.create_timer(CHECK_S, self._end_overdue, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _answer(self, request, response):
        return _Request(request.image, response) if self._active() else SegmentImage.Response(message=NOT_ACTIVE)

    def _keep(self, request, reply_to):
        if not isinstance(request, _Request):  # a refusal
            return self._send(request, reply_to)
        request.reply_to = reply_to
        with self._lock:
            self._waiting.append(request)
        self._begin_next()

    def _begin_next(self):
        """Deliver the first waiting request; one at a time, because the worker would drop the older of two."""
        with self._lock:
            first = self._waiting[0] if self._waiting else None
            if first is self._in_work:
                return
            self._in_work = first
        if first is not None:
            self._deliver(first, self.SOURCE)

    def _respond(self, request, response):
        with self._lock:
            if request not in self._waiting:  # its time had expired
                return
            self._waiting.remove(request)
        self._send_guarded(response, request.reply_to)

    def _end_overdue(self):
        now = time.monotonic()
        with self._lock:
            overdue = [request for request in self._waiting if request.deadline < now]
        for request in overdue:
            self._respond(request, SegmentImage.Response(message=f"no result within {LONGEST_ANSWER_S:g} s"))
        if self._active():
            self._begin_next()

    def decode(self, request):
        """uint8 (H, W, 3) RGB of a request's image. Raises InputError if the image cannot be used."""
        return decode_image(request.image, self._max_pixels())

    def publish(self, frame, result, header, settings):
        """Write a result into the response of the request with this header object; arguments as for a camera's."""
        request = self._in_work
        if request is not None and request.header is header:  # otherwise nobody is waiting for it any longer
            # A copy, because the next result may reuse the memory before this one is sent.
            request.response.panoptic = image_message(result.panoptic.copy(), header)
            request.response.segments = segments_message(result, header)

    def finish(self, request, fault):
        """Send the response; `fault` is the reason why there is no result, or None."""
        request.response.success, request.response.message = fault is None, fault or ""
        self._respond(request, request.response)
        if self._active():
            self._begin_next()

    def refuse_waiting(self):
        """Answer all waiting requests: the node is not active and will not process them."""
        with self._lock:
            waiting = list(self._waiting)
        for request in waiting:
            self._respond(request, SegmentImage.Response(message=NOT_ACTIVE))
        self._begin_next()
