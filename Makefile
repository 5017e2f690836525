# Replenish: every command of a developer's day. `make` alone lists them.
# Needs Python 3.11 or 3.12, make and git; all else is installed into .venv and REPLENISH_HOME.

export REPLENISH_HOME ?= $(CURDIR)/.replenish
# So that `python -m ...` finds the packages in every process that a command starts.
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))

VENV_PYTHON := .venv/bin/python
HOST ?= 127.0.0.1
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-slow test-s3 test-cluster parity ui api bench decisions-quality doctor lint format lock clean torch-choice

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

setup: .venv/.stamp  ## install everything; quick when nothing changed
	@$(VENV_PYTHON) -m warehouse.prepare

demo: setup  ## a year of real grocery data, its last months published one by one (MONTHS=2)
	@$(VENV_PYTHON) -m orchestration.demo $(if $(MONTHS),--months '$(MONTHS)') $(ARGS)

# Each process runs whole files and starts at most one Spark session.
TWO_PROCESSES := -n 2 --dist loadfile --no-loadscope-reorder

test: setup  ## the tests, in two processes (ARGS="-k name" for some, ARGS="-n 0" in one)
	@$(VENV_PYTHON) -m pytest $(TWO_PROCESSES) $(ARGS)

test-fast: setup  ## the tests without Spark, servers and processes
	@$(VENV_PYTHON) -m pytest $(TWO_PROCESSES) -m "not spark and not process and not slow and not s3 and not cluster" $(ARGS)

test-slow: setup  ## the tests that take minutes each
	@$(VENV_PYTHON) -m pytest -m slow $(ARGS)

test-s3: setup  ## the same on a real S3 server (built once with Go)
	@$(VENV_PYTHON) -m pytest -m s3 $(ARGS)

test-cluster: setup  ## heavy jobs on a Spark cluster against that S3 server
	@$(VENV_PYTHON) -m pytest -m cluster $(ARGS)

parity: setup  ## laptop against S3, cluster and DynamoDB Local: every table and list equal
	@$(VENV_PYTHON) -m tests.parity $(ARGS)

ui: PORT ?= 3000
ui: setup  ## the Dagster UI on port 3000 (PORT=...)
	@DAGSTER_HOME="$$($(VENV_PYTHON) -m orchestration.instance)" \
	  $(VENV_PYTHON) -W 'ignore:::click.core' -m dagster dev -w workspace.yaml -h $(HOST) -p $(PORT)

api: PORT ?= 8000
api: setup  ## the lookup API on port 8000 (PORT=...)
	@$(VENV_PYTHON) -m warehouse.serving.api --host $(HOST) --port $(PORT) $(ARGS)

bench: setup  ## the benchmarks, results to benchmarks/results/
	@$(VENV_PYTHON) -m benchmarks.run $(ARGS)

decisions-quality: setup  ## judge the decisions of make demo MONTHS=4, writes docs/decisions-quality.md
	@$(VENV_PYTHON) -m benchmarks.decisions

doctor: .venv/.stamp  ## check this machine and say the mend
	@$(VENV_PYTHON) -m warehouse.doctor $(ARGS)

lint: setup  ## style and layers
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@.venv/bin/lint-imports --no-logo

format: setup  ## format the code
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

lock: .venv/.stamp  ## recompile requirements.lock from pyproject.toml (ARGS=--upgrade for the newest)
	@$(VENV_PYTHON) -m uv pip compile --quiet pyproject.toml --group dev --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --no-annotate -o requirements.lock $(ARGS)

clean:  ## remove .venv and the tools' caches
	@rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache

# A change of REPLENISH_TORCH makes .venv anew.
ifneq ($(shell cat .venv/.torch 2>/dev/null),$(or $(REPLENISH_TORCH),default))
.venv/.stamp: torch-choice
endif

.venv/.stamp: requirements.lock .ci/setup
	@.ci/setup
