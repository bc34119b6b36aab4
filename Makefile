# Every target makes what it needs; the first run installs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install search demand test slow lint types format bench clean

help:  ## Show the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[measured,dev]'
	touch $(STAMP)

install: $(STAMP)  ## Install everything that search and tests need

search: $(STAMP)  ## The main job: the cheapest deployment of Llama-3.1-8B for chat, over four GPU SKUs
	$(BIN)/trimtab search examples/chat-8b.yaml

demand: $(STAMP)  ## 40 requests a second: which deployment, how many, dollars a month
	$(BIN)/trimtab search examples/chat-8b-40rps.yaml

test: $(STAMP)  ## The tests, on two cores, but for those of `make slow`
	$(BIN)/trimtab warmup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not alone"

slow: $(STAMP)  ## The tests that take long; those that measure times come last, alone
	$(BIN)/trimtab warmup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "slow and not alone"
	$(BIN)/python -m pytest -m alone

lint: $(STAMP)  ## Style and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)  ## Static types
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## Measure speed on this machine; writes build/bench.json
	$(BIN)/python -m tests.benchmarks.run

clean:
	rm -rf build dist *.egg-info
