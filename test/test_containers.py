# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles, compose file, development container and workflow: what they name of this repository is there.

None of them is built here; linters check the rest (docs/containers.md).
"""

import json
import re

import pytest
import yaml
from test_packaging import ROOT

DOCKERFILES = sorted((ROOT / ".ci/docker").glob("*Dockerfile"))
COMPOSE = ROOT / ".ci/docker/compose.yaml"
WORKFLOW = ROOT / ".github/workflows/ci.yaml"
DEVCONTAINER = ROOT / ".devcontainer/devcontainer.json"


def instructions(path):
    """List of (word, arguments) of a Dockerfile, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def stages(path):
    return [arguments.split()[-1] for word, arguments in instructions(path) if word == "FROM"]


def default_arguments(path):
    """Build arguments and their defaults, dict of str to str."""
    return dict(arguments.split("=", 1) for word, arguments in instructions(path) if word == "ARG" and "=" in arguments)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_copy_what_exists(path):
    copied = [arguments.split()[:-1] for word, arguments in instructions(path) if word == "COPY"]
    assert copied
    for source in sum(copied, []):
        assert (ROOT / source).exists(), f"{path.name} copies {source}"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_choice_of_a_dockerfile_has_its_stage(path):
    """The choices are in the comment with the commands; the default is one of them."""
    known, defaults = stages(path), default_arguments(path)
    (chosen,) = {
        name for s in re.findall(r"^FROM (\S+)", path.read_text(), re.M) for name in re.findall(r"^\$\{(\w+)\}", s)
    }
    ending = re.search(rf"^FROM \$\{{{chosen}\}}(\S+)", path.read_text(), re.M)[1]
    choices = {defaults[chosen], *re.findall(rf"--build-arg {chosen}=(\w+)", path.read_text())}
    assert len(choices) == 2 and {choice + ending for choice in choices} <= set(known)


def test_others_build_a_stage_that_exists_with_arguments_that_exist():
    container = json.loads(DEVCONTAINER.read_text())["build"]
    file = (DEVCONTAINER.parent / container["dockerfile"]).resolve()
    assert file in DOCKERFILES and container["target"] in stages(file)
    assert (DEVCONTAINER.parent / container["context"]).resolve() == ROOT
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    (build,) = (service["build"] for service in services.values() if "build" in service)
    context = (COMPOSE.parent / build["context"]).resolve()
    assert context == ROOT and context / build["dockerfile"] in DOCKERFILES
    job = yaml.safe_load(WORKFLOW.read_text())["jobs"]["images"]
    (step,) = (step["with"] for step in job["steps"] if "build-push-action" in step.get("uses", ""))
    file = ROOT / step["file"]
    (argument,) = re.findall(r"^(\w+)=", step["build-args"], re.M)
    assert file in DOCKERFILES and argument in default_arguments(file)
    assert {f"{name}-packages" for name in job["strategy"]["matrix"]["processor"]} <= set(stages(file))


@pytest.mark.parametrize("path", [*DOCKERFILES, COMPOSE, WORKFLOW], ids=lambda path: path.name)
def test_commands_and_paths_of_the_package_exist(path):
    text = path.read_text()
    built = set(re.findall(r"install_python_executable\(([\w-]+) ", (ROOT / "CMakeLists.txt").read_text()))
    assert set(re.findall(r"ros2 run yoso_ros ([\w-]+)", text)) <= built
    launched = set(re.findall(r'ros2"?,? "?launch"?,? "?yoso_ros"?,? "?([\w.]+)', text))
    assert launched <= {launch.name for launch in (ROOT / "launch").iterdir()}
    for name in re.findall(r"share/yoso_ros/([\w./]+)", text) + re.findall(r"(?<![\w/])(\.ci/[\w./]+)", text):
        assert (ROOT / name).exists(), name
    assert path == WORKFLOW or launched
