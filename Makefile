# make demo           trains on the documentation that comes with Python and prints a sample
# make test           runs the tests
# make lint           runs the linters and type checkers
# make docs           builds the site into build/docs; make man, a manual page into build/man
# make wheel-check    builds the wheel and tests it on every Python of this machine
# make release-check  what takes too long for each change: other Pythons, processors, architectures
# make models         trains and installs the models of charrnn.pretrained (a minute or two)
# make sanitize       runs the memory tests under AddressSanitizer and UBSan
# make trust          kills, failing disks and memory, hostile files, Ctrl-C, races, random
#                     configurations in all ways: each briefly;
#                     make fuzz RUNS=3000000 runs one of them at length
# make explore        the tests that Hypothesis draws examples for, with others than make test
# make interop        compares with PyTorch and ONNX, which it installs first
# make page-check     opens trace pages in headless Chromium (as root on Debian, apt installs it)
# make site-check     builds the site and opens README.md and every page in headless Chromium
# All of them first create a virtual environment in .venv and install only there.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -q
REQUIRES := import tomllib; file = open("pyproject.toml", "rb"); \
    print(*tomllib.load(file)["build-system"]["requires"])
BUILDS = $$($(BIN)/python -c '$(REQUIRES)')

# The harnesses in tests/trust/. RUNS= says how long they run; faults, flips, memcheck and builds
# always run in full.
# make codec OPTIONS="--size 10000000 --flips 10000" takes hours.
TRUST := fuzz flips kills faults memory interrupts moments soak builds memcheck races records \
    differential codec

.PHONY: demo test lint docs man models page-check site-check interop wheel-check release-check \
    explore coverage mutants sanitize trust $(TRUST) clean

demo: .venv/installed
	$(BIN)/charrnn train

test: .venv/tested
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m "not clock"
	$(BIN)/python -m pytest -m clock

lint: export PATH := $(CURDIR)/$(BIN):$(PATH)  # cython-lint looks for pycodestyle there
lint: .venv/linted
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ruff format --check --line-length 75 *.md docs/*.md docs/howto/*.md
	$(BIN)/cython-lint src examples
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/zizmor --offline --pedantic -q .
	$(BIN)/actionlint
	$(BIN)/sp-repo-review .

wheel-check: .venv/shipped
	$(BIN)/python tools/wheel_check.py

explore: .venv/tested
	$(BIN)/python -m pytest -q --hypothesis-profile explore $$(grep -rl "import.* given" tests)

# A CPU-only wheel of PyTorch is a tenth of the size: make interop TORCH=torch==2.13.0+cpu
TORCH ?= torch
interop: .venv/tested
	$(INSTALL) --group interop $(TORCH)
	$(BIN)/python -m pytest -q tests/storage/test_export.py

page-check: .venv/tested
	$(INSTALL) --group browser
	$(BIN)/python tools/page_check.py

site-check: docs
	$(INSTALL) --group browser
	$(BIN)/python tools/site_check.py

docs: .venv/documented
	$(BIN)/sphinx-build -q -W --keep-going docs build/docs

man: .venv/documented
	$(BIN)/sphinx-build -q -W --keep-going -b man docs build/man

models: .venv/installed
	$(BIN)/python models/build.py
	$(INSTALL) ./models

release-check: .venv/shipped
	$(INSTALL) cibuildwheel ziglang
	$(BIN)/python tools/release_check.py

# Which lines and branches the tests run, subprocesses included, and which lines of the compiled
# modules in any variant (counted by GCC's gcov). Runs in a copy, because these kernels are slow.
coverage: COPY := build/coverage
coverage: export COVERAGE_FILE := $(CURDIR)/$(COPY)/.coverage
coverage: export PYTHONPATH := $(CURDIR)/$(COPY)/src
coverage: .venv/tested
	$(INSTALL) "coverage>=7.10" $(BUILDS)
	rm -rf $(COPY) && mkdir -p $(COPY)
	cp -r src tests docs benchmarks tools examples .github Makefile LICENSE $(COPY)
	cp *.py *.toml *.md *.in *.cff $(COPY)
	find $(COPY)/src -name '*.so' -delete
	cd $(COPY) && CHARRNN_COVERAGE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd $(COPY) && $(CURDIR)/$(BIN)/coverage run -m pytest -q -n auto -m "not clock" \
	    --ignore tests/test_examples.py
	cd $(COPY) && $(CURDIR)/$(BIN)/python tests/trust/interrupts.py
	cd $(COPY) && $(CURDIR)/$(BIN)/coverage combine -q
	cd $(COPY) && $(CURDIR)/$(BIN)/coverage report --include 'src/charrnn/*' --skip-covered \
	    --show-missing
	$(BIN)/python tools/compiled_coverage.py $(COPY)

# The kernels under AddressSanitizer and UBSan, in a copy: STEPS random operations on hostile
# objects, CASES model files with extreme weights.
STEPS ?= 10000
CASES ?= 300
SANITIZERS := libasan.so libubsan.so libstdc++.so.6
MEMORY_TESTS := $(addprefix tests/network/test_,network.py extremes.py hostile.py) \
    $(addprefix tests/inference/test_codec.py::test_,round_trip foreign_bytes_are_an_error)
sanitize: COPY := build/sanitize
sanitize: export PYTHONMALLOC := malloc
sanitize: export ASAN_OPTIONS := detect_leaks=0,halt_on_error=1,allocator_may_return_null=1
sanitize: export UBSAN_OPTIONS := halt_on_error=1,print_stacktrace=1
sanitize: .venv/tested
	$(INSTALL) $(BUILDS)
	rm -rf $(COPY) && mkdir -p $(COPY)
	cp -r src tests *.py *.toml $(COPY) && find $(COPY)/src -name '*.so' -delete
	cd $(COPY) && CHARRNN_SANITIZE=1 $(CURDIR)/$(BIN)/python setup.py -q build_ext --inplace
	cd $(COPY) && LD_PRELOAD="$(foreach lib,$(SANITIZERS),$$($(CC) -print-file-name=$(lib)))" \
	    PYTHONPATH=$(CURDIR)/$(COPY)/src \
	    CHARRNN_HOSTILE_STEPS=$(STEPS) CHARRNN_HOSTILE_CASES=$(CASES) \
	    $(CURDIR)/$(BIN)/python -m pytest -q -p no:cacheprovider $(MEMORY_TESTS)

trust: $(TRUST)

fuzz: .venv/fuzzing

$(TRUST): .venv/tested
	$(INSTALL) $(BUILDS)
	$(BIN)/python tests/trust/$@.py $(if $(RUNS),--runs $(RUNS)) $(OPTIONS)

mutants: .venv/tested
	$(INSTALL) $(BUILDS)
	$(BIN)/python tests/mutants.py

clean:
	rm -rf .venv build src/*.egg-info
	find src -name '*.so' -delete

# Where ensurepip is missing (Debian without python3-venv), the system's pip installs pip there.
NO_VENV := Python cannot create a virtual environment. \
    On Debian and Ubuntu: apt install python3-venv python3-dev
.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "charrnn needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv \
	    || { $(PYTHON) -m venv --clear --without-pip .venv \
	        && $(PYTHON) -m pip --python .venv/bin/python install -q pip; } \
	    || { rm -rf .venv; echo "$(NO_VENV)"; exit 1; }
	$(INSTALL) "pip>=25.1"  # knows --group

SOURCES := $(filter-out %.pyc,$(wildcard src/charrnn/*.p* src/charrnn/*/*.p* src/charrnn/*.h))
.venv/installed: .venv/bin/pip pyproject.toml setup.py $(SOURCES)
	$(INSTALL) -e . \
	    || { echo "Is Python.h missing? On Debian and Ubuntu: apt install python3-dev"; exit 1; }
	touch $@

.venv/tested: .venv/installed
	$(INSTALL) --group test --group people --group scale --group parallel
	touch $@

.venv/fuzzing: .venv/tested
	$(INSTALL) atheris || echo "Atheris is not available here: inputs will be random"
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
