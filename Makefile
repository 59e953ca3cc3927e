# `make demo` and `make test` need Python 3.11 or newer, make, and a package registry.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help setup demo up test check chaos gpu images format openapi tiny-world clean

help:  ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## Make .venv with everything in it

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	@# torch first and pinned: an open range would fetch gigabytes of GPU packages.
	$(PIP) install --quiet -c constraints.txt torch
	$(PIP) install --quiet -c constraints.txt -e '.[worker,local,train,dev]'
	@touch $@

demo: setup  ## Draw a StyleAligned set over HTTP into demo-output/
	$(BIN)/attention-please demo

up: setup  ## Run API, worker and broker here until Ctrl-C
	$(BIN)/attention-please up

test: setup  ## Run the tests, a file in each core at once
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: setup  ## Format, lint, types, layers, the OpenAPI document
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m service.openapi --check

chaos: setup  ## Kill processes at random for a quarter of an hour, and see that no job is lost
	$(BIN)/python -m benchmarks.chaos

gpu: setup  ## On a machine with a GPU: its tests, and what its kernels and jobs take
	$(BIN)/python -m pytest tests/gpu
	$(BIN)/python -m benchmarks.merged_attention
	$(BIN)/python -m benchmarks.capacity --workers 1

images:  ## Build the container images with buildah, without a daemon
	deploy/build-images.sh

format: setup  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

openapi: setup  ## Write openapi/openapi.json from the code, and the client's types from it
	$(BIN)/python -m service.openapi
	$(BIN)/python client/generate.py

tiny-world: setup  ## Train the built-in model anew (hours on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m training all

clean:  ## Remove what was made here, but not the models
	rm -rf .venv demo-output data build *.egg-info
