# `make help` lists what there is. Environments are made on demand: .venv serves and tests, .venv-train trains and
# converts (PyTorch and TensorFlow, 3.7 GB), .venv-sam holds the AWS SAM CLI, whose pins clash with the others.
PYTHON ?= python3
# PyTorch's build for CPUs where pip finds it, else the default one, which on Linux brings gigabytes of CUDA.
# TORCH_PIP_ARGS names another index: see README, "Training on your machine".
TORCH ?= torch==2.13.0
TORCH_PIP_ARGS ?=
PIP = bin/python -m pip install --quiet --disable-pip-version-check
FAST = not slow and not training and not sam and not stack
EVENT ?= events/predict-v2.json

.PHONY: help setup demo test test-fast test-slow check fix build invoke bench matrix conformance clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/installed .venv-train/installed  ## make the environments for serving and training

demo: setup  ## train, export, publish, serve, predict and run a batch, all on this machine
	.venv/bin/tensorlet demo

test: setup .venv-sam/installed  ## all tests; those that train and convert run beside the others
	@mkdir -p build
	.venv/bin/python -m pytest -m training >build/training.log 2>&1 & training=$$!; \
	trap 'kill $$training' INT TERM; \
	.venv/bin/python -m pytest -m 'not training'; others=$$?; \
	wait $$training; trained=$$?; cat build/training.log; exit $$((others || trained))

test-fast: .venv/installed  ## the tests that need no framework, no Docker and no patience
	HYPOTHESIS_PROFILE=fast .venv/bin/python -m pytest -q -m "$(FAST)"

test-slow: setup .venv-sam/installed  ## all tests, with a hundred thousand examples for each property
	HYPOTHESIS_PROFILE=slow .venv/bin/python -m pytest

check: .venv/installed .venv-sam/installed  ## what CI runs: format, lint, types, template, all tests
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/cfn-lint template.yaml
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1 .venv-sam/bin/sam validate --lint
	$(MAKE) test

fix: .venv/installed  ## format, and mend what the linter can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

build: .venv/installed .venv-sam/installed  ## build functions and layers with SAM, and print what the layers weigh
	PATH="$(CURDIR)/.venv-sam/bin:$$PATH" SAM_CLI_TELEMETRY=0 .venv-sam/bin/sam build
	.venv/bin/python layers/runtime/sizes.py .aws-sam/build

invoke: build  ## a function in the Lambda image: make invoke EVENT=events/predict-v2.json
	.venv/bin/python -m tests.sam.invoke "$(EVENT)" $(FILE)

bench: .venv/installed  ## measure against floors and peers, and write docs/benchmarks.md
	.venv/bin/python -m benchmarks

matrix: setup  ## publish every source by architecture by format, and write the table in docs/models.md
	.venv/bin/python -m tests.matrix

conformance: .venv/installed  ## check any server: make conformance URL=http://HOST:PORT
	.venv/bin/python -m pytest tests/conformance --base-url "$(URL)"

clean:  ## remove what was built; environments stay
	rm -rf .aws-sam .tensorlet build

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/$(PIP) -c constraints.txt -e '.[dev]'
	touch $@

.venv-train/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-train
	.venv-train/$(PIP) $(TORCH_PIP_ARGS) '$(TORCH)+cpu' || .venv-train/$(PIP) $(TORCH_PIP_ARGS) '$(TORCH)'
	.venv-train/$(PIP) -c constraints.txt -e '.[train]'
	touch $@

.venv-sam/installed: constraints.txt
	$(PYTHON) -m venv .venv-sam
	.venv-sam/$(PIP) "$$(grep '^aws-sam-cli==' constraints.txt)"
	touch $@
