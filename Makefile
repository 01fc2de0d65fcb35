# Each target makes its virtual environment and installs what it needs when that is missing.
#   make demo       learn five tasks one after another, with and without protection from forgetting
#   make test       the test suite                      make test ARGS="-k mlp -x"
#   make test-oldest   the same with the oldest versions that pyproject.toml declares
#   make test-newest   the same with the newest versions that there are
#   make lint       ruff (rules and format) and mypy
#   make format     let ruff write the format
#   make docs       run the tutorials, write HTML pages to docs/_build/html and look for faults in them
#   make bench      the benchmarks                      make bench ARGS=--help
#   make clean      remove what tools leave behind; the environment and results stay
#
# Variables: PYTHON (makes the environment), VENV (where it is), CONSTRAINTS (empty: newest versions).
# The oldest and the newest versions want a Python of their own, python3.10 and python3.13, and a C compiler.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
ARGS ?=

python := $(VENV)/bin/python
pip := $(python) -m pip --disable-pip-version-check --quiet install $(addprefix -c ,$(CONSTRAINTS))

.DEFAULT_GOAL := help
.PHONY: help demo test test-oldest test-newest docs bench lint format clean

help:
	@sed -n '/^#/!q; s/^# \?//p' Makefile

demo: $(VENV)/.has-experiments
	$(python) -m hypnettorch.examples.hypercl.demo $(ARGS)

test: $(VENV)/.has-test
	$(python) -m pytest -n auto --dist worksteal --durations=15 $(ARGS)

# PYENV_VERSION lets pyenv, where it is installed, find the interpreter.
test-oldest: export PYENV_VERSION = 3.10
test-oldest:
	$(MAKE) .venv-oldest/.torch test VENV=.venv-oldest PYTHON=python3.10 CONSTRAINTS=constraints-oldest.txt

test-newest: export PYENV_VERSION = 3.13
test-newest:
	$(MAKE) .venv-newest/.torch test VENV=.venv-newest PYTHON=python3.13 CONSTRAINTS=

docs: $(VENV)/.has-docs
	$(python) -m sphinx -W --keep-going -q docs docs/_build/html $(ARGS)
	@echo "documentation: docs/_build/html/index.html"
	$(python) docs/check_pages.py

bench: $(VENV)/.has-experiments
	$(python) -m benchmarks $(ARGS)

lint: $(VENV)/.has-dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

format: $(VENV)/.has-dev
	$(python) -m ruff check --fix-only --quiet .
	$(python) -m ruff format .

clean:
	rm -rf build dist *.egg-info docs/_build docs/gallery docs/pictures .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find hypnettorch tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

# The package index has other versions of torch as CUDA builds only: their gigabytes of libraries stay away.
$(VENV)/.torch: $(CONSTRAINTS) | $(VENV)/bin/pip
	@echo "installing torch without CUDA into $(VENV)"
	@$(pip) --no-deps torch
	@$(python) .ci/torch_without_cuda.py
	@touch $@

# One stamp per set of optional dependencies; a stamp is written last, so that an interrupted installation is repeated.
.PRECIOUS: $(VENV)/.has-%
$(VENV)/.has-%: pyproject.toml $(CONSTRAINTS) | $(VENV)/bin/pip
	@echo "installing hypnettorch[$*] and what it needs into $(VENV)"
	@$(pip) "setuptools>=77"
	@$(pip) --no-build-isolation --editable ".[$*]"
	@$(python) .ci/torchvision_without_cuda.py
	@touch $@

$(VENV)/bin/pip:
	@echo "making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
