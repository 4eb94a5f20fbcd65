# The front door. Every target sets up what it needs; only Python 3.11 or newer, make and a C compiler are assumed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help install demo test check bench bench-all soak docs clean lock
help:
	@echo "make demo     set up, simulate, train, evaluate and write demo/report.html"
	@echo "make test     set up and run the whole test suite"
	@echo "make check    ruff, mypy --strict, import-linter"
	@echo "make install  the environment only (.venv, about 6 GB, most of it torch)"
	@echo "make bench    reading, beside memory and the usual ways (15 minutes)    make bench-all   every benchmark"
	@echo "make soak     faults, repeated    make docs   the documentation"

install: $(STAMP)

$(STAMP): requirements/lock.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Groundswell needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): about 6 GB, a few minutes"
	@if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/lock.txt && \
	  uv pip install --quiet --python $(BIN)/python --no-deps -e . ; \
	else \
	  $(BIN)/python -m pip install --quiet --require-hashes -r requirements/lock.txt && \
	  $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e . ; \
	fi
	@touch $@

demo: install
	$(BIN)/groundswell demo das --out demo

test: install
	$(BIN)/python -m pytest -m "not soak"

check: install
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m benchmarks reading reading_cold reading_spread reading_memory reading_preprocess

bench-all: install
	$(BIN)/python -m benchmarks

soak: install
	$(BIN)/python -m pytest -m soak --timeout 7200

docs: install
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

lock:
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --all-extras --python-version 3.11 \
	  pyproject.toml -o requirements/lock.txt

clean:
	rm -rf demo runs docs/_build .mypy_cache .ruff_cache .pytest_cache
