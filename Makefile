# Everything a contributor or CI runs. Needs Python 3.11+, make and a package index; the rest is in .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help setup test test-redshift-live soak lint format docs bench bench-truth demo dev clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(STAMP)  ## create .venv with everything pinned (again only when the pins change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "charging_assets needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test,lint,bench]'
	touch $@

test: setup  ## run the test suite
	$(BIN)/pytest -q -n 2 $(ARGS)

test-redshift-live: setup  ## run the contract tests against a real cluster (see charging_assets_tests/warehouse/harness.py)
	$(BIN)/pytest -q -m live charging_assets_tests/warehouse $(ARGS)

soak: setup  ## run the long endurance tests
	$(BIN)/pytest -q -m soak $(ARGS)

lint: setup  ## check format, rules, types and the layering of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/dg check defs

format: setup  ## format the code and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup  ## generate the data dictionary
	$(BIN)/python -m charging_assets.model.dictionary > docs/data_dictionary.md

bench: setup  ## measure flattening against parsers and pandas; then all the rest, from dimensions to reports
	$(BIN)/python -m benchmarks.flatten $(ARGS)
	$(BIN)/python -m benchmarks.dimensions
	$(BIN)/python -m benchmarks.checks
	$(BIN)/python -m benchmarks.warehouse
	$(BIN)/python -m benchmarks.poi_matching
	$(BIN)/python -m benchmarks.osm
	$(BIN)/python -m benchmarks.occupancy --large
	$(BIN)/python -m benchmarks.periods

bench-truth: setup  ## compare events, occupied time, energy and effects with known truth (needs ../shared/data for the real sessions)
	$(BIN)/python -m benchmarks.truth.energy
	$(BIN)/python -m benchmarks.truth.perth
	$(BIN)/python -m benchmarks.truth.simulator
	$(BIN)/python -m benchmarks.truth.poi_effect

demo: setup  ## try it: a simulated week, built and queried, then live behind the UI (ARGS="--days 2 --no-serve")
	$(BIN)/charging-assets demo $(ARGS)

dev: setup  ## the Dagster UI with its daemon on http://localhost:3000
	DAGSTER_HOME="$$($(BIN)/charging-assets dagster-home)" && export DAGSTER_HOME && exec $(BIN)/dagster dev -w workspace.yaml $(ARGS)

clean:  ## remove .venv and caches (never data)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
