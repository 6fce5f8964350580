# SPDX-License-Identifier: Apache-2.0
"""A model with the classes of one's own data set: its configuration, and the YAML file that names it."""

import dataclasses
import json

import yaml

from yoso_ros.files import write_file
from yoso_ros.models.factory import config_from_mapping

SUFFIX = "_own"  # in the name of a model with the classes of a data set


def with_classes(config, label_set, changes):
    """The configuration of a model for other classes, under a new name.

    Args:
        config: model configuration.
        label_set: `LabelSet` of the data set.
        changes: dict of other fields, checked like those of a file.
    """
    name = config.name if config.name.endswith(SUFFIX) else f"{config.name}{SUFFIX}"
    plain = {**dataclasses.asdict(config), "name": name, "label_set": label_set, **changes}
    return config_from_mapping(plain, config.name)


def write_model_file(config, path):
    """Write a model configuration, including its classes, as a YAML file that `load_config` reads."""
    plain = json.loads(json.dumps(dataclasses.asdict(config)))  # YAML has no tuples
    write_file(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
