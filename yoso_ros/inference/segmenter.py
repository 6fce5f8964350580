# SPDX-License-Identifier: Apache-2.0
"""Segmenter: frames in, one `PanopticResult` for each out. Node, evaluation, CLI and benchmarks use nothing else."""

import dataclasses
import time

from yoso_ros.checkpoint import load_weights
from yoso_ros.fusion import find_fusion
from yoso_ros.inference.device_path import create_device_path
from yoso_ros.inference.engines import create_engine
from yoso_ros.inference.frame_outputs import FrameOutputs
from yoso_ros.inference.host_path import HostPath
from yoso_ros.inference.preprocess import check_frame
from yoso_ros.models import create_model, load_config
from yoso_ros.weights.find import find_weights


class Segmenter:
    """Panoptic segmentation of frames with one network.

    Args:
        config: model configuration.
        engine: see `yoso_ros.inference.engines`.

    Attributes:
        config: model configuration with the current thresholds; read-only, its sizes do not change.
        label_set: its `LabelSet`.
        backend: short name of engine, device and precision.
        score_threshold, overlap_threshold: 0..1, may be set at any time and take effect on the next frame.
    """

    def __init__(self, config, engine):
        self._config, self.engine = config, engine
        self.label_set, self.backend = config.label_set, engine.backend
        self._fusion = find_fusion(config.architecture)
        self._path = create_device_path(config, engine) or HostPath(config, engine)

    @property
    def config(self):
        """Model configuration with the current thresholds."""
        return self._config

    def at_size(self, shortest_edge, longest_edge):
        """A Segmenter with the same engine and thresholds for another input size, in pixels."""
        return Segmenter(
            dataclasses.replace(self.config, shortest_edge=shortest_edge, longest_edge=longest_edge), self.engine
        )

    @property
    def score_threshold(self):
        """Smallest class probability of a segment, 0..1."""
        return self.config.score_threshold

    @score_threshold.setter
    def score_threshold(self, value):
        self._set_threshold("score_threshold", value)

    @property
    def overlap_threshold(self):
        """Smallest share of a mask that must be visible, 0..1."""
        return self.config.overlap_threshold

    @overlap_threshold.setter
    def overlap_threshold(self, value):
        self._set_threshold("overlap_threshold", value)

    def _set_threshold(self, name, value):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}: expected 0 to 1, found {value}")
        # Assigning a new object is atomic; a frame being processed in another thread keeps the old one.
        self._config = dataclasses.replace(self._config, **{name: float(value)})

    def __call__(self, frame):
        """Segment one frame: uint8 (H, W, 3) RGB, any H, W >= 1 -> `PanopticResult` at that size.

        Raises:
            TypeError, ValueError: the frame has the wrong type or shape; the message says which it has.
        """
        return self.batch([frame])[0]

    def batch(self, frames):
        """Segment frames of any sizes in one forward pass.

        They are padded to a common size, and as in the authors' network the padding is part of the context: a frame's
        result may differ slightly from its result alone.

        Args:
            frames: list of uint8 (H, W, 3) RGB.

        Returns:
            list of `PanopticResult`; the `timings_ms` of each are its share (one n-th) of the common work plus its own
            merge, so that together they add up to the duration of the call.
        """
        return [self.merge(inferred) for inferred in self.infer(self.prepare(frames))] if frames else []

    # The stages of a batch. Each may run in its own thread, so that one frame is prepared and another merged while the
    # network processes a third; two threads must not be in the same stage.

    def prepare(self, frames):
        """First stage: frames, as in `batch` but at least one, to `Prepared` for one pass of the network."""
        for frame in frames:
            check_frame(frame)
        return self._path.prepare(frames, self.config)

    def infer(self, prepared):
        """Second stage: a pass of the network; returns a list of `Inferred`, one per frame."""
        return self._path.infer(prepared)

    def merge(self, inferred):
        """Third stage: `Inferred` to `PanopticResult`, whose `timings_ms` exclude the waits between stages.

        Raises:
            InputError: outputs of the network are not finite.
        """
        started = time.perf_counter()
        self._path.check(inferred)
        result = self._path.merge(inferred)
        return dataclasses.replace(result, timings_ms=_with_postprocess(inferred, started))

    def outputs(self, frame, tasks):
        """Derive the outputs of several tasks from one forward pass, for their evaluation.

        Args:
            frame: uint8 (H, W, 3) RGB.
            tasks: of `yoso_ros.inference.frame_outputs.TASKS`.

        Returns:
            `FrameOutputs`.
        """
        (inferred,) = self.infer(self.prepare([frame]))
        started = time.perf_counter()
        raw, *frame_context = inferred[:4]
        self._path.check(inferred)
        panoptic = instances = semantic = None
        if "panoptic" in tasks:
            panoptic = self._path.merge(inferred)
        if "instance" in tasks:
            instances = self._fusion.instances(raw, *frame_context)
        if "semantic" in tasks:
            semantic = self._fusion.semantic(raw, *frame_context).cpu().numpy()
        self.engine.synchronize()
        timings = _with_postprocess(inferred, started)
        panoptic = panoptic and dataclasses.replace(panoptic, timings_ms=timings)
        return FrameOutputs(panoptic, instances, semantic, timings)


def _with_postprocess(inferred, started):
    """Times of a frame in milliseconds at the end of its last stage, which began at `started` seconds."""
    spent = dict(inferred.spent_ms)
    spent["postprocess"] += 1e3 * (time.perf_counter() - started)
    return spent


def load_network(model, weights=None, download=True):
    """Build the network of a model configuration with its weights.

    Args:
        model: name in config/models, path of a YAML file, `hf:ORG/NAME[@REVISION]`, or folder of such a checkpoint.
        weights: `.safetensors` of this package, or an authors' `.pth`; None: those that come with the model.
        download: fetch the model's weights where they are not on this machine; False: an error says how to.

    Returns:
        module in evaluation mode; its attribute `config` is the configuration.

    Raises:
        InputError: an argument or a file does not fit.
    """
    config = load_config(model, download=download)
    network = create_model(config, weights_follow=True)
    load_weights(network, weights or find_weights(config, download))
    return network.eval()


def load_segmenter(
    model,
    weights=None,
    device="auto",
    engine="auto",
    precision="auto",
    score_threshold=None,
    overlap_threshold=None,
    engine_path=None,
    force_rebuild=False,
    download=True,
):
    """Build a `Segmenter` from a model configuration and weights.

    Args:
        model: name in config/models, path of a YAML file, `hf:ORG/NAME[@REVISION]`, or folder of such a checkpoint.
        weights: `.safetensors` of this package, or an authors' `.pth`; None: those that come with the model.
        device: "auto", "cpu", "cuda", "cuda:N".
        engine: "auto" (the fastest that is present) or a name in `yoso_ros.inference.engines.ENGINES`.
        precision: "auto", "fp32", "bf16", "fp16", "int8"; which engine runs which: docs/engines.md.
        score_threshold: 0..1, None for the configuration's.
        overlap_threshold: 0..1, None for the configuration's.
        engine_path: of engine "tensorrt": file of the built engine for the first size of frames, None for one in the
            cache folder.
        force_rebuild: of engine "tensorrt": build engines anew.
        download: fetch the model's weights where they are not on this machine; False: an error says how to.

    Raises:
        InputError: an argument or a file does not fit; the message says what was expected and what was found.
    """
    network = load_network(model, weights, download)
    config = network.config
    segmenter = Segmenter(config, create_engine(engine, network, device, precision, engine_path, force_rebuild))
    if score_threshold is not None:
        segmenter.score_threshold = score_threshold
    if overlap_threshold is not None:
        segmenter.overlap_threshold = overlap_threshold
    return segmenter
