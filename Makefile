# The engine's commands; `make` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
export DEBIAN_FRONTEND := noninteractive

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STUDIO_VENV := .venv-label-studio
STUDIO_LOCK := demo/stack/label-studio-requirements.txt
UV_PIN := $(shell sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements.txt)

# An environment is current when it holds a stamp named after what it was made from.
digest = $(shell cat $(1) | sha256sum | cut -c1-16)
STAMP := $(VENV)/made-from-$(call digest,requirements.txt pyproject.toml)
STUDIO_STAMP := $(STUDIO_VENV)/made-from-$(call digest,$(STUDIO_LOCK))

# The demo's imagery; as in `make demo SCENES=20`.
SCENES ?=
SIZE ?=
SEED ?=
DEMO_ARGS = $(if $(SCENES),--scenes $(SCENES)) $(if $(SIZE),--size $(SIZE)) \
	$(if $(SEED),--seed $(SEED))
# More arguments for pytest; as in `make test TESTS="tests/unit -x"`.
TESTS ?=

.PHONY: help
help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: demo
demo: setup ## Start everything, run a night through Airflow, print its table and the links
	@$(BIN)/python -m demo.stack demo $(DEMO_ARGS)

.PHONY: up down status logs
up: setup ## Start S3, Label Studio and Airflow on this machine
	@$(BIN)/python -m demo.stack up
down: ## Stop them
	@$(BIN)/python -m demo.stack down
status: ## Say which of them work
	@$(BIN)/python -m demo.stack status
logs: ## Print the end of their logs
	@$(BIN)/python -m demo.stack logs

.PHONY: test lint format
test: setup chromium ## Run the whole test suite
	@$(BIN)/python -m pytest $(TESTS)
lint: setup ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
format: setup ## Put the code in style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: setup
setup: $(STAMP) $(STUDIO_STAMP) ## Make the two environments from their locks
	@:

# Installs with uv, and with plain pip where uv can't: $(call install,environment,arguments)
install = $(BIN)/uv pip install --python $(1)/bin/python $(2) \
	|| $(1)/bin/python -m pip install --no-deps $(2)

# Debian keeps what makes environments in a package of its own: $(call make-venv,environment)
define make-venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Python 3.11 is needed: name it, as in make PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || [ "$$(id -u)" != 0 ] \
		|| { apt-get update -qq && apt-get install -y -qq python3.11-venv >/dev/null; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) \
		|| { echo "as root: apt-get install python3.11-venv" >&2; exit 1; }
endef

$(STAMP):
	$(call make-venv,$(VENV))
	@echo "Installing the engine's packages (5 GB with torch; minutes the first time) …"
	@$(BIN)/python -m pip install --quiet $(UV_PIN)
	@$(call install,$(VENV),-r requirements.txt)
	@$(call install,$(VENV),--no-deps -e .)
	@rm -f $(VENV)/made-from-* && touch $@

$(STUDIO_STAMP): | $(STAMP)
	$(call make-venv,$(STUDIO_VENV))
	@echo "Installing Label Studio …"
	@$(call install,$(STUDIO_VENV),-r $(STUDIO_LOCK))
	@rm -f $(STUDIO_VENV)/made-from-* && touch $@

# For the oldest Python 3.11 there is: Debian 12 has 3.11.2.
COMPILE = $(BIN)/uv pip compile --quiet --python-version 3.11 --no-header $(UPGRADE)
.PHONY: lock
lock: $(STAMP) ## Remake both locks; with UPGRADE=--upgrade to the newest versions
	$(COMPILE) pyproject.toml --group dev -o requirements.txt
	$(COMPILE) $(STUDIO_LOCK:.txt=.in) -o $(STUDIO_LOCK)

.PHONY: chromium
chromium: # The browser of the tests in tests/browser
	@command -v chromium >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing chromium …"; \
			apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
		else \
			echo "The browser tests need chromium; as root: apt-get install chromium" >&2; \
		fi; }
