# make demo   trains on the documentation that comes with Python and prints a sample
# make test   runs the tests
# Both make a virtual environment in .venv first: a system Python need not, and on Debian may not, have anything installed into it.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint mutants clean

demo: .venv/installed
	$(BIN)/charrnn train

test: .venv/tested
	$(BIN)/python -m pytest

lint: .venv/linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint src
	$(BIN)/codespell

mutants: .venv/tested
	$(BIN)/python tests/mutants.py

clean:
	rm -rf .venv build src/*.egg-info src/charrnn/*.so

# Where ensurepip is missing (Debian without python3-venv), the system's pip installs one into the environment.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install -q pip; } \
	|| { rm -rf .venv; echo "Python can make no virtual environment; on Debian and Ubuntu: apt install python3-venv python3-dev"; exit 1; }

.venv/installed: .venv/bin/pip pyproject.toml setup.py $(wildcard src/charrnn/*.p* src/charrnn/*.h)
	$(BIN)/pip install --disable-pip-version-check -q -e . || { echo "If Python.h is missing, on Debian and Ubuntu: apt install python3-dev"; exit 1; }
	touch $@

.venv/tested: .venv/installed
	$(BIN)/pip install --disable-pip-version-check -q "pytest>=8" "hypothesis>=6.100"
	touch $@

.venv/linted: .venv/bin/pip
	$(BIN)/pip install --disable-pip-version-check -q ruff cython-lint codespell
	touch $@
