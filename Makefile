# Everything a developer types. Needs Python 3.11 or newer, make, and a package registry; nothing else.
#
#   make run      a server on 127.0.0.1:2525, from nothing
#   make test     all tests; as root on Debian it first installs the mail clients that they talk to
#   make check    style, types and layers
#   make bench    against Postfix and aiosmtpd, on this machine (QUICK=1 for a short run)
#   make bench-relay   relaying, beside Postfix, Haraka, OpenSMTPD and Exim
#   make fuzz     a target of fuzz/ with atheris: make fuzz TARGET=smtp_server SECONDS=600
#
# PYTHON picks the interpreter the environment is made from, VENV where it is.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TARGET ?= smtp_server
SECONDS ?= 60

BIN := $(VENV)/bin
# In a process of its own: asyncpg's compiled part has crashed once at the end of the long one, for a reason that is not known yet.
APART := tests/sinks/test_directories.py
CONFIG := examples/penstock.toml
ADDRESS := 127.0.0.1:2525
MAIL := penstock-data

.PHONY: run test check bench bench-relay profile fuzz clean
.DELETE_ON_ERROR:

run: $(VENV)/.stamp-run
	@echo
	@echo "Penstock listens on $(ADDRESS). In another terminal, send it a first message:"
	@echo
	@echo "    $(BIN)/penstock send --to alice@example.com --subject Hello"
	@echo "    swaks --server $(ADDRESS) --from you@client.example --to alice@example.com"
	@echo
	@echo "and see where it went:"
	@echo
	@echo "    cat $(MAIL)/mail/example.com/alice/new/*       (the mailbox)"
	@echo "    ls $(MAIL)/archive                             (a copy, kept by a sink)"
	@echo
	@echo "Stop the server with Ctrl-C."
	@echo
	@exec $(BIN)/penstock serve --config $(CONFIG)

test: $(VENV)/.stamp-dev
	@sh .ci/packages
	$(BIN)/python -m pytest --durations=15 $(if $(ARGS),$(ARGS),--ignore=$(APART))
	$(if $(ARGS),,$(BIN)/python -m pytest $(APART))

check: $(VENV)/.stamp-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.stamp-bench
	@sh .ci/packages
	$(BIN)/python -m bench.run $(if $(QUICK),--quick) $(ARGS)

bench-relay: $(VENV)/.stamp-bench
	@sh .ci/packages
	$(BIN)/python -m bench.relay $(if $(QUICK),--quick) $(ARGS)

profile: $(VENV)/.stamp-bench
	@sh .ci/packages
	$(BIN)/python -m bench.profiling $(ARGS)

fuzz: $(VENV)/.stamp-fuzz
	$(BIN)/python -m fuzz.run $(TARGET) --seconds $(SECONDS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# One stamp for each set of packages: installing happens again only when pyproject.toml changes.

$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.stamp-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.stamp-run

$(VENV)/.stamp-fuzz: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	@touch $@ $(VENV)/.stamp-run $(VENV)/.stamp-dev

$(VENV)/.stamp-bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@ $(VENV)/.stamp-run $(VENV)/.stamp-dev

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "$(PYTHON) is not Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "could not make $(VENV); on Debian the package python3-venv is needed" >&2; exit 1; }
