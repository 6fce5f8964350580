# SPDX-License-Identifier: Apache-2.0
"""The data files, whose tree pyproject.toml cannot say; everything else is declared there."""

from pathlib import Path

from setuptools import setup


def data_files():
    """Each folder of config/, launch/ and msg/ with its files, for share/yoso_ros of the environment."""
    folders = [
        path for top in ("config", "launch", "msg") for path in (Path(top), *Path(top).rglob("*")) if path.is_dir()
    ]
    for folder in sorted(folders):
        files = [str(path) for path in sorted(folder.iterdir()) if path.is_file()]
        if files:
            yield f"share/yoso_ros/{folder}", files


setup(data_files=list(data_files()))
