# make demo runs the whole of it, make test checks it; both make .venv first.
PYTHON ?= python3
# Test processes; the suite is bound by compilation, which keeps a core each busy.
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PART := PYTHONPATH=tests/support $(PYTEST) -p parts --part

.DEFAULT_GOAL := help
.PHONY: help demo base smollm2 gemma3 check test test-other second lint format clean

help:
	@echo "make demo    STaR on arithmetic in minutes, in runs/arithmetic; the same command goes on"
	@echo "make base    makes the base model of the demo anew (5 to 10 minutes) and puts it in its place"
	@echo "make smollm2 fetches SmolLM2-135M-Instruct (89 MiB, once) and prints its path"
	@echo "make gemma3  fetches Gemma 3 270M (227 MiB, once; its terms: see what it prints) and prints its path"
	@echo "make check   lint, types, and the quick part of the tests: a minute or so"
	@echo "make test    lint, types and tests; what meets jax also on another Python, if there is one"
	@echo "make format  formats the code and repairs what lint can"
	@echo "make clean   removes environments and caches; runs/ stays"

# Large pages (glibc 2.35 or newer): memory that is new costs a CPU less. Two devices on a CPU: a model this small keeps
# one core busy, so each device takes half of every batch.
demo: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
demo: export JAX_NUM_CPU_DEVICES := 2
demo: .venv/installed
	$(BIN)/python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/arithmetic

base: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
base: .venv/installed
	$(BIN)/python -m star_jax.main --config=configs/arithmetic.py:scratch --workdir=runs/base \
	  --config.rounds.count=0
	$(BIN)/python -m star_jax.export runs/base star_jax/shipped/arithmetic --weights=bfloat16

smollm2 gemma3: $(BIN)/pip
	@$(BIN)/python -m experiments.fetch_$@

check: lint
	$(PART)=quick

test: lint
	$(PYTEST)
	@$(MAKE) --no-print-directory test-other

# Another Python has other versions of jax: an environment of its own, without torch.
test-other: .venv/installed-test
	@found=$$($(BIN)/python tests/support/interpreters.py) || exit; [ -z "$$found" ] || \
	  $(MAKE) --no-print-directory second VENV=".venv-$${found%% *}" PYTHON="$${found#* }"

second: $(VENV)/installed-second
	$(PART)=jax

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-* .pytest_cache .ruff_cache .hypothesis *.egg-info

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "star_jax needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1);" \
	    "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)

# The stamps say when setup.py was last installed.
$(VENV)/installed: setup.py | $(BIN)/pip
	@echo "installing the packages of setup.py (some minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(VENV)/installed-%: setup.py | $(BIN)/pip
	@echo "installing the packages of setup.py[$*] (some minutes the first time)"
	@$(PIP) -e ".[$*]"
	@touch $@ $(VENV)/installed
