# SPDX-License-Identifier: Apache-2.0
# Two commands matter: `make demo` and `make test`. Both set up what they need on first use.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Half of a test's time is waiting for a server: three share two cores well.
TEST_WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow test-faults reliability soak check format docs bench-speed bench-pipelines bench-client differential coverage-frameworks clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-20s %s\n", $$1, $$2 }'

setup: $(READY)  ## Make the virtual environment (.venv) with everything that was tested, about 4 GB

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "the server side needs Python 3.11 or 3.12, for which numpy 1.26 has wheels: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "this Python cannot make virtual environments: install its venv package"; exit 2; }
	@echo "installing into $(VENV): two to ten minutes, once"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable ./clients --editable '.[all,dev]'
	@touch $@

demo: $(READY)  ## Train, add, serve, score through Triton and measure: the whole path on real models
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/demo/run.py $(DEMO_FLAGS)

test: $(READY)  ## Run the tests, against a real Triton
	@$(BIN)/python -m pytest -m "not slow and not faults" --numprocesses $(TEST_WORKERS) --dist loadfile $(PYTEST_FLAGS)

test-slow: $(READY)  ## Run the proofs that take longest: whole test sets, every page of the docs
	@$(BIN)/python -m pytest -m slow --numprocesses $(TEST_WORKERS) --dist loadfile $(PYTEST_FLAGS)

test-faults: $(READY)  ## Break things on purpose, five minutes of it: kills, full disks, bad versions, under load
	@$(BIN)/python -m pytest -m "faults and not soak" $(PYTEST_FLAGS) tests/faults
	@REPO_TOOL_SOAK_S=60 $(BIN)/python -m pytest -m soak $(PYTEST_FLAGS) tests/faults

reliability: $(READY)  ## The same at full size (an hour, quiet machine); writes perf/results/reliability.md
	@REPO_TOOL_FAULTS=full $(BIN)/python -m pytest -m "faults and not soak" --timeout 3600 $(PYTEST_FLAGS) tests/faults
	@$(BIN)/python perf/reliability.py

SOAK_S ?= 3600
soak: $(READY)  ## Load, rolls, kills and crashing clients for an hour (SOAK_S seconds); adds its row to the same page
	@REPO_TOOL_FAULTS=full REPO_TOOL_SOAK_S=$(SOAK_S) $(BIN)/python -m pytest -m soak --timeout 90000 -s $(PYTEST_FLAGS) tests/faults
	@$(BIN)/python perf/reliability.py

check: $(READY)  ## Format, lint, types, layers, generated files
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@PYTHONPATH=tooling:clients:gateway $(BIN)/lint-imports --no-cache

format: $(READY)  ## Format and mend what can be mended by itself
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(READY)  ## Write docs/rules.md, docs/steps.md and docs/pipeline.schema.json anew, from the rules and steps
	@$(BIN)/repo-tool rule --page > docs/rules.md
	@$(BIN)/repo-tool pipeline steps --page > docs/steps.md
	@$(BIN)/repo-tool pipeline schema > docs/pipeline.schema.json

bench-speed: $(READY)  ## Measure our own commands; figures go to perf/results/
	@$(BIN)/python perf/speed.py $(SPEED_FLAGS)

N    ?= 10000
SEED ?= 11
differential: $(READY)  ## Compare the rules with a real Triton on N configurations made by machine (ten minutes)
	@PYTHONPATH=tests $(BIN)/python -m differential.run --n $(N) --seed $(SEED) --jobs 2 --report perf/results/differential $(DIFFERENTIAL_FLAGS)

bench-pipelines: $(READY)  ## Measure a pipeline in every way that it can be served (ten minutes, quiet machine)
	@$(BIN)/python perf/pipelines.py $(PIPELINES_FLAGS)

bench-client: $(READY)  ## Measure repo_client beside tritonclient (three minutes, quiet machine)
	@$(BIN)/python perf/client_speed.py $(CLIENT_FLAGS)

coverage-frameworks: $(READY)  ## Run every model of the zoo through Triton and write docs/coverage.md (about an hour)
	@PYTHONPATH=tests $(BIN)/python -m support.zoo_run $(ZOO_FLAGS)

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
