# SPDX-License-Identifier: Apache-2.0
"""What all tests share: few threads per process, and the way to the data that is kept outside the project."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
MAX_THREADS = 2 if os.environ.get("PYTEST_XDIST_WORKER") is None else 1  # tests side by side share the cores

# Before any test imports torch, and inherited by the processes that tests start.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OMP_NUM_THREADS"] = str(min(MAX_THREADS, os.cpu_count() or 1))


@pytest.fixture(autouse=True)
def _no_program(monkeypatch):
    """A command that a test runs in this process must not let a later signal end the process of the tests."""
    from yoso_ros import stop_signals

    monkeypatch.setattr(stop_signals, "_exit_code", None)


@pytest.fixture(scope="session")
def shared_data():
    """Path of the folder with golden numbers, images and recordings: $YOSO_SHARED, or `shared` beside the project."""
    folder = Path(os.environ.get("YOSO_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"needs the shared data: no folder {folder}; set YOSO_SHARED to where it is")
    return folder


@pytest.fixture
def screenshot(tmp_path):
    """`screenshot(page, height)` -> int (height, 1140, 3) RGB: how a browser without a network shows a file."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium or google-chrome to look at the page")
    # Not needed by tests of the plain package.
    from yoso_ros.images.encoded import read_image

    def take(page, height):
        picture = tmp_path / "page.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--window-size=1140,{height}", f"--screenshot={picture}"]
        command += [f"--user-data-dir={tmp_path}/profile", "--host-resolver-rules=MAP * ~NOTFOUND", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S)
        shown = read_image(picture).astype(int)
        assert shown.shape == (height, 1140, 3)
        return shown

    return take


@pytest.fixture(scope="session")
def golden(shared_data):
    """Path of the golden numbers of the authors' network, in the shared data."""
    folder = shared_data / "golden"
    if not folder.is_dir():
        pytest.skip(f"needs the golden numbers: no folder {folder}")
    return folder
