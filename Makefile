# vqkit: `make help` lists what there is to do. Everything runs in this repository's own environment, .venv.

PYTHON ?= python3
DEMO ?= full
DEMO_DIR ?= demo
PRESET ?= smoke
DATA ?= tyre
MODELS ?=
OUT ?=
KILLS ?= 4
INPUTS ?= 300
SEED ?= 0

BIN := .venv/bin
READY := .venv/.ready
VQKIT := $(abspath $(BIN))/vqkit
ifeq ($(DEMO),quick)
TRAINING := --steps 150 --mask-warmup 0
else
TRAINING :=
endif

# Not --quiet: that would hide the warnings from --strict as well.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.DEFAULT_GOAL := help
.PHONY: help setup demo pretrained reproduce test test-reduced test-faults test-fuzz test-wheel dist coverage check bench docs golden clean

help: ## Show this list
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv and install vqkit and the development tools in it (once)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "vqkit needs Python 3.10 or newer. Name one: make setup PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv: PyTorch and the tools around it, a few minutes, once."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY) ## Fill in tyre sections with the model in the box, then train one, under demo/ (DEMO=quick: a minute)
	@mkdir -p $(DEMO_DIR)
	cd $(DEMO_DIR) && $(VQKIT) data export tyre --split test --num 4 --out sections
	cd $(DEMO_DIR) && $(VQKIT) inpaint sections --keep group_nc --run builtin:tyre --out filled_builtin
	@echo; echo "With the small model in the box: $(DEMO_DIR)/filled_builtin/before_after/test_00000.png. Now one of your own is trained."; echo
	cd $(DEMO_DIR) && $(VQKIT) train-vqvae --mask-max 0.7 $(TRAINING)
	cd $(DEMO_DIR) && $(VQKIT) inpaint sections/group_nc/test_00000_group_nc.png --keep group_nc --out filled
	@echo; echo "The carcass it was given, and the tyre section it made of it: $(DEMO_DIR)/filled/before_after/test_00000.png"

pretrained: $(READY) ## Train the models that come with vqkit anew, in runs/pretrained, and write them into src/vqkit/pretrained
	$(BIN)/python scripts/pretrained.py

reproduce: $(READY) ## Compare all models: reports/ (PRESET=smoke|laptop|full DATA=tyre|cifar10|PATH MODELS=a,b OUT=directory)
	$(VQKIT) reproduce --preset '$(PRESET)' --data '$(DATA)' $(if $(MODELS),--models '$(MODELS)') $(if $(OUT),--out '$(OUT)')

# One process a core with one thread each: the tests are many small computations.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test: $(READY) ## Run the tests, on as many cores as there are
	@$(TESTS)

coverage: $(READY) ## Run the tests and measure what they cover; fails below the floor in pyproject.toml
	@$(TESTS) --cov --cov-report=term:skip-covered

# Results must not depend on how a processor orders its sums: AVX2 alone, and one core.
test-reduced: $(READY) ## Run the numeric tests with AVX2 instructions only, each process on one core
	@ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(TESTS) --one-core \
	  tests/models tests/quantizers tests/priors tests/training tests/evaluation

# Scripts, not tests: they count, for docs/reliability.md, and fork one process that has everything loaded.
SCRIPT := OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -B

test-faults: $(READY) ## Kill and disturb commands, run them again, compare every file (KILLS=100 SEED=0)
	@$(SCRIPT) tests/faults/run.py --kills $(KILLS) --seed $(SEED)

test-fuzz: $(READY) ## Read mutated files of every kind: no traceback, hang or write elsewhere (INPUTS=100000 SEED=0)
	@$(SCRIPT) tests/fuzz/run.py --inputs $(INPUTS) --seed $(SEED)

dist: $(READY) ## Build the source distribution and the wheel in dist/, and check what is in them
	@$(BIN)/python scripts/test_wheel.py --only-build

test-wheel: $(READY) ## Build both, install the wheel into an empty environment, and use it there (two to five minutes)
	@$(BIN)/python scripts/test_wheel.py

check: $(READY) ## Check style, types, the direction of imports and the documentation
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python scripts/cli_reference.py --check
	@$(BIN)/python scripts/configuration_reference.py --check
	@$(BIN)/python scripts/benchmarks_page.py --check
	@$(SITE)

BENCHMARKS := quantizer training prior_sampling folder_encoding
bench: $(READY) ## Measure speed beside other libraries, in about four minutes; writes benchmarks/results/ and docs/benchmarks.md
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; \
	  timeout 900 $(BIN)/python -W ignore benchmarks/$$name.py --out benchmarks/results/$$name.json >/dev/null; done
	@$(BIN)/python scripts/benchmarks_page.py

docs: $(READY) ## Write the generated pages anew and build the site in site/
	@$(BIN)/python scripts/cli_reference.py
	@$(BIN)/python scripts/configuration_reference.py
	@$(BIN)/python scripts/benchmarks_page.py
	@$(SITE)
	@echo "Open site/index.html"

golden: $(READY) ## Record the golden losses anew, after a change that is meant to move them
	@$(BIN)/python tests/golden.py

clean: ## Remove what was built and the demo, but not .venv and your runs
	@rm -rf demo site dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*
	@find . -path ./.venv -prune -o -name __pycache__ -type d -print | xargs rm -rf
