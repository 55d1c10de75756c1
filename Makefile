# make demo         trains on the documentation that comes with Python and prints a sample
# make test         runs the tests
# make wheel-check  builds the wheel and runs the tests with it on every Python of this machine
# All make a virtual environment in .venv first: a system Python need not, and on Debian may not, have anything installed into it.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q

.PHONY: demo test lint wheel-check mutants clean

demo: .venv/installed
	$(BIN)/charrnn train

test: .venv/tested
	$(BIN)/python -m pytest

lint: .venv/linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint src examples
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/zizmor --offline --pedantic -q .
	$(BIN)/actionlint
	$(BIN)/sp-repo-review .

wheel-check: .venv/shipped
	$(BIN)/python tools/wheel_check.py

docs: .venv/documented
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

release-check: .venv/shipped
	$(INSTALL) cibuildwheel ziglang
	$(BIN)/python tools/release_check.py

# Kernels with a hook on every line, in a folder of their own: slow, and for Python 3.11, where the hook is the old one.
coverage: .venv/bin/pip
	$(INSTALL) "pytest>=9" "hypothesis>=6.100" coverage

mutants: .venv/tested
	$(BIN)/python tests/mutants.py

clean:
	rm -rf .venv build src/*.egg-info src/charrnn/*.so

# Where ensurepip is missing (Debian without python3-venv), the system's pip installs one into the environment.
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python .venv/bin/python install -q pip; } \
	|| { rm -rf .venv; echo "Python can make no virtual environment; on Debian and Ubuntu: apt install python3-venv python3-dev"; exit 1; }
	$(INSTALL) "pip>=25.1"  # knows --group

.venv/installed: .venv/bin/pip pyproject.toml setup.py $(wildcard src/charrnn/*.p* src/charrnn/*.h)
	$(INSTALL) -e . || { echo "If Python.h is missing, on Debian and Ubuntu: apt install python3-dev"; exit 1; }
	touch $@

.venv/tested: .venv/installed
	$(INSTALL) --group test
	touch $@

.venv/linted: .venv/installed
	$(INSTALL) --group lint
	touch $@

.venv/documented: .venv/installed
	$(INSTALL) --group docs
	touch $@

.venv/shipped: .venv/bin/pip pyproject.toml
	$(INSTALL) --group ship
	touch $@
