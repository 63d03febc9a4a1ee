# What one does in a clone: run the demo, the tests, the checks, the documentation. `make` alone lists it.
# Everything runs in .venv, which is made at the first use with any Python from 3.10 on: make demo PYTHON=python3.12

PYTHON ?= python3
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input -qq
# The stamp is written last and holds the folder that .venv was made in: scripts in it point there.
READY := $(VENV)/.ready
# Stands while the set-up is under way; where it has been left behind, .venv is made anew.
UNFINISHED := $(VENV)/.unfinished

ifneq ($(wildcard $(READY)),)
ifneq ($(shell cat $(READY)),$(CURDIR))
$(shell mv $(READY) $(UNFINISHED))
endif
endif

.PHONY: help demo test test-services lint docs bench clean distclean
.DEFAULT_GOAL := help

help:
	@echo 'make demo    a census of the Python standard library, run in parallel   DEMO_ARGS="..."'
	@echo 'make test    all checks and tests                                       PYTEST_ARGS="..."'
	@echo 'make lint    the checks alone: ruff, mypy, import-linter'
	@echo 'make test-services   all of these, and tests against real services where they are there'
	@echo 'make docs    the documentation, in docs/_build/html'
	@echo 'make bench   how many tasks a second this machine runs                  BENCH_ARGS="..."'
	@echo 'make clean   remove what these made, except .venv; make distclean removes that too'

demo: $(READY)
	@$(PY) examples/census.py $(DEMO_ARGS)

# The tests run also when a check has failed, and come last: the last line is their result.
test: $(READY)
	@status=0; $(MAKE) --no-print-directory lint || { status=1; echo 'The checks above FAILED; the tests follow.'; }; \
	$(PY) -m pytest $(PYTEST_ARGS) || status=1; exit $$status

# With what clouds' own libraries the tests of their providers need; without them these are skipped.
test-services: $(VENV)/.ready-services
	@$(MAKE) --no-print-directory test PYTEST_ARGS="-m 'not soak' $(PYTEST_ARGS)"

lint: $(READY)
	@status=0; $(PY) -m ruff check . || status=1; \
	$(PY) -m mypy || status=1; \
	$(VENV)/bin/lint-imports --no-logo || status=1; exit $$status

docs: $(VENV)/.ready-docs
	@$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo 'docs/_build/html/index.html'

bench: $(READY)
	@$(PY) -m parsl.benchmark.perf --config benchmarks/htex.py $(BENCH_ARGS)

clean:
	rm -rf build census dist docs/_build .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	{ echo "Python 3.10 or later is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); this takes a minute, once."
	@clear=; if test -e $(UNFINISHED); then clear=--clear; fi; \
	mkdir -p $(VENV) && touch $(UNFINISHED) && $(PYTHON) -m venv $$clear $(VENV) && echo '$(CURDIR)' > $(UNFINISHED)
	@$(PIP) install -c constraints.txt editables hatchling
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@mv $(UNFINISHED) $@

$(VENV)/.ready-services: $(READY)
	@echo "Installing the clouds' libraries that the tests use."
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[services]'
	@touch $@

$(VENV)/.ready-docs: $(READY)
	@echo 'Installing what the documentation is built with.'
	@$(PIP) install -c constraints.txt --no-build-isolation -e '.[docs]'
	@touch $@
