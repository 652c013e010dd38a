# Needs Python 3.11+ and make; everything else goes into .venv, from the hash-checked lock.

VENV := .venv
BIN := $(VENV)/bin
# Port of `make run`; 0 for any free port.
PORT ?= 8161
# Port of its dashboard.
DASHBOARD_PORT ?= 8163
# Number of processes that run the tests.
JOBS ?= 2

# The first of these that works (names of pyenv may not), is 3.11 or newer, and can make environments.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$name -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; \
	done)

LOCK := requirements-dev.lock
DEPENDENCIES := $(VENV)/.dependencies
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Tests that `make test-plain` leaves out: those of the bench and of the sources, which start no agent, and those of whole
# routers and commands, which take long. What they use is tested part by part.
READING := $(patsubst %,tests/test_%.py,architecture citations docs english)
WHOLE := $(addprefix tests/,access adversity cli client relay/pools web)
NOT_PLAIN := $(patsubst %,--ignore=%,tests/bench $(WHOLE) $(READING))
# A copy of the sources without compiled modules.
PLAIN := $(VENV)/plain

.PHONY: help install run test test-slow test-browser check format lint types architecture bench bench-micro bench-compare \
	bench-fleet bench-peers lock clean compiled test-plain docs pages soak fuzz fuzz-api plain

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "pagent needs Python 3.11 or newer with its venv module (on Debian: python3-venv)." >&2; \
		echo "Name it with: make PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi
	$(PYTHON) -m venv $(VENV)

$(DEPENDENCIES): $(LOCK) | $(BIN)/python
	@echo "installing the dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	@touch $@

# Constants of these two become part of the compiled modules.
COMPILED := $(shell cat pagent/compiled.txt) pagent/compiled.txt $(wildcard pagent/*/*.c) \
	pagent/limits.py pagent/router_limits.py

$(INSTALLED): pyproject.toml setup.py $(COMPILED) $(DEPENDENCIES)
	@# The time stamp is from before the build: a source that changes during the build is compiled again.
	@touch $@.begun
	@# Python prefers a compiled module to its source, and would load one whose source was removed.
	@find pagent -name '*.so' -delete
	@test "$(PAGENT_COMPILE)" = 0 || test -z "$$(command -v cc)" || \
		echo "compiling pagent, which takes a few minutes; PAGENT_COMPILE=0 leaves it out"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mv $@.begun $@

install: $(INSTALLED)  ## Make .venv with all dependencies and pagent

run: $(INSTALLED)  ## Start a router with an agent and a job, as a demonstration; PORT=8080 chooses the port
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pagent route --with-agent --log-level warning --set "identity.uid='demo'" \
		--set server.enabled=False --set control.port=$(PORT) \
		--set dashboard.enabled=True --set dashboard.port=$(DASHBOARD_PORT) -- \
		$(BIN)/python -m http.server {port} --bind 127.0.0.1 --directory config/www

test: $(INSTALLED)  ## Run the tests; ARGS="-k name" passes options to pytest
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-slow: $(INSTALLED)  ## Run the tests that take many seconds each
	$(BIN)/python -m pytest -n $(JOBS) -m slow $(ARGS)

# The tests of a module share one browser and one router, so that they run in one process.
test-browser: $(INSTALLED)  ## Run the tests of the dashboard in Chromium, which make check leaves out
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m browser tests/browser $(ARGS)

# The variables, and not -O, because they also apply to the agents that tests start. The asserts of the tests work, because
# pytest rewrites them. Compiled modules keep their asserts, so nothing is compiled here.
test-plain: $(INSTALLED) plain  ## Run the tests with nothing compiled, without asserts (-O), on asyncio's own loop
	cd $(PLAIN) && PYTHONPATH=$(CURDIR)/$(PLAIN) PYTHONOPTIMIZE=1 PAGENT_LOOP=asyncio $(CURDIR)/$(BIN)/python -m pytest \
		-n $(JOBS) -W ignore::pytest.PytestConfigWarning $(NOT_PLAIN) $(ARGS)

plain:
	rm -rf $(PLAIN)
	mkdir -p $(PLAIN)
	tar -c --exclude='*.so' --exclude=__pycache__ --exclude=bench/results bench config docs pagent tests *.* Makefile LICENSE \
		| tar -x -C $(PLAIN)

# Nothing fails if modules that should be compiled are not, so this checks it.
compiled: $(INSTALLED)
	@test -z "$$(command -v cc)" || test "$(PAGENT_COMPILE)" = 0 || $(BIN)/python -c 'import pagent, sys; \
		pagent.is_compiled() or sys.exit("the installed pagent is not compiled, although there is a C compiler")'

check: compiled lint types architecture docs test-plain test  ## Run all checks: format, lint, types, architecture, docs, tests

format: $(INSTALLED)  ## Format the code, and fix what the linter can fix
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: $(INSTALLED)  ## Check the format and lint the code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)  ## Check the types of the package
	$(BIN)/mypy

architecture: $(INSTALLED)  ## Check which module imports what
	$(BIN)/python -m pytest -q tests/test_architecture.py

docs: $(INSTALLED)  ## Build the documentation into build/docs, warnings as errors
	$(BIN)/python -m sphinx --quiet -W --keep-going -b html docs build/docs

pages: $(INSTALLED)  ## Generate the pages and files that are made from the sources
	$(BIN)/python -m tests.kit.limits_page > docs/limits.rst
	$(BIN)/python -m tests.kit.floors_page > docs/floors.rst
	$(BIN)/python -m tests.kit.metrics_page > docs/metrics.rst
	$(BIN)/python -m tests.kit.commands_page > docs/reference.rst
	$(BIN)/python -m tests.kit.errors_page > docs/errors.rst
	$(BIN)/python -m pagent.config.reference agent > pagent/config/default.yaml
	$(BIN)/python -m pagent.config.reference router > pagent/config/router.yaml

MINUTES ?= 10
soak: $(INSTALLED)  ## Load an agent with faults for MINUTES=10, then check that it has released everything
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(ARGS)

SECONDS_EACH ?= 60
# Without compiled modules, because atheris is guided by the coverage of Python code.
fuzz: $(INSTALLED) plain  ## Fuzz the parsers with atheris, each target for SECONDS_EACH=60
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[fuzz]'
	PYTHONSAFEPATH=1 PYTHONPATH=$(PLAIN) $(BIN)/python -m tests.fuzz --seconds $(SECONDS_EACH) $(ARGS)

# In an environment of its own: what it needs would change versions of the lock. No schema can say what a cursor is, or
# which fields of conditions are valid, so valid data may be refused.
fuzz-api: $(INSTALLED)  ## Try /v1 of a router with schemathesis; ARGS="--max-examples 500" passes options to it
	$(PYTHON) -m venv $(VENV)/fuzz-api
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz-api"])' \
		| xargs $(VENV)/fuzz-api/bin/python -m pip install --quiet --disable-pip-version-check
	$(BIN)/python -m tests.fuzz.api_site $(VENV)/fuzz-api/bin/schemathesis run '{url}/openapi.json' \
		--header 'Authorization: Bearer {token}' --exclude-path-regex '/(events|exec)$$' \
		--exclude-checks positive_data_acceptance $(ARGS)

bench: $(INSTALLED)  ## Run the benchmark; ARGS passes options
	$(BIN)/python -m bench $(ARGS)

bench-micro: $(INSTALLED)  ## Measure the parts without I/O
	$(BIN)/python -m bench.micro $(ARGS)

bench-fleet: $(INSTALLED)  ## Measure a router with 1,000 simulated agents
	$(BIN)/python -m bench.fleet $(ARGS)

bench-compare: $(INSTALLED)  ## Compare this tree with that of BASE=<commit>
	@test -n "$(BASE)" || { echo "make bench-compare BASE=<commit>" >&2; exit 1; }
	$(BIN)/python -m bench.compare "$(BASE)" $(ARGS)

# With RUNLEVEL=1 Debian does not start them as services.
bench-peers:  ## Install nginx, haproxy and, with npm, configurable-http-proxy for the benchmark (Debian, as root)
	RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends nginx-light haproxy
	@if command -v npm >/dev/null; then npm install --prefix $(VENV) --no-audit --no-fund configurable-http-proxy; fi

lock:  ## Update the lock from pyproject.toml (needs the package index)
	rm -rf $(VENV)/lock
	$(PYTHON) -m venv $(VENV)/lock
	$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check 'pip-tools>=7.5'
	CUSTOM_COMPILE_COMMAND='make lock' $(VENV)/lock/bin/pip-compile --quiet --upgrade --extra dev --generate-hashes \
		--allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--no-emit-options --output-file $(LOCK) pyproject.toml

clean:  ## Remove everything that was built, and .venv
	find . -name '*.so' -not -path './.venv/*' -delete
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
