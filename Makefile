# Every target does its own set-up in .venv; a machine needs only Python (3.11 or 3.12) and make.
PYTHON ?= python3
BIN := .venv/bin
USERS := .venv/.users
DEVELOPERS := .venv/.developers
TOOLS := .tools
TOOLS_READY := .tools/.ready
CROSSCHECK := .venv-crosscheck/.installed

.PHONY: help setup demo serve compiled test test-long clients clients-ready check crosscheck format docs pictures bench bench-collector soak soak-wheel monitoring release wheel-test lock clean
help:
	@echo "make demo | serve | test | test-long | clients | check | crosscheck | bench | bench-collector | soak | soak-wheel | docs | pictures | setup | format | clean"
	@echo "make release | wheel-test | monitoring | lock: for maintainers"

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

# The tests as bytecode, once for all workers, each of which takes twice as long to begin without.
compiled: $(DEVELOPERS)
	PYTHONDONTWRITEBYTECODE= $(BIN)/pytest --collect-only -q -m "not long" | tail -n 1

test: $(DEVELOPERS)
	$(BIN)/pytest -n 4 --dist worksteal -m "not long"

test-long: $(DEVELOPERS)
	HYPOTHESIS_PROFILE=long $(BIN)/pytest

# The clients of other languages and of other environments; needs Node's npm. Once they are there, `make test`
# tries them too.
CLIENTS := tests/clients
clients: clients-ready
	$(BIN)/pytest $(CLIENTS)

clients-ready: $(DEVELOPERS)
	npm ci --prefix $(CLIENTS) --ignore-scripts --no-audit --no-fund --loglevel=error
	test -x $(CLIENTS)/.venv-fastmcp/bin/python || $(PYTHON) -m venv $(CLIENTS)/.venv-fastmcp
	$(CLIENTS)/.venv-fastmcp/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $(CLIENTS)/fastmcp.txt

check: $(DEVELOPERS) $(TOOLS_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -x $(TOOLS)/bin/hadolint ]; then $(TOOLS)/bin/hadolint infra/Dockerfile; else echo "no hadolint here"; fi
	@if command -v shellcheck >/dev/null; then shellcheck infra/*.sh; else echo "no shellcheck here"; fi
	$(BIN)/python infra/audit.py $(TOOLS)/bin/pip-audit requirements/runtime.txt

# What looks at a release has an environment of its own, so that it never stands among what is released.
$(TOOLS_READY): requirements/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

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

# docs/tools.md, from a demo.
docs: $(DEVELOPERS)
	$(BIN)/python -m tests.tools_page

# The goldens of tests/charts and the pictures of docs/charts.md; look at them before they are committed.
pictures: $(DEVELOPERS)
	$(BIN)/python -m tests.charts.examples

monitoring: $(DEVELOPERS)
	$(BIN)/python -m infra.monitoring.generate

# Wheel, source, bill of materials, licences and checksums; the same commit gives the same bytes.
release: $(DEVELOPERS) $(TOOLS_READY)
	rm -rf dist
	infra/build_release.sh dist

# The wheel and its locked dependencies in an empty environment outside the checkout.
wheel-test: $(DEVELOPERS)
	$(BIN)/pytest -m long tests/infra/test_release.py

bench: $(DEVELOPERS)
	$(BIN)/python bench/ledger.py
	$(BIN)/python -m bench.analytics
	$(BIN)/python -m bench.server
	$(BIN)/python -m bench.charts

bench-collector: $(DEVELOPERS)
	$(BIN)/python -m bench.collector
	$(BIN)/python -m bench.cold_start

# make soak MINUTES=10 SEED=1
MINUTES ?= 10
soak: $(DEVELOPERS)
	$(BIN)/python -m tests.soak.run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# make soak-wheel MINUTES=30: the installed wheel, two askers over SSE each second; PASS or FAIL for each goal.
soak-wheel: $(DEVELOPERS)
	$(BIN)/python -m tests.soak.wheel --minutes $(MINUTES)

# For maintainers: newer versions of everything, with hashes and without any registry's name.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
lock: | $(BIN)/python
	$(BIN)/pip install --quiet uv
	$(LOCK) --upgrade pyproject.toml --group build -o requirements/users.txt
	$(LOCK) --upgrade pyproject.toml --group build --group dev -c requirements/users.txt -o requirements/developers.txt
	$(LOCK) -c requirements/users.txt pyproject.toml -o requirements/runtime.txt
	$(LOCK) -c requirements/users.txt --group build -o requirements/build.txt
	$(LOCK) --upgrade --group tools -o requirements/tools.txt
	$(LOCK) --upgrade requirements/crosscheck.in -o requirements/crosscheck.txt

clean:
	rm -rf .venv .venv-crosscheck .tools dist .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
