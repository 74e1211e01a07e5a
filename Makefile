# Every target sets up what it needs. PYTHON names the interpreter to start from; a fitting one is looked for.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
PYTEST_ARGS ?=
KILLS ?= 30

.DEFAULT_GOAL := help
.PHONY: help setup demo up test fuzz lint lint-deploy format bench chaos screenshots sbom audit clean

help: ## What there is
	@echo "make demo    simulated billing systems become points, end to end; a summary; stop"
	@echo "make up      the whole stack with Prefect's UI, until Ctrl-C (ARGS=--simulator adds simulated vendors)"
	@echo "make test    linters, types, import contracts, tests"
	@echo "make fuzz    random histories against the ledger's invariants (SEEDS=1000, or SEED=123 alone)"
	@echo "make lint    linters, types, import contracts only"
	@echo "make lint-deploy  the files of deploy/, by the programs that read them; says what it could not check"
	@echo "make format  let the formatter and the linter's safe fixes change the files"
	@echo "make bench   benchmarks (minutes)"
	@echo "make chaos   kills and other faults under the simulator, and the ledger compared (KILLS=200)"
	@echo "make screenshots  the pictures of docs/images, anew (needs Chromium; minutes)"
	@echo "make sbom    what the product is made of, as CycloneDX (FILE=sbom.json)"
	@echo "make audit   known vulnerabilities of that; says so where their database cannot be reached"
	@echo "make setup   only the set-up that each of these does by itself"
	@echo "make clean   remove .venv, .tools and caches; the state folder .twezah stays"

setup:
	@$(PYTHON) scripts/bootstrap.py

demo: setup
	@$(BIN)/twezah demo $(ARGS)

up: setup
	@$(BIN)/twezah up $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lint-deploy: setup
	@$(BIN)/python -m scripts.lint_deploy $(ARGS)

test: lint
	$(BIN)/pytest -n 4 --no-loadscope-reorder $(PYTEST_ARGS)

SEEDS ?= 1000
fuzz: setup
	@$(BIN)/python -m tests.fuzz --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench:
	@$(PYTHON) scripts/bootstrap.py --group bench
	$(BIN)/python -m benchmarks $(ARGS)

chaos: setup
	$(BIN)/python -m benchmarks.chaos --kills $(KILLS) $(ARGS)

screenshots: setup
	$(BIN)/python -m scripts.screenshots $(ARGS)

FILE ?= sbom.json
sbom: setup
	@$(BIN)/python -m scripts.supply_chain sbom $(FILE)

audit: setup
	@$(BIN)/python -m scripts.supply_chain vulnerabilities

clean:
	rm -rf .venv .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
