# SPDX-License-Identifier: Apache-2.0
# Everything from a fresh machine: `make demo`, `make test`. The first call sets up .venv, later ones find it ready.

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMPS := $(VENV)/stamps

.PHONY: setup demo test fuzz bench gpu-check lint docs clean

setup: $(STAMPS)/messages
	@:

$(STAMPS)/packages: pyproject.toml setup.py constraints.txt .ci/digests.txt .ci/install_packages
	@.ci/install_packages $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/messages: $(STAMPS)/packages CMakeLists.txt package.xml $(wildcard msg/*) .ci/build_messages .ci/wheels_fix.cmake
	@.ci/build_messages $(VENV)
	@touch $@

demo: setup ## SOURCE=path of a bag, a video or a folder of images; without it the project's own rendered scene
	@$(VENV)/bin/yoso-ros demo $(if $(SOURCE),--source "$(SOURCE)") --output out/demo

# What is installed with ROS and has no wheels: message packages that tests of the node talk with.
$(STAMPS)/test_messages: $(STAMPS)/messages $(wildcard test/ros/messages/*/* test/ros/messages/*/msg/*)
	@for package in vision_msgs bond; do \
	  .ci/build_messages $(VENV) test/ros/messages/$$package $(VENV)/test_messages/$$package || exit 1; done
	@touch $@

# One process more than there are cores: tests of the node wait for messages half of their time.
test: setup $(STAMPS)/test_messages ## ARGS="-k words" or other pytest options; "-n 0" for one process
	@$(PYTHON) -m pytest test -n $$(($$(nproc) + 1)) --maxprocesses 8 --dist worksteal $(ARGS)

fuzz: setup ## SECONDS=600: readers and decoders against new bad input; exit code 1 where something was found
	@$(PYTHON) test/fuzz/run.py --seconds $(or $(SECONDS),60) $(ARGS)

bench: setup
	@$(VENV)/bin/yoso-ros benchmark $(or $(ARGS),merge)

gpu-check: ## on a machine with a GPU, without a network: no setup; .venv where there is one, else python3
	@$(or $(wildcard $(PYTHON)),python3) -m yoso_ros gpu-check $(ARGS)

lint: setup
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy

docs: setup $(STAMPS)/docs ## the pages of docs/ and the API as a site: out/site/index.html
	@rm -rf build/site && mkdir -p build/site && cp -r docs build/site/docs && cp package.xml README.md CHANGELOG.rst build/site/
	@$(PYTHON) -m sphinx.ext.apidoc -q --separate -o build/site/docs/api yoso_ros
	@$(PYTHON) -m sphinx -q -j auto -b html build/site/docs out/site
	@echo out/site/index.html

$(STAMPS)/docs: pyproject.toml constraints.txt
	@$(PYTHON) -m pip --disable-pip-version-check install --quiet -c constraints.txt --editable ".[docs]"
	@touch $@

clean: ## what was built or written here; .venv stays
	rm -rf build install log out *.egg-info .pytest_cache .ruff_cache .hypothesis
	find yoso_ros test launch -name __pycache__ -type d -prune -exec rm -rf {} +
