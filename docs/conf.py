# SPDX-License-Identifier: Apache-2.0
"""The documentation site: the pages of docs/ and the API from the docstrings, by Sphinx. Built by `make docs`."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

_manifest = ElementTree.parse(Path(__file__).resolve().parents[1] / "package.xml").getroot()
project = _manifest.findtext("name")
release = version = _manifest.findtext("version")
author = _manifest.findtext("maintainer")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "alabaster"
myst_heading_anchors = 3
# Links of pages to files of the repository, which are no pages; headings that begin lower; attributes of one name.
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.python"]
autodoc_mock_imports = ["launch", "launch_ros"]  # of a ROS installation only
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# Else attributes of a data class are described twice, by its docstring and by its fields.
napoleon_use_ivar = True
