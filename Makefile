# Two commands matter: `make run` and `make test`. Both set up .venv from requirements.lock first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
# A Linux machine without an NVIDIA GPU saves 5 GB with
#   make run PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
PIP_ARGS ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-slow site setup lock clean

run: setup
	@$(BIN)/repro run --all --preset quick --workers $(WORKERS)

# One process per core, longest tests first. What is timed is slow, and has the machine to itself.
test: setup
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

test-slow: setup
	@$(BIN)/python -m pytest -m slow

site: setup
	@$(BIN)/repro site

setup: $(VENV)/.installed

# --no-build-isolation: setuptools is in the lock, and a build must not fetch another.
$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "Setting up $(VENV) (once; some minutes) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# torch pins its own CUDA packages exactly: left out of the lock, a CPU build of torch goes without them.
CUDA_PACKAGES = $(shell $(BIN)/python -c "import importlib.metadata as m, re; print(*sorted({n for d in m.distributions() \
  if re.match('(nvidia|cuda)-|triton', n := d.metadata['Name'].lower().replace('_', '-'))}))")
lock:
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra dev --extra gpu pyproject.toml \
	  $(addprefix --no-emit-package ,$(CUDA_PACKAGES)) --custom-compile-command "make lock" --output-file requirements.lock

clean:
	rm -rf $(VENV) runs site
