# Two commands set a fresh machine up by themselves:
#   make demo   rehearse a canary on this machine, on a real ImageNet model and real photographs
#   make test   lint, type-check and test
# Everything is installed into .venv; nothing outside this folder is written.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types unit e2e container-test generated lock clean

help:  ## Show these lines
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-16s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; run make PYTHON=python3.11 ...")'
	@echo "setting up $(VENV) (a few minutes the first time: PyTorch is large)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[local,serving,demo,dev]'
	@touch $@

setup: $(STAMP)  ## Create .venv with everything the other targets need

demo: $(STAMP)  ## Rehearse two rollouts on this machine: one good, one rolled back
	@$(BIN)/python -m examples.imagenet

test: lint types unit e2e  ## Lint, type-check, test (without container engine, GPU or browser)

lint: $(STAMP)  ## ruff, and the generated files are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict on src and serving
	$(BIN)/mypy

unit: $(STAMP)  ## Fast tests: no processes, no sockets
	$(BIN)/pytest -q -n 2 -m 'not slow and not e2e and not container and not gpu and not browser'

e2e: $(STAMP)  ## Tests with real processes, real sockets, real models
	$(BIN)/pytest -q --durations=10 -m '(slow or e2e) and not container and not gpu and not browser'

container-test: $(STAMP)  ## Build the images and run them (Debian, root): installs what that needs
	$(BIN)/python -m containers.tools setup
	VERTEX_DEPLOY_REQUIRE_CONTAINERS=1 $(BIN)/pytest -q --durations=5 -m container tests/containers

lock:  ## Write constraints.txt from a fresh resolution; review the diff
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet 'torch==2.13.0'
	.venv-lock/bin/python -m pip install --quiet --editable '.[local,serving,demo,dev]'
	(echo "# Written by make lock: the versions that the tests last passed with."; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu//') > constraints.txt
	rm -rf .venv-lock

clean:  ## Remove what the targets above created
	rm -rf $(VENV) build .vertex-deploy .pytest_cache .mypy_cache .ruff_cache .hypothesis
