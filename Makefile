# `make demo` and `make test` do all their own set-up on a machine with Python 3.9 or newer.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.10 python3.9 python3.12 python3,$(if $(shell command -v $(p)),$(p))))
VERSION = $(patsubst python%,%,$(filter python3.%,$(notdir $(PYTHON))))
# Python 3.12 and newer have another TensorFlow, hence an environment of their own
VENV ?= .venv$(addprefix -,$(filter-out 3.9 3.10 3.11,$(VERSION)))
OUT ?= demo_output
PRODUCTS ?= 4000
BIN = $(VENV)/bin
STAMP = $(VENV)/installed
DOCS_STAMP = $(VENV)/installed-docs
# each process makes the small shop and its run once, so files of tests stay whole; in the order of
# tests/conftest.py
JOBS ?= 2
PYTEST = $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

.PHONY: demo test test-quick lint docs clean

demo: $(STAMP)
	rm -rf $(OUT)
	$(BIN)/attr-extractor demo --output_dir=$(OUT) --num_products=$(PRODUCTS)

test: lint
	$(PYTEST)

test-quick: lint
	$(PYTEST) -m "not slow"

lint: $(STAMP)
	$(BIN)/ruff check --config .ci/ruff.toml attr_extractor benchmarks deploy docs tools tests
	$(BIN)/ruff format --config .ci/ruff.toml --check attr_extractor benchmarks deploy docs tools tests
	$(BIN)/mypy
	$(BIN)/oxlint --config .ci/oxlint.json attr_extractor/web/static

# the tables of the reference import the package, so the site is built in its environment
docs: $(DOCS_STAMP)
	$(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --editable ".[dev,docs]"
	$(BIN)/python -m pip check
	@touch $@

# pyenv runs a Python that is installed and not chosen only where its version is named
$(STAMP): export PYENV_VERSION ?= $(VERSION)
$(STAMP): setup.cfg setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 9) else f"error: Python {v[0]}.{v[1]} is not supported: 3.9 or newer is; name one with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip<26" "setuptools<81" wheel
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	$(BIN)/python -m pip check
	@touch $@

clean:
	rm -rf $(VENV) $(OUT) build site *.egg-info .pytest_cache .mypy_cache .ruff_cache
