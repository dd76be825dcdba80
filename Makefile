# Every target does its own set-up in .venv; a machine needs only Python (3.11 or 3.12) and make.
PYTHON ?= python3
BIN := .venv/bin
USERS := .venv/.users
DEVELOPERS := .venv/.developers
CROSSCHECK := .venv-crosscheck/.installed

.PHONY: help setup demo serve test test-long check crosscheck format bench lock clean
help:
	@echo "make demo | serve | test | test-long | check | crosscheck | bench | setup | format | lock | clean"

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

check: $(DEVELOPERS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Other people's levels from the same trades; their libraries pin older numpy and pandas.
$(CROSSCHECK): requirements/crosscheck.txt
	$(PYTHON) -m venv .venv-crosscheck
	.venv-crosscheck/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/crosscheck.txt
	@touch $@

crosscheck: $(CROSSCHECK)
	.venv-crosscheck/bin/python -m pytest -q -p no:cacheprovider tests/crosscheck

format: $(DEVELOPERS)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEVELOPERS)
	$(BIN)/python bench/ledger.py
	$(BIN)/python -m bench.analytics

# For maintainers: newer versions of everything, with hashes and without any registry's name.
lock: | $(BIN)/python
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --group build -o requirements/users.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url pyproject.toml --group build --group dev -c requirements/users.txt \
		-o requirements/developers.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url requirements/crosscheck.in -o requirements/crosscheck.txt

clean:
	rm -rf .venv .venv-crosscheck dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
