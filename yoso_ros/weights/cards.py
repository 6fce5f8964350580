# SPDX-License-Identifier: Apache-2.0
"""What a user should know about a model before using it: the table of all models and the card of one, as text."""

import textwrap

from yoso_ros.checkpoint import read_metadata
from yoso_ros.errors import InputError
from yoso_ros.models import load_config, model_names
from yoso_ros.resources import checkpoint_path
from yoso_ros.weights.hub import PREFIX, is_present, source_folder, source_name
from yoso_ros.weights.sources import Source, load_sources
from yoso_ros.weights.store import file_digest, place_of, read_record

LABEL_WIDTH = 12
TEXT_WIDTH = 100
COLUMNS = ("model", "classes", "data", "quality", "MB", "weights", "licence")


def models_table():
    """All model configurations and the hub models known to run, one line each: str."""
    hub = [_hub_row(source) for source in load_sources().hub.values()]
    rows = [COLUMNS, *(_row(name) for name in model_names()), *hub]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def model_card(name):
    """The card of a model, or of a checkpoint file of this package: str.

    Args:
        name: name in config/models, path of a `.safetensors` file, or hf:ORG/NAME (its configuration is fetched).

    Raises:
        InputError: no such model, no such file, or a file that was not written by this package.
    """
    config, provenance, path = _subject(name)
    source = _source_of(name, config)
    label_set = config.label_set
    facts = {
        "classes": f"{len(label_set)} of {label_set.name}, {len(label_set.thing_ids)} of them things",
        "network": f"{config.architecture}, backbone {config.backbone}, frames at {config.shortest_edge}/"
        f"{config.longest_edge}, score threshold {config.score_threshold:g}, overlap {config.overlap_threshold:g}",
        "origin": source.url or _origin(provenance) or (config.reference if config.reference != config.name else ""),
        "licence": source.licence,
        "data": (provenance or {}).get("data") or source.data,
        "command": (provenance or {}).get("command", ""),
        "quality": _metrics(provenance) or source.quality,
        **_file_facts(name, config, source, provenance, path),
        "use": source.use,
        "limits": source.limits,
    }
    return "\n".join([config.name, *(_line(label, text) for label, text in facts.items() if text)])


def _source_of(name, config):
    known = {**load_sources().models, **{f"{PREFIX}{key}": value for key, value in load_sources().hub.items()}}
    return known.get(
        str(name).partition("@")[0], Source(name=config.name)
    )  # nothing is known about the origin of weights from a file


def _subject(name):
    """Configuration, provenance (None if there is none) and path of a checkpoint of this package (or None)."""
    if str(name).endswith(".safetensors"):
        return *read_metadata(name), name
    config = load_config(name)
    path = checkpoint_path(config.name)
    return (config, read_metadata(path)[1], path) if path.is_file() else (config, None, None)


def _row(name):
    config, source = load_config(name), load_sources().models.get(name, Source(name=name))
    shipped = checkpoint_path(name)
    size, state = f"{source.megabytes:g}" if source.megabytes else "", "none known"
    if shipped.is_file():
        size, state = f"{shipped.stat().st_size / 1e6:.0f}", "shipped"
    elif source.url:
        present = place_of(source).is_file()
        state = "in the cache" if present else f"yoso-ros download {name}"
        size = f"{place_of(source).stat().st_size / 1e6:.0f}" if present else f"about {size}"
    return name, str(len(config.label_set)), source.data.split(",")[0], source.quality, size, state, source.licence


def _hub_row(source):
    name = f"{PREFIX}{source.name}"
    return (
        name,
        str(source.classes),
        source.data.split(",")[0],
        source.quality,
        f"about {source.megabytes:g}" if source.megabytes else "",
        "in the cache" if is_present(name) else f"yoso-ros download {name}",
        source.licence,
    )


def _origin(provenance):
    return (
        f"trained with this package from: {provenance['initial_weights']}"
        if provenance and "initial_weights" in provenance
        else ""
    )


def _metrics(provenance):
    metrics = (provenance or {}).get("validation") or {}
    return ", ".join(f"{key} {value:.4g}" for key, value in metrics.items() if isinstance(value, (int, float)))


def _file_facts(name, config, source, provenance, path):
    if path is not None:
        return {"file": str(path), "SHA-256": f"{provenance['weights_sha256']} (of the weights)" if provenance else ""}
    if config.reference != config.name:
        return _hub_facts(config.reference)
    if source.url is None:
        return {"file": f"no weights are known for {config.name}"}
    place = place_of(source)
    if not place.is_file():
        return {"file": f"not here: yoso-ros download {name} (about {source.megabytes:g} MB, into {place})"}
    record, digest = read_record(place), file_digest(place)
    when = f" (the same as on {record['date']})" if record.get("sha256") == digest else ""
    if record and not when:
        when = f" (NOT that of {record['date']}: {record['sha256']})"
    return {"file": f"{place}, from {record.get('url', 'a copy made by hand')}", "SHA-256": f"{digest}{when}"}


def _hub_facts(reference):
    if not is_present(reference):
        return {"file": f"not here: yoso-ros download {reference}"}
    folder, _ = source_folder(reference, download=False, weights=True)
    files = sorted(folder.glob("*.safetensors"))
    return {"file": str(folder), "SHA-256": ", ".join(f"{file_digest(file)} ({file.name})" for file in files)}


def _line(label, text):
    indent = " " * (LABEL_WIDTH + 2)
    return textwrap.fill(
        text,
        TEXT_WIDTH,
        initial_indent=f"  {label.ljust(LABEL_WIDTH)}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def known_names():
    """Names that `yoso-ros download` accepts: list of str."""
    sources = load_sources()
    return [*(name for name, source in sources.models.items() if source.url), *sources.backbones, "hf:ORG/NAME"]


def check_known(name):
    """Raise InputError if a name is neither that of a model nor of a backbone."""
    if str(name).startswith(PREFIX):
        source_name(name)  # raises if it is not one
        return
    if name not in (*model_names(), *load_sources().backbones):
        raise InputError(f"unknown model {name!r}; known: {', '.join(known_names())}")
