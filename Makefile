# make demo         the main job on the embedded model, from nothing
# make test         all tests, from nothing
# make check        format, lint and types
# make install      llmbatch in .venv, with the embedded model; make dev adds what tests need
# make bench        speed on this machine, some minutes; BENCH="--only start" a part, BENCH=-h more
# make bench-peers  the same beside other programs; downloads them, 800 MB, to .bench/
# make clean        remove .venv, .bench and what tools have stored

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := .ci/constraints.txt
# One more than there are cores: many tests wait for a clock.
WORKERS = $$($(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')

.PHONY: help install dev demo check test bench bench-peers clean

help:
	@sed -n 's/^# //p; /^$$/q' Makefile

install: $(VENV)/.installed
dev: $(VENV)/.dev

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; try: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) install --quiet --constraint $(CONSTRAINTS) --editable '.[local,dev]'
	@touch $@

demo: install
	$(BIN)/llmbatch batch samples/prompts.jsonl -o $(VENV)/answers.jsonl --overwrite
	@cat $(VENV)/answers.jsonl

check: dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: dev
	@$(BIN)/llmbatch pull --quiet
	$(BIN)/python -m pytest -m alone --ignore tests/providers
	$(BIN)/python -m pytest -m 'not alone' -n $(WORKERS) --dist loadfile --no-loadscope-reorder

bench: dev
	$(BIN)/python tests/bench/run.py $(BENCH)

bench-peers: dev
	$(BIN)/python tests/bench/peers.py
	$(BIN)/python tests/bench/run.py $(BENCH)

clean:
	rm -rf $(VENV) .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
