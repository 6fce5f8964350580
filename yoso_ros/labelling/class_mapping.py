# SPDX-License-Identifier: Apache-2.0
"""Map a teacher's classes to your own, with a small YAML file."""

from dataclasses import dataclass, field

import numpy as np

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.errors import InputError
from yoso_ros.label_sets import LabelSet, load_label_set
from yoso_ros.results import UNLABELLED_CLASS


@dataclass(frozen=True, kw_only=True)
class ClassMapping:
    """How the classes of a model are mapped.

    Attributes:
        label_set: `LabelSet` of the labels to write.
        table: uint8 (256,), from class id of the model to class id of `label_set`, 255 for void.
        dropped: names of the model's classes that become void.
    """

    label_set: LabelSet
    table: np.ndarray
    dropped: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _MappingFile:
    label_set: str
    classes: dict = field(default_factory=dict)


def keep_classes(model_labels):
    """The identity mapping."""
    table = np.full(256, UNLABELLED_CLASS, np.uint8)
    table[: len(model_labels)] = np.arange(len(model_labels))
    return ClassMapping(label_set=model_labels, table=table, dropped=())


def load_class_mapping(path, model_labels):
    """Read a mapping.

    The file has `label_set`, the name or path of your own label set, and `classes`, a mapping from the model's class
    names to yours (null: void). A class that is not listed is mapped to the class of the same name, or else to void.

    Args:
        path: YAML file. model_labels: `LabelSet` of the model.

    Raises:
        InputError: the file has a fault, or names a class that the model or the label set lacks.
    """
    content = dataclass_from_mapping(_MappingFile, read_yaml(path), str(path))
    label_set = load_label_set(content.label_set)
    ids = {c.name: i for i, c in enumerate(label_set.classes)}
    known = [c.name for c in model_labels.classes]
    if strangers := [str(name) for name in content.classes if name not in known]:
        raise InputError(
            f"{path}: classes: {', '.join(strangers)} not among those of the model {model_labels.name}: "
            f"{', '.join(known)}"
        )
    if strangers := sorted({str(v) for v in content.classes.values() if v is not None and v not in ids}):
        raise InputError(
            f"{path}: classes: {', '.join(strangers)} not among those of label set {label_set.name}: {', '.join(ids)}"
        )
    table, dropped = np.full(256, UNLABELLED_CLASS, np.uint8), []
    for class_id, name in enumerate(known):
        wanted = content.classes.get(name, name)
        table[class_id] = ids.get(wanted, UNLABELLED_CLASS)
        if table[class_id] == UNLABELLED_CLASS:
            dropped.append(name)
    return ClassMapping(label_set=label_set, table=table, dropped=tuple(dropped))
