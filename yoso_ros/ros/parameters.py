# SPDX-License-Identifier: Apache-2.0
"""The parameters of the node: names, defaults, ranges and descriptions in one table, and the checks of values."""

import re
from dataclasses import dataclass, fields

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType, SetParametersResult

from yoso_ros.errors import InputError
from yoso_ros.images.encoded import MAX_IMAGE_PIXELS

MODEL_VALUE = -1.0  # threshold that selects the one in the model's configuration
TYPES = {
    bool: ParameterType.PARAMETER_BOOL,
    int: ParameterType.PARAMETER_INTEGER,
    float: ParameterType.PARAMETER_DOUBLE,
    str: ParameterType.PARAMETER_STRING,
    tuple: ParameterType.PARAMETER_STRING_ARRAY,
}
CAMERA_NAME = re.compile(r"[A-Za-z]\w*(/[A-Za-z]\w*)*", re.ASCII)  # how a topic name may begin
FRAME_SIZE = re.compile(r"([1-9]\d{0,3})x([1-9]\d{0,3})", re.ASCII)
NO_NAMES = ("",)  # ROS cannot determine the type of an empty list, so [''] represents it


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter. With `low` and `high` it is a number; `runtime` ones may change while the node runs."""

    name: str
    default: object
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    runtime: bool = False
    model_value: bool = False  # MODEL_VALUE is allowed outside the range

    @property
    def allowed(self):
        """The allowed values, in words."""
        if self.low is not None:
            return f"{self.low:g} to {self.high:g}" + (f", or {MODEL_VALUE:g} for the model's own" * self.model_value)
        return ", ".join(self.choices)

    def fault(self, value):
        """None if the value is allowed, else one line that says what is expected."""
        if isinstance(self.default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if isinstance(self.default, tuple) and value is None:  # rclpy's representation of an empty list
            return f"{self.name}: expected a list of strings, found an empty list, which has no type in ROS; write ['']"
        if not isinstance(value, list if isinstance(self.default, tuple) else type(self.default)):
            return f"{self.name}: expected a {_type_name(self.default)}, found {value!r}"
        if self.model_value and value == MODEL_VALUE:
            return None
        inside = self.low is None or self.low <= value <= self.high
        if not inside or (self.choices and value not in self.choices):
            return f"{self.name}: expected {self.allowed}; found {value!r}"
        return None

    @property
    def descriptor(self):
        """rcl_interfaces/ParameterDescriptor."""
        when = "at any time" if self.runtime else "while the node is unconfigured"
        descriptor = ParameterDescriptor(name=self.name, description=f"{self.text} Can be set {when}.")
        descriptor.type = TYPES[type(self.default)]
        descriptor.additional_constraints = self.allowed
        if isinstance(self.default, float):
            descriptor.dynamic_typing = True  # allows 10 for 10.0; `fault` checks the type
            low = MODEL_VALUE if self.model_value else self.low
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=self.high)]
        elif self.low is not None:
            descriptor.integer_range = [IntegerRange(from_value=self.low, to_value=self.high, step=1)]
        return descriptor


def _type_name(default):
    names = {bool: "truth value", int: "whole number", float: "number", str: "string", tuple: "list of strings"}
    return names[type(default)]


PARAMETERS = (
    Parameter(
        name="model",
        default="yoso_mobilenetv2_camvid",
        text="Model: a name, a YAML file, hf:ORG/NAME of the Hugging Face hub, or a folder of such a checkpoint.",
    ),
    Parameter(name="weights", default="", text="Weights file (safetensors); empty for the model's own."),
    Parameter(
        name="download",
        default=False,
        text="Download the model's weights if they are not on this machine; false: fail with instructions.",
    ),
    Parameter(name="device", default="auto", text="Where the network runs: auto, cpu, cuda, cuda:1, ..."),
    Parameter(
        name="engine",
        default="auto",
        choices=("auto", "torch", "openvino", "onnxruntime", "tensorrt"),
        text="Inference engine that runs the network.",
    ),
    Parameter(
        name="precision",
        default="auto",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
        text="Number format of the network.",
    ),
    Parameter(
        name="image_transport",
        default="raw",
        choices=("raw", "compressed"),
        text="Input topic: image_raw or image_raw/compressed.",
    ),
    Parameter(
        name="cameras",
        default=NO_NAMES,
        text="Names of cameras, processed together: front reads front/image_raw and publishes ~/front/...; [''] is one "
        "camera without a name, image_raw.",
    ),
    Parameter(
        name="input_reliability",
        default="auto",
        choices=("auto", "best_effort", "reliable"),
        text="Reliability of the image subscription; auto: reliable when all publishers of the images are.",
    ),
    Parameter(
        name="score_threshold",
        default=MODEL_VALUE,
        low=0.0,
        high=1.0,
        model_value=True,
        runtime=True,
        text="Minimum class probability of a segment.",
    ),
    Parameter(
        name="overlap_threshold",
        default=MODEL_VALUE,
        low=0.0,
        high=1.0,
        model_value=True,
        runtime=True,
        text="Minimum fraction of a mask that must remain visible.",
    ),
    Parameter(
        name="overlay_alpha", default=0.5, low=0.0, high=1.0, runtime=True, text="Weight of the colours in ~/overlay."
    ),
    Parameter(
        name="mask_classes",
        default=NO_NAMES,
        runtime=True,
        text="Names of the classes that are 255 in ~/mask/image_raw.",
    ),
    Parameter(
        name="tracking",
        default=True,
        runtime=True,
        text="Give segments a track_id that is stable over the frames of a camera; otherwise it is 0.",
    ),
    Parameter(
        name="enable", default=True, runtime=True, text="False stops reading images; also set by the service ~/enable."
    ),
    Parameter(
        name="max_rate_hz",
        default=0.0,
        low=0.0,
        high=1000.0,
        runtime=True,
        text="Maximum frames per second of each camera by the steady clock, 0 for no limit; others count as dropped.",
    ),
    Parameter(
        name="max_image_pixels",
        default=MAX_IMAGE_PIXELS,
        low=1,
        high=10**9,
        text="Maximum number of pixels of an image; larger ones are refused before decoding.",
    ),
    Parameter(name="engine_path", default="", text="Engine tensorrt: file of the built engine; empty for the cache."),
    Parameter(name="force_rebuild", default=False, text="Engine tensorrt: build it again."),
    Parameter(name="build_only", default=False, text="Engine tensorrt: build it and exit."),
    Parameter(
        name="warmup_iterations", default=2, low=0, high=100, text="Warm-up runs of the network before the first frame."
    ),
    Parameter(
        name="warmup_frame_size",
        default="480x640",
        text="HxW of the frames in the warm-up runs; use the camera's, because a device is prepared for this size.",
    ),
    Parameter(
        name="label_info_period_s",
        default=1.0,
        low=0.0,
        high=3600.0,
        text="Seconds between repetitions of ~/semantic/label_info, 0 for none.",
    ),
    Parameter(
        name="bond",
        default=False,
        text="While active, keep a bond with a lifecycle manager such as Nav2's; deactivate when it disappears.",
    ),
    Parameter(name="autostart", default=True, text="Configure and activate at startup, without a lifecycle manager."),
)
BY_NAME = {parameter.name: parameter for parameter in PARAMETERS}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Checked values of the parameters: one field per entry of `PARAMETERS`, lists of names without empty ones."""

    model: str
    weights: str
    download: bool
    device: str
    engine: str
    precision: str
    image_transport: str
    cameras: tuple[str, ...]
    input_reliability: str
    score_threshold: float
    overlap_threshold: float
    overlay_alpha: float
    mask_classes: tuple[str, ...]
    tracking: bool
    enable: bool
    max_rate_hz: float
    max_image_pixels: int
    engine_path: str
    force_rebuild: bool
    build_only: bool
    warmup_iterations: int
    warmup_frame_size: str
    label_info_period_s: float
    bond: bool
    autostart: bool

    def check(self):
        """Raise an InputError for invalid camera names and for settings that contradict each other."""
        bad = [name for name in self.cameras if not CAMERA_NAME.fullmatch(name)]
        if bad:
            raise InputError(f"cameras: expected names of letters, digits and _, such as front; found {', '.join(bad)}")
        if len(set(self.cameras)) < len(self.cameras):
            raise InputError(f"cameras: expected unique names, found {', '.join(self.cameras)}")
        if not FRAME_SIZE.fullmatch(self.warmup_frame_size):
            raise InputError(f"warmup_frame_size: expected HxW such as 480x640, found {self.warmup_frame_size!r}")
        idle = [name for name in ("engine_path", "force_rebuild", "build_only") if getattr(self, name)]
        if idle and self.engine != "tensorrt":
            raise InputError(f"{', '.join(idle)}: expected together with engine:=tensorrt, found engine:={self.engine}")

    @property
    def engine_options(self):
        """Keyword arguments of `load_segmenter` about the engine, apart from its name."""
        if self.engine != "tensorrt":
            return {}
        return {"engine_path": self.engine_path or None, "force_rebuild": self.force_rebuild}

    @property
    def warmup_shape(self):
        """Shape (H, W, 3) of the warm-up frames."""
        return (*map(int, FRAME_SIZE.fullmatch(self.warmup_frame_size).groups()), 3)

    @property
    def warmup_runs(self):
        """Runs of the network before the first frame; the first one builds a TensorRT engine."""
        return max(1, self.warmup_iterations) if self.build_only else self.warmup_iterations


def declare_parameters(node):
    """Declare all parameters on a node, with the overrides of the command line and of parameter files.

    Raises:
        InputError: an override is not allowed.
    """
    for parameter in PARAMETERS:
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        # The descriptor's range is added after the check, because its refusal would not name the whole range.
        value = node.declare_parameter(parameter.name, default, ParameterDescriptor(dynamic_typing=True)).value
        fault = parameter.fault(value)
        if fault:
            raise InputError(fault)
        node.set_descriptor(parameter.name, parameter.descriptor)


def read_settings(node, changes=()):
    """The values of the declared parameters as `Settings`, with pending `changes` (dict of name to value)."""
    values = {field.name: node.get_parameter(field.name).value for field in fields(Settings)}
    values |= {name: value for name, value in dict(changes).items() if name in values}
    return Settings(**{name: _plain(name, value) for name, value in values.items()})


def _plain(name, value):
    default = BY_NAME[name].default
    if isinstance(default, tuple):
        return tuple(item for item in value if item)
    return float(value) if isinstance(default, float) else value


def check_change(changes, settings, unconfigured, class_names=None):
    """Check a change of parameters before it is made.

    Args:
        changes: list of rclpy parameters (`name`, `value`); names that are not in the table are accepted.
        settings: the current `Settings`; setting a parameter to its current value is not a change.
        unconfigured: True while the node is unconfigured, when every parameter may change.
        class_names: names of the model's classes, None while no model is loaded.

    Returns:
        rcl_interfaces/SetParametersResult with the first fault as its reason.
    """
    for change in changes:
        parameter = BY_NAME.get(change.name)
        if parameter is None:
            continue
        fault = parameter.fault(change.value)
        fixed = not parameter.runtime and not unconfigured
        if not fault and fixed and _plain(change.name, change.value) != getattr(settings, change.name):
            fault = f"{change.name}: can only be set while the node is unconfigured; deactivate and clean up first"
        if not fault and change.name == "mask_classes" and class_names is not None:
            fault = unknown_classes(change.value, class_names)
        if fault:
            return SetParametersResult(successful=False, reason=fault)
    return SetParametersResult(successful=True)


def unknown_classes(names, class_names):
    """None if all names (apart from empty ones) are classes, else one line that lists the classes."""
    unknown = [name for name in names if name and name not in class_names]
    return f"mask_classes: expected {', '.join(class_names)}; found {', '.join(unknown)}" if unknown else None


def usage():
    """Help text of the node's command line: an example and all parameters with defaults and allowed values."""
    lines = [
        "Panoptic segmentation of a camera topic: image_raw in, ~/panoptic/image_raw and more out.",
        "example: panoptic_node --ros-args -r image_raw:=/camera/image_raw -p max_rate_hz:=10",
        "parameters (* can be changed at run time):",
    ]
    for parameter in PARAMETERS:
        default = list(parameter.default) if isinstance(parameter.default, tuple) else repr(parameter.default)
        allowed = f" Allowed: {parameter.allowed}." if parameter.allowed else ""
        mark = "*" if parameter.runtime else " "
        lines.append(f"  {mark} {parameter.name} [{default}]: {parameter.text}{allowed}")
    return "\n".join(lines)
