# Each target makes the .venv it needs, the first time and whenever pyproject.toml has changed.
# On the machine: make, and python3 of version 3.11 or newer (another one: make PYTHON=python3.12).

PYTHON ?= python3
JOBS ?= 4
SOAK ?= 60
ARGS ?=
TEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test soak lint lint-python lint-lua format bench clean

help:
	@echo 'make demo    processes at full speed on one shared limit, shown live; ARGS="--workers 8" (see ARGS=--help)'
	@echo 'make test    all that CI runs: the linters, then the tests; TEST_ARGS="-k demo", JOBS=4 at a time'
	@echo 'make soak    the long tests for longer, with both faces on every server; SOAK=60 seconds of load'
	@echo 'make lint    the linters alone'
	@echo 'make format  put the code in its format, and mend what ruff can'
	@echo 'make bench   the figures, beside those of other libraries'
	@echo 'make clean   remove the .venv and whatever tools have left'

demo: $(VENV)/.cli
	@$(BIN)/redisopt demo $(ARGS)

# Tests of time and of fleets share the machine with each other, so one of thousands may miss its time: that is looked at twice.
test: lint-python
	@command -v luacheck >/dev/null || echo "NOTICE: luacheck is not on PATH, so the Lua scripts are not linted (apt install lua-check)"
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(TEST_ARGS) || { code=$$?; [ $$code -eq 1 ] || exit $$code; \
	  echo "SECOND LOOK: what failed is run once more, with nothing beside it. What fails again is broken; what passes is to be made sturdier."; \
	  $(BIN)/pytest -v --exitfirst --last-failed --last-failed-no-failures none $(TEST_ARGS); }

soak: $(VENV)/.dev
	REDISOPT_TEST_SOAK=$(SOAK) $(BIN)/pytest -n $(JOBS) --dist worksteal -m "fleet or long" --every-pair $(TEST_ARGS)

lint: lint-python lint-lua

lint-python: $(VENV)/.dev
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A script is linted as the server gets it, with its includes. In `make test` the tests do so.
lint-lua: $(VENV)/.dev
	@if command -v luacheck >/dev/null; then $(BIN)/pytest -q tests/test_scripts.py -k linter; \
	else echo "NOTICE: luacheck is not on PATH, so the Lua scripts are not linted (apt install lua-check)"; fi

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.bench_throttle $(ARGS)
	$(BIN)/python -m benchmarks.bench_crowds
	$(BIN)/python -m benchmarks.bench_batch
	$(BIN)/python -m benchmarks.bench_debounce
	$(BIN)/python -m benchmarks.bench_breaker
	$(BIN)/python -m benchmarks.bench_monitor
	$(BIN)/python -m benchmarks.bench_optimizer
	$(BIN)/python -m benchmarks.bench_cache

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- what the targets need

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) on PATH: install Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $$($(PYTHON) --version) is too old, 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "make: $(PYTHON) cannot make virtual environments: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.cli: pyproject.toml | $(BIN)/python
	@echo "installing redisopt into $(VENV)"
	@$(PIP) install -e '.[cli,embedded]'
	@touch $@

# Dependency groups need pip 25.1.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing redisopt, and what tests and checks it, into $(VENV)"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install -e . --group dev
	@touch $@

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	@echo "installing redisopt, and what it is compared with, into $(VENV)"
	@$(PIP) install --upgrade 'pip>=25.1'
	@$(PIP) install -e '.[embedded]' --group bench
	@touch $@
