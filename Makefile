# make demo runs the whole of it, make test checks it; both make .venv first.
PYTHON ?= python3
# Test processes; the suite is bound by compilation, which keeps a core each busy.
WORKERS ?= 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo smollm2 test lint format clean

help:
	@echo "make demo    STaR on arithmetic in minutes, in runs/arithmetic; the same command goes on"
	@echo "make smollm2 fetches SmolLM2-135M-Instruct (89 MiB, once) and prints its path"
	@echo "make test    lint, types and tests"
	@echo "make format  formats the code and repairs what lint can"
	@echo "make clean   removes .venv and caches; runs/ stays"

# Large pages (glibc 2.35 or newer): memory that is new costs a CPU less.
demo: export GLIBC_TUNABLES := glibc.malloc.hugetlb=1
demo: .venv/installed
	$(BIN)/python -m star_jax.main --config=configs/arithmetic.py --workdir=runs/arithmetic

smollm2: .venv/bin/pip
	@$(BIN)/python experiments/fetch_smollm2.py

test: lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis *.egg-info

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "star_jax needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -V 2>&1);" \
	    "name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "making .venv" >&2
	@$(PYTHON) -m venv .venv

# The stamps say when setup.py was last installed.
.venv/installed: setup.py | .venv/bin/pip
	@echo "installing the packages of setup.py (some minutes the first time)"
	@$(PIP) -e .
	@touch $@

.venv/installed-test: setup.py | .venv/bin/pip
	@echo "installing the packages of setup.py[test] (some minutes the first time)"
	@$(PIP) -e ".[test]"
	@touch $@ .venv/installed
