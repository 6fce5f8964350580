# SPDX-License-Identifier: Apache-2.0
"""Where weights come from, from config/weights.yaml: address, data, licence, quality, use and limits."""

import functools
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from yoso_ros.configuration import dataclass_from_mapping, read_yaml
from yoso_ros.resources import share_path

FILE = "config/weights.yaml"


@dataclass(frozen=True, kw_only=True)
class Source:
    """One checkpoint and what a user should know about it.

    `url` is None if the checkpoint comes with the package or from the hub. `sha256` is the digest of the file or its
    first digits, None if none has been published; `megabytes` (10^6 bytes) is None if unknown. Hub models are named by
    their repository and have `classes`, because their configurations are not in the package.
    """

    name: str
    url: str | None = None
    classes: int | None = None
    sha256: str | None = None
    megabytes: float | None = None
    data: str = ""
    licence: str = ""
    quality: str = ""
    use: str = ""
    limits: str = ""

    @property
    def file_name(self):
        """Name of the file in the cache and on a mirror."""
        return urlsplit(self.url).path.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All of config/weights.yaml; each part is a dict of name to `Source`."""

    models: dict = field(default_factory=dict)
    backbones: dict = field(default_factory=dict)
    hub: dict = field(default_factory=dict)


@functools.lru_cache
def load_sources():
    """Read config/weights.yaml.

    Raises:
        InputError: unknown key, or a value of the wrong type.
    """
    path = share_path(FILE)
    parts = {
        part: {
            name: dataclass_from_mapping(Source, {"name": name, **entry}, f"{path}: {part}: {name}")
            for name, entry in entries.items()
        }
        for part, entries in read_yaml(path).items()
    }
    return dataclass_from_mapping(Sources, parts, str(path))
