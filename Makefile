# Everything a developer types. `make run` and `make test` need Python 3.11+ (with venv and pip) and
# make, nothing else; the first use of either makes .venv from the lock files in requirements/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

HOST ?= 127.0.0.1
PORT ?= 8080
DATA ?= data
ROUNDS ?= 200
SEED ?= 1
UV_VERSION := 0.13.9

# The first interpreter that is new enough; `make run PYTHON=/path/to/python3.13` chooses another.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo "$$candidate" && break; done)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Stamps carry the content of what they were made from, so a checkout that only touches files does
# not install again, and a changed lock always does.
content = $(firstword $(shell cat pyproject.toml $(1) | cksum))
RUN_STAMP := $(VENV)/.installed-run-$(call content,requirements/run.txt)
DEV_STAMP := $(VENV)/.installed-dev-$(call content,requirements/dev.txt)

CODE := mediastore gc tests bench docs
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) \
		| while IFS="$$(printf '\t')" read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

# --- running ---------------------------------------------------------------------------------

.PHONY: run
run: $(RUN_STAMP) ## Start mediastore on http://127.0.0.1:8080 with its own Postgres; data in ./data.
	@exec $(BIN)/mediastore dev --host "$(HOST)" --port "$(PORT)" --data "$(DATA)"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "mediastore needs Python 3.11 or newer; none was found. Try: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)."
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): | $(BIN)/python
	@echo "Installing what running needs (requirements/run.txt)."
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-run-* && touch $@

$(DEV_STAMP): | $(BIN)/python
	@echo "Installing what developing needs (requirements/dev.txt)."
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.installed-dev-* && touch $@

.PHONY: setup
setup: $(DEV_STAMP) ## Make .venv with everything that developing needs.

# --- testing ---------------------------------------------------------------------------------

.PHONY: test test-unit test-conformance test-integration test-simulation soak test-model test-acceptance test-full soak-faults
test: $(DEV_STAMP) ## Every test that needs PyPI packages alone.
	@$(PYTEST) -n 2 --dist worksteal tests

test-unit: $(DEV_STAMP) ## No I/O: pure code, and the code base's own rules.
	@$(PYTEST) tests/unit

test-conformance: $(DEV_STAMP) ## One suite that every chunk store passes.
	@$(PYTEST) tests/conformance

test-integration: $(DEV_STAMP) ## Real Postgres, real chunk stores, one room at a time.
	@$(PYTEST) -n 2 tests/integration

test-simulation: $(DEV_STAMP) ## Seeded interleavings and crashes.
	@$(PYTEST) -n 2 tests/simulation

soak: $(DEV_STAMP) ## New simulations until stopped, or for SOAK_MINUTES; WORLD=storm-17 runs one again.
	@PYTHONPATH=.:gc $(BIN)/python -m tests.simulation.soak $(if $(SOAK_MINUTES),--minutes $(SOAK_MINUTES)) $(WORLD)

test-model: $(DEV_STAMP) ## The models of docs/model, each with and without its guards; needs spin and gcc.
	@$(PYTEST) --full -n 2 --dist worksteal tests/model

test-acceptance: $(DEV_STAMP) ## The whole service as a client and an operator meet it.
	@$(PYTEST) tests/acceptance

test-full: $(DEV_STAMP) ## Everything, on system Postgres, with MinIO, toxiproxy, nginx, HAProxy, Envoy, REDbot, node, Chromium and spin.
	@.ci/full $(BIN)/python

soak-faults: $(DEV_STAMP) ## The soaks with real faults, longer: ROUNDS=200 SEED=1; needs what test-full needs.
	@PATH="$(CURDIR)/.tools/bin:$$PATH" MEDIASTORE_SOAK_ROUNDS=$(ROUNDS) MEDIASTORE_TEST_SEED=$(SEED) \
		$(PYTEST) --full -s tests/acceptance/test_soak.py

# --- checking --------------------------------------------------------------------------------

.PHONY: check fmt docs lock clean
check: $(DEV_STAMP) ## Formatting, lint, types, import rules, generated docs, the code base's own rules.
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy mediastore gc/mediastore_gc docs/generate.py tests
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python docs/generate.py --check
	@$(PYTEST) -q tests/unit/test_tidy.py

fmt: $(DEV_STAMP) ## Format, and mend what ruff can mend.
	@$(BIN)/ruff check --fix-only $(CODE)
	@$(BIN)/ruff format $(CODE)

docs: $(DEV_STAMP) ## Write the reference pages that are made from the code.
	@$(BIN)/python docs/generate.py

# --universal: one lock for every supported Python and platform. The dev lock is the widest; the
# others take its versions.
COMPILE = $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(LOCK_FLAGS) \
	pyproject.toml --group build
lock: ## Refresh requirements/*.txt from pyproject.toml; LOCK_FLAGS=--upgrade takes new versions.
	@test -n "$(PYTHON)" || { echo "mediastore needs Python 3.11 or newer" >&2; exit 1; }
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock \
		&& $(VENV)-lock/bin/python -m pip --quiet install uv==$(UV_VERSION); }
	@$(COMPILE) --extra local --group dev --output-file requirements/dev.txt
	@$(COMPILE) --extra local --constraint requirements/dev.txt --output-file requirements/run.txt
	@$(COMPILE) --constraint requirements/dev.txt --output-file requirements/service.txt

clean: ## Remove .venv and caches; data stays.
	@rm -rf $(VENV) $(VENV)-lock .tools .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
