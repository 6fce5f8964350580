# SPDX-License-Identifier: Apache-2.0
"""Distribute a list of recordings over the processes of torchrun; results already on disk are not computed again.

The result of a recording is a file, its part. Its name identifies the settings and the state of the recording, so a
change of either leads to a new file. At the end the first process has all parts, even if the processes share no
folder.
"""

import hashlib
import json
from pathlib import Path

from yoso_ros.errors import InputError
from yoso_ros.files import write_file
from yoso_ros.processes import gather, is_first, share_of

FOLDER = "parts"


def parts_of(names, work, folder, settings, keys=None):
    """Process each recording, or reuse the result of an earlier, interrupted run.

    Args:
        names: list of str, paths of the recordings (or other sources); every process has the same list.
        work: callable (number in the list, name) -> bytes, the content of the part.
        folder: the parts are written to its subfolder `parts`.
        settings: plain values that the content depends on.
        keys: for recordings that are processed in pieces under the same name: plain values that distinguish the pieces.

    Returns:
        (paths of the parts in the order of `names`, None for a recording with a fault; the faults, list of str). In
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
    # One at a time, so that no process holds more than one part of each.
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
    """Path of the part of a recording: its name and a digest of the settings, the path and the state of its files."""
    path = Path(name)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    state = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()]  # the file does not exist
    said = json.dumps([settings, str(path.absolute()), state], sort_keys=True)
    return Path(folder) / FOLDER / f"{path.stem}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.part"


def _content(path, fault):
    return (None, fault) if fault is not None else (path.read_bytes(), None)
