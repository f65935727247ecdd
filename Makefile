# The verbs of this project; CI runs the same ones. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types fmt docs bench chaos soak pins

help: ## list the verbs
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install: .venv/installed ## make .venv with everything in it

.venv/installed: requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "onhand needs Python 3.11 or newer; set PYTHON=python3.12 or the like" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m compileall -q bot integrations sandbox workers
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-build-isolation --no-deps --editable .
	@touch $@

demo: install ## do the main job once and show the pull request
	@$(BIN)/onhand demo

test: install ## run every test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: install ## ruff and the import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: install ## mypy, strict
	$(BIN)/mypy

fmt: install ## format and sort
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: install ## write the pages that are made from the code
	$(BIN)/python -m docs.pages

bench: install ## measure, as ratios
	$(BIN)/python -m pytest tests/benchmarks/test_*.py --import-mode=importlib -s -q

SEED ?= 7
KILLS ?= 200
CONVERSATIONS ?= 20
PAIR ?= sqlite-local

chaos: install ## kill a busy service at random moments: nothing may be lost or doubled
	$(BIN)/python -m tests.chaos --seed $(SEED) --kills $(KILLS) --conversations $(CONVERSATIONS) --pair $(PAIR)

DELIVERIES ?= 50000
RUNS ?= 1000

soak: install ## send many deliveries: memory and folders must stay flat
	$(BIN)/python -m tests.soak --deliveries $(DELIVERIES) --runs $(RUNS) --seed $(SEED)

pins: .venv/installed ## resolve the requirements anew
	$(BIN)/uv pip compile --quiet pyproject.toml --universal --no-emit-index-url --generate-hashes --no-header -o requirements/onhand.txt
	$(BIN)/uv pip compile --quiet pyproject.toml --group dev --universal --no-emit-index-url --generate-hashes --no-header -o requirements/dev.txt
	echo uv | $(BIN)/uv pip compile --quiet - --universal --no-emit-index-url --generate-hashes --no-header -o requirements/uv.txt
