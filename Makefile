# Two commands set a fresh machine up by themselves:
#   make demo   rehearse a canary on this machine, on a real ImageNet model and real photographs
#   make test   lint, type-check and test
# Everything is installed into .venv; nothing outside this folder is written.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup infra-setup demo test lint types unit e2e infra-types infra-test policies-setup container-test lock clean

help:  ## Show these lines
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; run make PYTHON=python3.11 ...")'
	@echo "setting up $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,serving,demo,dev]'
	@touch $@

# Pulumi's packages need protobuf 6 or older, Google's newest clients come with 7: an environment of its own.
INFRA := .venv-infra
$(INFRA)/.installed: pyproject.toml constraints-infra.txt
	@echo "setting up $(INFRA)"
	@$(PYTHON) -m venv $(INFRA)
	@$(INFRA)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-infra.txt --editable '.[infra,local,dev]'
	@touch $@

# pulumi-policy needs protobuf 5: another one.
POLICIES := .venv-policies
$(POLICIES)/.installed: infra/policies/requirements.txt
	@echo "setting up $(POLICIES)"
	@$(PYTHON) -m venv $(POLICIES)
	@$(POLICIES)/bin/python -m pip install --quiet --disable-pip-version-check --requirement infra/policies/requirements.txt
	@touch $@

policies-setup: $(POLICIES)/.installed  ## Create .venv-policies, which the policy pack runs in

infra-setup: $(INFRA)/.installed  ## Create .venv-infra for Pulumi: the program, the provider and their tests

setup: $(STAMP)  ## Create .venv with everything the other targets need

demo: $(STAMP)  ## Rehearse two rollouts on this machine: one good, one rolled back
	@$(BIN)/python -m examples.imagenet

test: lint types unit e2e infra-test  ## Lint, type-check, test (without container engine, GPU or browser)

lint: $(STAMP)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict on src and serving
	$(BIN)/mypy

unit: $(STAMP)  ## Fast tests: no processes, no sockets
	$(BIN)/pytest -q -n 2 -m 'not slow and not e2e and not container and not gpu and not browser'

# Most of these wait, for holds and sample periods: four at a time on two cores. A file is one worker's, as its fixtures are.
WORKERS := -n 4 --dist loadfile --no-loadscope-reorder

# The test files that have a mark: each worker imports what it is given, and the other files have nothing for it.
marked = $$(grep -rlE 'pytest\.mark\.($(1))\b' tests --include='test_*.py' | LC_ALL=C sort)

e2e: $(STAMP)  ## Tests with real processes, real sockets, real models
	$(BIN)/pytest -q $(WORKERS) --durations=10 -m '(slow or e2e) and not container and not gpu and not browser' $(call marked,slow|e2e)

# A cache of its own: `types` may run at the same time.
infra-types: $(INFRA)/.installed  ## mypy --strict on infra
	$(INFRA)/bin/mypy --cache-dir .mypy_cache/infra infra/components infra/provider infra/__main__.py infra/policies/rules.py infra/policies/settings.py infra/policies/generate.py bench/infra

infra-test: infra-types $(POLICIES)/.installed  ## The Pulumi program, its components and its provider (against Local Vertex)
	$(INFRA)/bin/python docs/infra/generate.py --check
	$(INFRA)/bin/python -m infra.policies.generate --check
	$(INFRA)/bin/pytest -q $(WORKERS) tests/infra

container-test: $(STAMP)  ## Build the images and run them (Debian, root): installs what that needs
	$(BIN)/python -m containers.tools setup
	VERTEX_DEPLOY_REQUIRE_CONTAINERS=1 $(BIN)/pytest -q --durations=5 -m container $(call marked,container)

lock:  ## Write both constraints files from a fresh resolution; review the diff
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet 'torch==2.13.0'
	.venv-lock/bin/python -m pip install --quiet --editable '.[local,serving,demo,dev]'
	(echo "# Written by make lock: the versions that the tests last passed with."; \
	  .venv-lock/bin/python -m pip freeze --all --exclude pip --exclude wheel --exclude-editable | sed 's/+cpu//') > constraints.txt
	rm -rf .venv-lock
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --editable '.[infra,local,dev]'
	(echo "# Written by make lock: the versions that the tests of infra last passed with."; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable) > constraints-infra.txt
	rm -rf .venv-lock

clean:  ## Remove what the targets above created
	rm -rf $(VENV) $(INFRA) $(POLICIES) build .vertex-deploy .pytest_cache .mypy_cache .ruff_cache .hypothesis
