# `make demo`, `make test` and `make lint` work on a fresh clone: each makes .venv and installs what it needs.
# Another interpreter (3.11 or later): make test PYTHON=python3.12; more processes: make test WORKERS=8

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
INSTALLED := .venv/.installed
LOWEST := .venv-lowest/.installed
SITE := .venv/.installed-docs
# found by path: else Python takes the clone itself, whose name is that of the package, for it in the folder beside
EDITABLE := --config-settings editable_mode=compat --editable

.PHONY: demo test test-lowest test-browser lint format docs wheel

demo: $(INSTALLED)
	$(BIN)/mug demo --out runs/demo

# in several processes, of one thread each; one that has done its part takes over half of what another has left
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal

# with the lowest release line of each dependency that pyproject.toml admits
test-lowest: $(LOWEST)
	.venv-lowest/bin/python -m pytest -q

# the pages in a real browser: installs Debian's Chromium if there is none, for which it has to be root
test-browser: $(INSTALLED)
	@command -v chromium chromium-browser google-chrome > /dev/null || \
		{ test "$$(id -u)" = 0 && apt-get update && apt-get install --yes --no-install-recommends chromium; } || \
		{ echo "no Chromium: run 'sudo apt-get install chromium', then 'make test-browser' again" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet $(EDITABLE) '.[browser]'
	$(BIN)/python -m pytest -q -m browser

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the site, in site/; a link or a name that leads nowhere is an error
docs: $(SITE)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	$(BIN)/python -m pytest -q tests/docs/test_notebook.py tests/docs/test_site.py

wheel: $(INSTALLED)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls -t dist/*.whl | head -n 1

# done again only when the requirements change; one call of pip, so that torch and torchvision are of one build
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(EDITABLE) '.[dev]'
	$(BIN)/mug doctor
	touch $@

$(SITE): $(INSTALLED)
	$(BIN)/python -m pip install --quiet $(EDITABLE) '.[dev,docs]'
	touch $@

$(LOWEST): pyproject.toml .ci/lowest.py
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python .ci/lowest.py > .venv-lowest/lowest.txt
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet --constraint .venv-lowest/lowest.txt $(EDITABLE) '.[test]'
	.venv-lowest/bin/mug doctor
	touch $@
