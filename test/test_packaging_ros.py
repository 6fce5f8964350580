# SPDX-License-Identifier: Apache-2.0
"""The package on a ROS machine: what it takes from pip, and what its launch files may import."""

import re
import subprocess
import sys

import pytest
from test_packaging import (
    LAUNCH_FILES,
    MANIFEST,
    ROOT,
    ROS_PACKAGES,
    imports,
    manifest_names,
    pip_for_ros,
    relative,
    requirements,
    third_party,
)


def test_a_ros_machine_gets_every_dependency():
    """From pip all but OpenCV, which is the system's, with OpenVINO beside; no looser than pyproject.toml says."""
    wanted = requirements("cpu")
    wanted = {name: wanted[name].specifier for name in {*requirements(), "openvino"} - {"opencv-python-headless"}}
    assert {name for name, _ in pip_for_ros()} == set(wanted)
    for name, specifier in pip_for_ros():
        assert set(wanted[name]) <= set(specifier), f"{name} {specifier} against {wanted[name]}"
    keys = manifest_names("depend", "exec_depend")
    assert "python3-opencv" in keys and not {key for key in keys if key.endswith("-pip")}


def test_no_middleware_is_asked_for():
    """The user's RMW_IMPLEMENTATION decides: Fast DDS, Cyclone DDS or Zenoh."""
    tags = {element.tag for element in MANIFEST.iter() if element.tag.endswith("depend")}
    names = manifest_names(*tags)
    assert "rclpy" in names
    assert not {name for name in names if re.search("rmw|fastrtps|fastdds|cyclone|zenoh", name)}


# ros2 launch runs in the system's Python, which need not have what the virtual environment of the node has.
FROM_APT = {"cv2", "numpy", "yaml"}


def test_launch_files_need_no_package_from_pip():
    open_files, seen = list(LAUNCH_FILES), set()
    while open_files:
        path = open_files.pop()
        if path in seen:
            continue
        seen.add(path)
        assert third_party(path, module_level_only=True) <= ROS_PACKAGES | FROM_APT, relative(path)
        names = {
            n.removeprefix("yoso_ros.") for n in imports(path, module_level_only=True) if n.startswith("yoso_ros.")
        }
        steps = {ROOT / "yoso_ros" / name.replace(".", "/") for name in names}
        open_files += [p for step in steps for p in (step.with_suffix(".py"), step / "__init__.py") if p.is_file()]
    assert len(seen) > 5


@pytest.mark.parametrize("plugin", ["launch_testing", "launch_ros"])
def test_a_module_that_skips_itself_hides_no_other_from_colcon_test(tmp_path, plugin):
    """With a plugin that imports modules as early as those of launch_testing and launch_testing_ros do."""
    info = tmp_path / "stand_in-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[pytest11]\n{plugin} = stand_in\n")
    (tmp_path / "stand_in.py").write_text(
        "import runpy\n\ndef pytest_pycollect_makemodule(module_path):\n    runpy.run_path(str(module_path))\n"
    )
    (tmp_path / "test_a.py").write_text('import pytest\npytest.importorskip("no_such_package")\n')
    (tmp_path / "test_b.py").write_text("def test_b():\n    pass\n")
    settings = ["-c", ROOT / "pyproject.toml", f"--rootdir={tmp_path}", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *settings, "."]
    run = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=300
    )
    assert "test_b.py::test_b" in run.stdout, run.stdout + run.stderr
