# Every target does its own set-up in .venv; a machine needs only Python (3.11 or 3.12) and make.
PYTHON ?= python3
BIN := .venv/bin
USERS := .venv/.users
DEVELOPERS := .venv/.developers

.PHONY: help setup demo serve test test-long clients check format docs bench lock clean
help:
	@echo "make demo | serve | test | test-long | clients | check | bench | docs | setup | format | lock | clean"

$(BIN)/python:
	$(PYTHON) -m venv .venv

$(USERS): requirements/users.txt pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/users.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPERS): requirements/developers.txt $(USERS)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/developers.txt
	@touch $@

setup: $(DEVELOPERS)

demo: $(USERS)
	$(BIN)/tapedeck demo

serve: $(USERS)
	$(BIN)/tapedeck serve

test: $(DEVELOPERS)
	$(BIN)/pytest -m "not long"

test-long: $(DEVELOPERS)
	$(BIN)/pytest

# The clients of other languages and of other environments; needs Node's npm.
CLIENTS := tests/clients
clients: $(DEVELOPERS)
	npm ci --prefix $(CLIENTS) --ignore-scripts --no-audit --no-fund --loglevel=error
	test -x $(CLIENTS)/.venv-fastmcp/bin/python || $(PYTHON) -m venv $(CLIENTS)/.venv-fastmcp
	$(CLIENTS)/.venv-fastmcp/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(CLIENTS)/fastmcp.txt
	$(BIN)/pytest $(CLIENTS)

check: $(DEVELOPERS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEVELOPERS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# docs/tools.md, from a demo.
docs: $(DEVELOPERS)
	$(BIN)/python -m tests.tools_page

bench: $(DEVELOPERS)
	$(BIN)/python bench/ledger.py
	$(BIN)/python bench/server.py

# For maintainers: newer versions of everything, with hashes and without any registry's name.
lock: | $(BIN)/python
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --group build -o requirements/users.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --group build --group dev -c requirements/users.txt \
		-o requirements/developers.txt

clean:
	rm -rf .venv dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
