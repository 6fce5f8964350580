# SPDX-License-Identifier: Apache-2.0
"""The package as a whole: one version, every dependency declared once, the walls between the rooms, file rules."""

import ast
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from patience import PATIENCE_S

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11 or newer (tomllib)")

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()
MODULES = sorted((ROOT / "yoso_ros").rglob("*.py"))
LAUNCH_FILES = sorted((ROOT / "launch").rglob("*.py"))
SOURCES = [*MODULES, *LAUNCH_FILES, *sorted((ROOT / "test").rglob("*.py")), ROOT / "setup.py"]

MAX_LINES = 400
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

# rosdep keys of Python distributions that the ROS way takes from the system.
ROSDEP_KEYS = {
    "numpy": "python3-numpy",
    "opencv-python-headless": "python3-opencv",
    "pillow": "python3-pil",
    "pyyaml": "python3-yaml",
    "scipy": "python3-scipy",
    "tqdm": "python3-tqdm",
}
# Extras that the modules of a room may need as soon as they are imported; the others make do with the dependencies.
ROOM_EXTRAS = {"training": {"train"}, "evaluation": {"train"}, "inference": {"cpu", "onnx", "tensorrt"}}


def requirements(*extras):
    """Canonical distribution name to `Requirement`, of the dependencies and the given extras."""
    lines = list(PYPROJECT["project"]["dependencies"])
    for extra in extras:
        lines += PYPROJECT["project"]["optional-dependencies"][extra]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


ALL_EXTRAS = tuple(PYPROJECT["project"]["optional-dependencies"])


def relative(path):
    return path.relative_to(ROOT).as_posix()


def imports(path, module_level_only=False):
    """Dotted names that a file imports, those inside functions too unless `module_level_only`: set of str."""
    found = set()

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.update(alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                package = path.relative_to(ROOT).parts[: -child.level] if child.level else ()
                base = ".".join((*package, *filter(None, [child.module])))
                found.add(base)
                found.update(f"{base}.{alias.name}" for alias in child.names)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue  # read by type checkers only
            elif not (module_level_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))):
                visit(child)

    visit(ast.parse(path.read_text()))
    return found


def third_party(path, **kwargs):
    """Top-level names of imported packages outside the standard library and this package: set of str."""
    tops = {name.split(".")[0] for name in imports(path, **kwargs)}
    # compression is in the standard library from Python 3.14 on.
    return tops - set(sys.stdlib_module_names) - {"yoso_ros", "__future__", "compression"}


def own(path):
    """Dotted names below `yoso_ros` that a file imports, without the leading `yoso_ros.`: set of str."""
    return {name.removeprefix("yoso_ros.") for name in imports(path) if name.startswith("yoso_ros.")}


@functools.cache
def installed_packages():
    return importlib.metadata.packages_distributions()


def distribution(import_name):
    """Canonical names of the installed distributions that provide an import name, else the name itself: set of str."""
    provided = installed_packages().get(import_name, [import_name])
    return {canonicalize_name(name) for name in provided}


def manifest_names(*tags):
    return {element.text.strip() for tag in tags for element in MANIFEST.findall(tag)}


def room(path):
    """First folder or module below yoso_ros."""
    return path.relative_to(ROOT / "yoso_ros").parts[0].removesuffix(".py")


def within(name, allowed):
    return any(name == a or name.startswith(a + ".") for a in allowed)


# --- one version, one declaration ---


def test_one_version():
    version = PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]
    assert version == {"attr": "yoso_ros.__version__"} and "version" in PYPROJECT["project"]["dynamic"]
    tree = ast.parse((ROOT / "yoso_ros/__init__.py").read_text())
    literals = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["__version__"]
    ]
    assert literals == [MANIFEST.findtext("version")]


def test_dependencies_are_declared_in_pyproject_alone():
    calls = [n for n in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(n, ast.Call)]
    setup = [call for call in calls if ast.unparse(call.func) == "setup"]
    assert [keyword.arg for call in setup for keyword in call.keywords] == ["data_files"]
    assert not list(ROOT.glob("requirements*.txt")) and not (ROOT / "setup.cfg").exists()


def test_every_dependency_has_a_pin_that_fits():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pins = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    assert len(pins) == len(lines), "a package is pinned twice"
    for name, requirement in requirements(*(set(ALL_EXTRAS) - {"tensorrt"})).items():
        assert name in pins, f"{name} is not pinned in constraints.txt"
        (pin,) = pins[name].specifier
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), f"{requirement} against {pin}"
    assert str(pins["torch"].specifier) == "==2.13.0"
    assert not pins.keys() & {"torchvision", "opencv-python"}


def test_every_pin_has_digests():
    """torch has none: its builds for CPU and CUDA have one version."""
    pins, digests = ((ROOT / name).read_text() for name in ("constraints.txt", ".ci/digests.txt"))
    versions = {line.split(" ")[0] for line in pins.splitlines() if line and line[0] != "#"}
    entries = re.findall(r"^([\w.-]+==[^ ]+).*((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", digests, re.M)
    assert {pin for pin, _ in entries} == versions - {"torch==2.13.0"}
    assert digests.count("--hash=") == sum(files.count("--hash=") for _, files in entries)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_are_declared_for_pip(path):
    declared = set(requirements(*ALL_EXTRAS))
    if room(path) == "ros":
        ros_packages = manifest_names("depend", "exec_depend")
        unknown = {n for n in third_party(path) if n not in ros_packages and not distribution(n) & declared}
    else:
        unknown = {n for n in third_party(path) if not distribution(n) & declared}
        at_once = set(requirements(*ROOM_EXTRAS.get(room(path), ())))
        late = {n for n in third_party(path, module_level_only=True) if not distribution(n) & at_once}
        assert not late, f"imported at once, but declared in an extra only: {late}"
    assert not unknown, f"not declared in pyproject.toml: {unknown}"


def pip_for_ros():
    """What a ROS machine takes from pip: list of canonical name and specifiers."""
    lines = (ROOT / ".ci/requirements_ros.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and line[0] != "#"]
    return [(canonicalize_name(r.name), r.specifier) for r in found]


@pytest.mark.parametrize("path", [*MODULES, *LAUNCH_FILES], ids=relative)
def test_imports_are_declared_for_ros(path):
    keys = manifest_names("depend", "exec_depend", "test_depend")
    listed = re.findall(r"pip install ([^\n]*)", (ROOT / "package.xml").read_text())
    by_pip = set(re.findall(r"[\w-]+", " ".join(listed))) | {name for name, _ in pip_for_ros()}
    pip_names = set(requirements(*ALL_EXTRAS))
    for name in third_party(path):
        known = distribution(name) & pip_names if name not in keys else set()
        assert name in keys or any(ROSDEP_KEYS.get(d) in keys or d in by_pip | {"tensorrt"} for d in known), (
            f"{name} is neither a dependency in package.xml nor in its list for pip"
        )


def test_manifest():
    assert MANIFEST.get("format") == "3"
    assert MANIFEST.findtext("name") == "yoso_ros"
    assert MANIFEST.findtext("license") == "Apache-2.0" == PYPROJECT["project"]["license"]
    assert MANIFEST.findtext("export/build_type") == "ament_cmake"
    assert MANIFEST.findtext("member_of_group") == "rosidl_interface_packages"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    dependencies = [e.text for e in MANIFEST if e.tag.endswith("depend")]
    assert len(dependencies) == len(set(dependencies))
    message_packages = {line.split("/")[0] for p in (ROOT / "msg").iterdir() for line in fields_of_packages(p)}
    assert message_packages <= manifest_names("depend")


def fields_of_packages(path):
    return [line for line in path.read_text().splitlines() if re.match(r"\w+/\w+", line)]


def test_every_message_is_generated():
    listed = re.findall(r"^  (?:msg/|.*srv/)(\w+\.(?:msg|srv))", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(p.name for p in (ROOT / "msg").iterdir())


def test_executables_are_the_same_for_pip_and_ros():
    scripts = PYPROJECT["project"]["scripts"]
    in_cmake = re.findall(
        r"^  install_python_executable\(([\w-]+) ([\w.]+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M
    )
    assert dict(in_cmake) == {name: target.removesuffix(":main") for name, target in scripts.items()}
    for target in scripts.values():
        module, function = target.split(":")
        path = ROOT / module.replace(".", "/")
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        defined = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
        assert function in defined, f"{target} does not exist"


def test_wheel_carries_modules_and_data_files(tmp_path):
    """A normal `pip install .`: everything under yoso_ros/ with its data, config/ and launch/ in share/yoso_ros."""
    source = tmp_path / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md", "yoso_ros", "config", "launch"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=ignore)
        elif path.exists():
            shutil.copy(path, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("yoso_ros-*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    prefix = wheel.name.split("-py3")[0] + ".data/data/share/yoso_ros/"
    expected = {relative(p) for p in MODULES}
    expected |= {relative(p) for p in (ROOT / "yoso_ros").rglob("*.safetensors")} | {"yoso_ros/py.typed"}
    data = [p for top in ("config", "launch") for p in (source / top).rglob("*") if p.is_file()]
    expected |= {prefix + p.relative_to(source).as_posix() for p in data}
    assert not expected - inside
    strangers = {n for n in inside if n.startswith(("test/", "docs/", "build/")) or n.endswith(".pyc")}
    assert not strangers


# --- the walls ---

ROS_PACKAGES = {n for n in manifest_names("depend", "exec_depend") if not n.startswith("python3-")}


def test_import_needs_neither_ros_nor_torch(tmp_path):
    code = "import sys, yoso_ros; print(sorted({'rclpy', 'torch', 'cv2', 'numpy'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_walls(path):
    here, outside, inside = room(path), third_party(path), own(path)
    if here != "ros":
        assert not outside & ROS_PACKAGES, "only ros/ imports ROS packages"
        crossing = {n for n in inside if within(n, ("ros", "msg"))}
        assert not crossing, "only executables, launch files and tests import ros/ and the messages"
    if here == "models":
        assert outside <= {"torch"} | (
            {"huggingface_hub", "transformers"} if path.parent.name == "hugging_face" else set()
        )
        allowed = ["configuration", "models", "errors", "label_sets"]
        if path.name == "factory.py":
            allowed += ["extensions", "resources", "weights.hub"]
        assert not {n for n in inside if not within(n, allowed)}
    if here == "fusion":
        assert outside <= {"torch", "numpy"}
        allowed = ["fusion", "results"] + ["extensions"] * (path.name == "__init__.py")
        assert not {n for n in inside if not within(n, allowed)}
    if here in ("training", "data", "evaluation"):
        assert not {n for n in inside if within(n, ("inference.engines",))}
    if here == "inference":
        assert not {n for n in inside if within(n, ("training", "data"))}


# Measure the tables of one paper, or stand for its authors' code: they know the network of that paper.
OWN_BENCHMARKS = (
    "dense_masks",
    "given_outputs",
    "literal_detections",
    "literal_merge",
    "literal_segmenter",
    "merge",
    "modules",
    "throughput",
)
BENCHMARKS_OF_ONE_NETWORK = {f"yoso_ros/benchmark/{name}.py" for name in OWN_BENCHMARKS}


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_only_its_own_rooms_know_a_network(path):
    """Outside models/<name>, fusion/, training/criteria/ and one paper's benchmarks no network or output is named."""
    from yoso_ros.models.factory import ARCHITECTURES

    folders = {p.name for p in (ROOT / "yoso_ros/models").iterdir() if p.is_dir() and p.name != "__pycache__"}
    parts = path.relative_to(ROOT / "yoso_ros").parts
    at_home = (
        parts[0] == "fusion" or parts[:2] == ("training", "criteria") or relative(path) in BENCHMARKS_OF_ONE_NETWORK
    )
    if at_home or (parts[0] == "models" and (len(parts) == 3 or parts[1] == "factory.py")):
        home = parts[1] if parts[0] == "models" and len(parts) == 3 else None
        strangers = {n for n in own(path) if home and within(n, {f"models.{f}" for f in folders - {home}})}
        assert not strangers, "a network knows another"
        return
    assert not {n for n in own(path) if within(n, {f"models.{folder}" for folder in folders})}
    if parts[0] == "models":
        return  # parts that networks share
    # Names of two words or more: "boxes" or "scores" may be anything.
    outputs = {f for a in ARCHITECTURES.values() for f in a.network.Outputs._fields if "_" in f}
    tree = list(ast.walk(ast.parse(path.read_text())))
    named = {n.attr for n in tree if isinstance(n, ast.Attribute)} | {n.id for n in tree if isinstance(n, ast.Name)}
    named |= {n.value for n in tree if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert not named & outputs


# --- type hints ---

TYPED_ROOMS = ("models", "fusion", "evaluation", "data", "tracking")


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in TYPED_ROOMS], ids=relative)
def test_public_functions_have_type_hints(path):
    bare = []

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                visit(node.body, f"{prefix}{node.name}.")
            if isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
                names += ["return"] if node.returns is None else []
                bare.extend(f"{prefix}{node.name}: {name}" for name in names)

    visit(ast.parse(path.read_text()).body, "")
    assert not bare


# --- file rules ---


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_source_file(path):
    text = path.read_text()
    assert text.splitlines()[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert ast.get_docstring(ast.parse(text)), "expected a module docstring"
    assert len(text.splitlines()) <= MAX_LINES
    assert not BANNED_NAMES & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}


def test_ci_calls_make_test():
    run = ROOT / ".ci/run"
    assert os.access(run, os.X_OK)
    assert [line for line in run.read_text().splitlines() if "make" in line and line[0] != "#"] == ["exec make test"]
