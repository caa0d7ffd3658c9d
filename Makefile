# One word per habit. PYTHON chooses the interpreter, VENV where its environment lies.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.built

.PHONY: venv demo test lint types bench clean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@echo "building $(VENV) (about a minute the first time)"
	@$(PYTHON) -m venv $(VENV)
	@PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	  $(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(STAMP)

demo: venv
	@$(BIN)/mediaserver demo

test: venv lint types
	$(BIN)/python -m pytest --cov --cov-report=term $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

bench: venv
	$(BIN)/python benchmarks/frame_cost.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
