# SPDX-License-Identifier: Apache-2.0
"""The repository around the package: what lies at its top, and the files that name a version."""

import re
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What may lie at the top, beside the rooms; each for the tool that looks for it there and nowhere else.
TOP_LEVEL = {
    **dict.fromkeys(("yoso_ros", "launch", "config", "msg", "test", "docs", ".ci", ".github"), "rooms"),
    **dict.fromkeys(("README.md", "LICENSE"), "people, pip and GitHub"),
    **dict.fromkeys(("package.xml", "CMakeLists.txt"), "colcon and rosdep"),
    **dict.fromkeys(("pyproject.toml", "setup.py", "constraints.txt"), "pip"),
    "Makefile": "make",
    "CHANGELOG.rst": "catkin_prepare_release, bloom and rosdoc2",
    "CITATION.cff": "GitHub and Zenodo",
    ".gitignore": "git",
    ".dockerignore": "docker build",
    ".devcontainer": "editors",
}


def test_top_level():
    listed = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("needs a git checkout")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= set(TOP_LEVEL)


def test_citation_and_changelog_name_this_version():
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == ElementTree.parse(
        ROOT / "package.xml"
    ).getroot().findtext("version")
    underlined = re.findall(r"^(.+)\n([-^])\2+$", (ROOT / "CHANGELOG.rst").read_text(), re.M)
    assert [title for title, _ in underlined] == ["Changelog for package yoso_ros", "Forthcoming"], "as catkin reads it"
