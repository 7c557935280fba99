# make condense : set up, then condense the embedded digits and show what the set is worth
# make test     : set up, then lint, types and tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip
READY  := $(VENV)/.ready
OUT    ?= runs/digits

.PHONY: condense test slow lint clean

condense: $(READY)
	$(BIN)/yoco condense --data digits --ipc 10 --out $(OUT)
	$(BIN)/yoco evaluate $(OUT)/condensed.safetensors --data digits --epochs 250 --full-epochs 50 --baselines random full
	@echo "the set: $(OUT)/condensed.safetensors   its images: $(OUT)/images.png"

test: lint
	$(BIN)/python -m pytest -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: $(READY)
	$(BIN)/python -m pytest -m slow

$(READY): pyproject.toml constraints.txt
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or newer: name one that is, as in make PYTHON=python3.12"; exit 1; }
	@$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || { $(PYTHON) -m pip install virtualenv && $(PYTHON) -m virtualenv $(VENV); }
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache dist
