# SPDX-License-Identifier: Apache-2.0
"""YAML files to frozen dataclasses: the fields of the class are the keys of the file, and unknown keys are errors."""

import dataclasses
import math
import typing

import yaml

from yoso_ros.errors import InputError, brief
from yoso_ros.reading import read_bytes

LARGEST_YAML = 4 << 20  # bytes


def read_yaml(path, largest=LARGEST_YAML):
    """Read a YAML mapping with text keys from a file of at most `largest` bytes.

    Raises:
        InputError: the file is missing, too large, not YAML in UTF-8, nested too deeply, or not such a mapping.
    """
    content = read_bytes(path, "a YAML file", largest)
    try:
        # In Python and not by libyaml, which is faster but ends the process where the nesting is deep.
        content = yaml.load(content.decode(), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, found byte {error.object[error.start]:#04x}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date that does not exist is a ValueError
        raise InputError(f"{path} is not valid YAML: {' '.join(str(error).split())[:300]}") from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deeply") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    strangers = [key for key in content if not isinstance(key, str)]
    if strangers:
        raise InputError(f"{path}: expected keys that are text, found {brief(strangers[0])}")
    return content


def dataclass_from_mapping(cls, mapping, source):
    """Build the frozen dataclass `cls` from a mapping, strictly, including nested dataclasses and tuples.

    Args:
        cls: a dataclass whose fields are int, float, str, bool, tuple, another dataclass, or `X | None` of these.
        mapping: dict of field name to plain value.
        source: file name for the messages.

    Raises:
        InputError: unknown or missing key, or a value of the wrong type; the message has key, file and what is allowed.
    """
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    unknown = sorted(map(str, set(mapping) - set(fields)))
    if unknown:
        raise InputError(f"{source}: unknown key {', '.join(unknown)}; allowed: {', '.join(fields)}")
    required = [
        n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = sorted(set(required) - set(mapping))
    if missing:
        raise InputError(f"{source}: missing key {', '.join(missing)}")
    types = typing.get_type_hints(cls)
    values = {name: _value(types[name], value, f"{source}: {name}") for name, value in mapping.items()}
    try:
        return cls(**values)
    except InputError as error:  # from the class's own checks, which do not know the file
        raise error if str(error).startswith(str(source)) else InputError(f"{source}: {error}") from error


def check_ranges(config, ranges):
    """Raise `InputError` unless the named numbers of a configuration are within their ranges; NaN never is.

    Args:
        config: a dataclass instance; tuples of numbers are checked one by one.
        ranges: dict of field name to (minimum, maximum), both inclusive; None for no limit.
    """
    for name, (least, greatest) in ranges.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else () if value is None else (value,):
            low, high = least is None or number >= least, greatest is None or number <= greatest
            if math.isnan(number) or not (low and high):
                text = f"{least} to {greatest}" if None not in (least, greatest) else f"at least {least}"
                raise InputError(f"{name}: expected {text}, found {number}")


def _value(kind, value, where):
    options = [o for o in typing.get_args(kind) if o is not type(None)] if _is_union(kind) else [kind]
    if value is None and len(options) < len(typing.get_args(kind) or (kind,)):
        return None
    kind = options[0]
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else dataclass_from_mapping(kind, _expect(dict, value, where), where)
    origin = typing.get_origin(kind) or kind
    if origin is typing.Literal:
        allowed = typing.get_args(kind)
        if value not in allowed:
            raise InputError(f"{where}: expected one of {', '.join(map(str, allowed))}, found {brief(value)}")
        return value
    if origin is tuple:
        inner = (typing.get_args(kind) or (object,))[0]
        return tuple(_value(inner, v, where) for v in _expect((list, tuple), value, where))
    if origin is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if origin in (object, typing.Any):
        return value
    return _expect(origin, value, where)


def _is_union(kind):
    return type(None) in typing.get_args(kind)


def _expect(kinds, value, where):
    names = "/".join(k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,)))
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
        raise InputError(f"{where}: expected {names}, found {brief(value)}")
    return value
