# SPDX-License-Identifier: Apache-2.0
"""A list of recordings, shared out among the processes of torchrun, each done once: what is on disk is not done again.

What becomes of a recording is a file, its part. Its name says what went into it, so that a part of other settings or
of a recording that has changed is another file. The first process has all parts in the end, also where the processes
see no folder in common.
"""

import hashlib
import json
from pathlib import Path

from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.processes import gather, is_first, share_of

FOLDER = "parts"


def parts_of(names, work, folder, settings, keys=None):
    """Do the work on each recording, or take it from an earlier run that was interrupted.

    Args:
        names: list of str, paths of the recordings (or other sources); every process has the same list.
        work: callable (number in the list, name) -> bytes, the content of the part.
        folder: the parts go into its folder `parts`.
        settings: plain values that the content depends on.
        keys: of recordings that are done in pieces, under one name each: what tells the pieces apart, plain values.

    Returns:
        (paths of the parts in the order of `names`, None for a recording with a fault; list of str, the faults). In
        processes other than the first the paths may not exist.

    Raises:
        InputError: none of the recordings could be used.
    """
    keys = keys or [None] * len(names)
    paths = [part_path(folder, name, [settings, key]) for name, key in zip(names, keys, strict=True)]
    own, faults = share_of(range(len(names))), {}
    for number in own:
        if not paths[number].is_file():
            try:
                write_file(paths[number], work(number, names[number]))
            except InputError as error:
                faults[number] = str(error)
    # One after the other, so that no process holds more than one part of each.
    for number in range(len(names)):
        mine = number in own
        held = [held for held in gather(_content(paths[number], faults.get(number)) if mine else None) if held]
        content, fault = held[0]
        if fault is not None:
            faults[number] = fault
        elif is_first() and not mine:
            write_file(paths[number], content)
    if len(faults) == len(names):
        raise InputError(faults[0])
    return [None if i in faults else path for i, path in enumerate(paths)], [faults[i] for i in sorted(faults)]


def part_path(folder, name, settings):
    """Path of the part of a recording: its name and a mark of the settings, the path and the state of its files."""
    path = Path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    state = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()]  # none: not there
    said = json.dumps([settings, str(path.absolute()), state], sort_keys=True)
    return Path(folder) / FOLDER / f"{path.stem}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.part"


def _content(path, fault):
    return (None, fault) if fault is not None else (path.read_bytes(), None)
