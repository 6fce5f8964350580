# SPDX-License-Identifier: Apache-2.0
"""From frame to result as the papers' authors do it, literally and in plain torch: the baseline of `throughput`.

Legend: `H W` frame in pixels.
"""

import contextlib
import dataclasses
import time
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from yoso_ros.benchmark.literal_detections import literal_dense_box_merge
from yoso_ros.benchmark.literal_merge import literal_merge
from yoso_ros.errors import InputError
from yoso_ros.inference.preprocess import batch_frames
from yoso_ros.models import deformable_conv
from yoso_ros.results import panoptic_result


class LiteralSegmenter:
    """Eager float32 in NCHW memory, batch norms as layers, all maps at full size, a loop over the segments.

    YOSO's aggregator is the convolution-first one, which its authors deploy. Torch itself has no CPU kernel for their
    deformable convolution, so `grid_sample` computes it; `form` "embedding_bag" selects this package's faster form.

    Args:
        model: a `PanopticNetwork` in evaluation mode; it is not changed.
        config: its configuration, with the wanted input size.
        device: torch device.
        form: of the deformable convolution, for networks that use it.
        replace: function from the `Outputs` of one frame to those to merge.

    Raises:
        InputError: there is no literal form of this network.
    """

    def __init__(self, model, config, device="cpu", form="grid_sample", replace=None):
        if config.architecture not in MERGES:
            raise InputError(f"the baseline is for {', '.join(MERGES)}, found {config.architecture}")
        self.config, self.device = config, torch.device(device)
        self._model = model.to(self.device)
        self._form, self._replace = form, replace or (lambda outputs: outputs)
        self.backend = f"authors' form, {form}" if config.architecture == "yoso" else "authors' form"

    def __call__(self, frame):
        """uint8 (H, W, 3) RGB -> `PanopticResult` with `timings_ms`."""
        config, clock = self.config, [time.perf_counter()]
        size = config.network_size(*frame.shape[:2])
        resized = np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BILINEAR))
        images = batch_frames([resized], config.pixel_mean, self._model.size_divisor).contiguous().to(self.device)
        clock.append(time.perf_counter())
        with torch.no_grad(), _deformable_form(self._form):
            outputs = self._model(images)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        clock.append(time.perf_counter())
        outputs = self._replace(type(outputs)(*(tensor[0] for tensor in outputs)))
        segment_map, found = MERGES[config.architecture](outputs, size, frame.shape[:2], config)
        segments = [SimpleNamespace(id=i, class_id=c, is_thing=thing, score=1.0) for i, c, thing in found]
        merged = SimpleNamespace(
            segment_map=segment_map, segments=segments, confidence=np.zeros(frame.shape[:2], np.uint8)
        )
        result = panoptic_result(merged, config.label_set, {})
        clock.append(time.perf_counter())
        spent = [1e3 * (end - start) for start, end in zip(clock, clock[1:], strict=False)]
        timings = dict(zip(("preprocess", "inference", "postprocess"), spent, strict=True))
        return dataclasses.replace(result, timings_ms=timings)


def _merge_mask_classification(outputs, input_size, output_size, config):
    return literal_merge(*outputs, input_size, output_size, config)


def _merge_dense_boxes(outputs, input_size, output_size, config):
    segment_map, found, _ = literal_dense_box_merge(outputs, input_size, output_size, config)
    things = config.label_set.thing_ids
    return segment_map, [(index, class_id, class_id in things) for index, (class_id, _, _) in enumerate(found, 1)]


# architecture -> function of (outputs of one frame, input_size, output_size, config) to the segment map and a list of
# (id, class_id, is_thing)
MERGES = {"yoso": _merge_mask_classification, "realtimepan": _merge_dense_boxes}


@contextlib.contextmanager
def _deformable_form(form):
    """Within the context, "auto" means the given form."""
    usual = deformable_conv.FORMS
    deformable_conv.FORMS = dict.fromkeys(usual, usual[form])
    try:
        yield
    finally:
        deformable_conv.FORMS = usual
