# make install | sweep | test | dear | fuzz | lint | audit | up | down | clean   (PYTHON=python3.12 make ... chooses the interpreter)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install up sweep down test dear fuzz lint audit clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV), which takes some minutes ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(READY) ## Install everything into .venv
	@echo "Installed. Next: make sweep, or: source $(BIN)/activate && seldtune --help"

up: $(READY) ## Start S3, MLflow and Ray on this machine, as far as they are not there
	$(BIN)/seldtune up

sweep: up ## Make data, search, compare and register the best model
	$(BIN)/seldtune data synth quickstart
	$(BIN)/seldtune sweep quickstart

down: $(READY) ## Stop what `up` started
	$(BIN)/seldtune down

# A file's tests share what they start, and files begin in the order of tests/conftest.py, the longest first. With a test
# process replaced after a crash, pytest-xdist would wait for ever.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

test: $(READY) ## The fast tests, then those that start servers or train
	$(PYTEST) -m "not slow"
	$(PYTEST) -m "slow and not dear"

dear: $(READY) ## Tests that take minutes each and are not among those of `make test`
	$(PYTEST) -m dear

fuzz: $(READY) ## 100,000 odd inputs for all that reads users' files, each from its seed
	FUZZ_INPUTS=100000 $(PYTEST) tests/fuzz_tests

lint: $(READY) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/mypy

audit: $(READY) ## sbom.json, and known vulnerabilities of what is pinned (asks OSV)
	$(BIN)/python .ci/audit.py

clean: ## Delete caches and build products, not data and not .venv
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
