# The two commands that everyone needs are `make run` and `make test`; both set up .venv from requirements.lock.
PYTHON ?= python3.11
# GPU-less Linux machines save 3 GB with PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu".
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test setup lock site clean

run: setup
	$(BIN)/repro run --all --preset quick --workers 2

test: setup
	$(BIN)/python -m pytest

site: setup
	$(BIN)/repro site

setup: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

# torch pins its own CUDA packages exactly; leaving them out of the lock lets a CPU build of torch go without them.
lock: setup
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra dev --extra gpu pyproject.toml \
	  $$(sed -nE 's/^((nvidia|cuda)-[a-z0-9-]+|triton)==.*/--no-emit-package \1/p' requirements.lock | sort -u) \
	  --output-file requirements.lock

clean:
	rm -rf $(VENV) runs site
