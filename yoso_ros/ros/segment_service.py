# SPDX-License-Identifier: Apache-2.0
"""`~/segment_image`: one image as the node would segment it, whether or not it reads a camera."""

import threading

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from yoso_ros.images.decoding import decode_image
from yoso_ros.ros.messages import image_message, segments_message
from yoso_ros.srv import SegmentImage

CHECK_S = 0.1  # how soon a request notices that the node was deactivated
LONGEST_ANSWER_S = 30.0
NOT_ACTIVE = "the node is not active; activate it first"


class _Request:
    """An image to answer, with the attribute `header` that the worker's items have."""

    def __init__(self, image, response):
        self.image, self.response = image, response
        self.header = image.header
        self.finished = threading.Event()


def _refusal(request, response):
    return SegmentImage.Response(message="the request could not be served; the cause is in the node's log")


class SegmentService:
    """Hands the images of requests to the node's worker, as a camera does, and waits for them in a thread of its own.

    So neither the callbacks of the node wait nor its cameras: the worker takes one image of each source in a pass.

    Args:
        node: rclpy node whose service it is.
        deliver: called with (request, `SOURCE`); what works on it calls `decode`, `publish` and, last, `finish`.
        active: function without arguments, whether anything works on what is delivered.
        max_pixels: function without arguments, the most pixels of an image; larger ones are refused.
    """

    SOURCE = "~/segment_image"  # no camera can have this name

    def __init__(self, node, deliver, active, max_pixels=lambda: None):
        self._deliver, self._active, self._max_pixels = deliver, active, max_pixels
        self._caught = node.caught
        self._request = None  # the one in work
        # A node of its own, which its underscore hides from lists: an executor serves whole nodes, and that of the
        # other is for callbacks that never wait.
        self._node = rclpy.create_node(
            f"_{node.get_name()}_segment_image",
            namespace=node.get_namespace(),
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        answer = self._caught.guard(self._answer, f"service {self.SOURCE}", _refusal)
        self._node.create_service(SegmentImage, node.resolve_service_name(self.SOURCE), answer)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name="segment_image", daemon=True)
        self._thread.start()

    def _spin(self):
        ended = False
        while not ended:
            try:
                self._executor.spin()
                ended = True
            except ExternalShutdownException:
                ended = True
            except Exception as error:  # of rclpy itself
                self._caught.note(error, f"executor of {self.SOURCE}")

    def _answer(self, request, response):
        if not self._active():
            response.message = NOT_ACTIVE
            return response
        self._request = _Request(request.image, response)
        self._deliver(self._request, self.SOURCE)
        for _ in range(round(LONGEST_ANSWER_S / CHECK_S)):
            if self._request.finished.wait(CHECK_S):
                return response
            if not self._active():
                return SegmentImage.Response(message=NOT_ACTIVE)
        return SegmentImage.Response(message=f"no result within {LONGEST_ANSWER_S:g} s")

    def decode(self, request):
        """uint8 (H, W, 3) RGB of a request's image. Raises InputError when the image cannot be used."""
        return decode_image(request.image, self._max_pixels())

    def publish(self, frame, result, header, settings):
        """Write a result into the response of the request with this very header; arguments as for a camera's."""
        request = self._request
        if request.header is header:  # else nobody waits for it any longer
            # A copy, for it is sent by another thread later, when the next result may be in the same place.
            request.response.panoptic = image_message(result.panoptic.copy(), header)
            request.response.segments = segments_message(result, header)

    def finish(self, request, fault):
        """Send the response; `fault` is why there is no result, or None."""
        request.response.success, request.response.message = fault is None, fault or ""
        request.finished.set()

    def close(self):
        """Take the service away; a request that waits is answered that the node is not active."""
        self._active = lambda: False
        self._executor.shutdown(timeout_sec=0)
        self._thread.join()
        self._node.destroy_node()
