# make lab    opens JupyterLab on the first notebook (make lab ARGS=--no-browser only serves)
# make test   runs every test and every notebook
# Both set up .venv first; PYTHON=/path/to/python3.11 chooses the interpreter, WORKERS=n the number of test processes.

PYTHON  ?=
ARGS    ?=
BIN     := .venv/bin
STAMP   := .venv/.installed
EXTRAS  := .venv/.extras
CORES   := $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
WORKERS ?= $(shell echo $$(( $(CORES) < 8 ? $(CORES) : 8 )))
# Several processes with a thread for each core each would only get in each other's way.
THREADS := $(shell echo $$(( $(CORES) > $(WORKERS) ? $(CORES) / $(WORKERS) : 1 )))
PYTEST  := OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := lab
.PHONY: setup lab test lint notebooks claims catalogue horizons speed clean

setup: $(STAMP)

lab: $(STAMP)
	$(BIN)/toykit lab $(ARGS)

# nbval is slow to import, so the unit tests go without it; loadscope keeps the cells of a notebook in one process.
# Status 5 means that there was nothing to run.
test: $(EXTRAS)
	$(PYTEST) --dist loadgroup -p no:nbval $(ARGS)
	$(PYTEST) --nbval-lax --dist loadscope notebooks || [ $$? -eq 5 ]

lint: $(EXTRAS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Runs every notebook and saves it with its outputs.
notebooks: $(STAMP)
	OMP_NUM_THREADS=$(CORES) $(BIN)/python -m toykit.notebook run notebooks

# Writes the ledger of claims and the map of the course anew; the ledger's head is kept.
claims: $(STAMP)
	{ sed '/^| lesson/,$$d' docs/claims.md; $(BIN)/toykit claims --markdown; } > docs/claims.new && mv docs/claims.new docs/claims.md
	$(BIN)/python -m toykit.lessons.course_map

# Writes the catalogue of methods anew; its head is kept.
catalogue: $(STAMP)
	{ sed '/^## /,$$d' docs/catalogue.md; $(BIN)/toykit catalogue --markdown; } > docs/catalogue.new && mv docs/catalogue.new docs/catalogue.md

# Writes the table of effective horizons anew; what is before it is kept.
horizons: $(EXTRAS)
	{ sed '/^| environment/,$$d' docs/effective_horizons.md; $(BIN)/toykit horizons --markdown; } > docs/horizons.new && mv docs/horizons.new docs/effective_horizons.md

# Writes the table of recorded benchmarks anew; what is before it is kept.
speed: $(STAMP)
	{ sed '/^| name/,$$d' docs/speed.md; $(BIN)/toykit bench --recorded --markdown; } > docs/speed.new && mv docs/speed.new docs/speed.md

# Keeps .venv.
clean:
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

SUITABLE := -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))'

# torch goes first, alone: it is the largest and decides the builds of the rest.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(BIN)/python $(SUITABLE) 2>/dev/null; then \
		for python in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python); do \
			if $$python $(SUITABLE) 2>/dev/null; then found=$$python; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			echo "toykit needs Python 3.11 or newer with its venv module (python3-venv on Debian and Ubuntu);" >&2; \
			echo "tried: $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)." >&2; \
			echo "Install one, or name it: make setup PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "Making .venv with $$($$found --version)"; \
		$$found -m venv --clear .venv; \
	fi
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[lab,dev]"
	@touch $@

# What the tests of the optional parts need: peers, rooms to read, PPO and DQN, and LoRA.
$(EXTRAS): $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[bench,control,lora]"
	@touch $@
