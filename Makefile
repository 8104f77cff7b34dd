# Everything a person or CI does here. `make` alone lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps

# what the main job needs; the tests' and tools' packages come on top, when something asks for them
.venv/.demo: requirements/demo.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}; try: make PYTHON=python3.11")'
	@test ! -L .venv || { echo ".venv is a link: remove it, so that nobody else's environment is emptied"; exit 2; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes -r requirements/demo.txt
	@$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.ready: .venv/.demo
	@echo "installing what the tests and tools need (once)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: demo
demo: .venv/.demo ## set up and run the main job on the local stand-in
	@$(BIN)/python examples/quickstart.py

.PHONY: test
test: .venv/.ready ## run the tests, in one process more than there are cores
	@processes=$$(($$(getconf _NPROCESSORS_ONLN) + 1)); $(BIN)/python -m pytest \
	  --numprocesses $$((processes < 8 ? processes : 8)) --dist loadfile --no-loadscope-reorder

.PHONY: browser
browser: .venv/.ready ## install Chromium where there is none, for the tests that look at a page
	@if command -v chromium || command -v google-chrome; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
	else $(BIN)/playwright install chromium; fi

.PHONY: update
update: .venv/.ready ## FROM=… REPORT=page.md : take a new edition of the specification, generate, check, report
	@$(BIN)/python -m tools.update $(if $(FROM),"$(FROM)") $(if $(REPORT),--report "$(REPORT)")

.PHONY: spec
spec: .venv/.ready ## FROM=… : take a new edition (page, document, folder, address; default: download it)
	@$(BIN)/python -m tools.spec $(if $(FROM),"$(FROM)")

.PHONY: spec-diff
spec-diff: .venv/.ready ## FROM=… : say what a new edition would change, and change nothing
	@$(BIN)/python -m tools.spec --diff $(if $(FROM),"$(FROM)")

.PHONY: generate
generate: .venv/.ready ## write generated/ anew from openapi.yaml
	@$(BIN)/python -m tools.generate

.PHONY: check
check: .venv/.ready ## fail when generated/ is not what openapi.yaml gives
	@$(BIN)/python -m tools.generate --check

.PHONY: lint
lint: .venv/.ready ## ruff, the layers, and known vulnerabilities where they can be asked for
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tools.audit

.PHONY: format
format: .venv/.ready ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: typecheck
typecheck: .venv/.ready ## mypy --strict, pyright, and whether every public name has a type
	@$(BIN)/mypy
	@$(BIN)/pyright
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	found=$$(pyright --verifytypes openrouter_embeddings --ignoreexternal) || { echo "$$found"; exit 1; }

.PHONY: docs
docs: .venv/.ready ## write the --help texts into docs/cli.md
	@$(BIN)/python -m tools.helptexts

.PHONY: lock
lock: .venv/.ready ## write requirements/*.txt anew from pyproject.toml
	@$(BIN)/uv pip compile -q pyproject.toml --group dev --extra images --extra jobs --extra local --extra ray --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements/dev.txt
	@$(BIN)/uv pip compile -q pyproject.toml --extra local --group build --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -c requirements/dev.txt -o requirements/demo.txt
	@$(BIN)/uv pip compile -q pyproject.toml requirements/spark.in --extra spark --extra local --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements/spark.txt
	@for given in requirements/bench/*.in; do \
	  project=; case $$given in *ours.in|*httpx-aiohttp.in|*pyreqwest.in) project=pyproject.toml; esac; \
	  $(BIN)/uv pip compile -q $$project $$given --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-header -o $${given%.in}.txt || exit; \
	done

.PHONY: contract
contract: .venv/.ready ## conformance of server and client, a thousand examples each, and over a socket
	@CONTRACT_EXAMPLES=1000 $(BIN)/python -m pytest tests/contract
	@$(BIN)/python -m tests.contract.over_socket

.PHONY: contract-live
contract-live: .venv/.ready ## MODEL=… PRICE=… : does the service keep the contract? Says first the most it can cost
	@$(BIN)/python -m tests.contract.live $(if $(MODEL),--model "$(MODEL)") $(if $(PRICE),--price "$(PRICE)")

.venv/prism/.ready: .venv/.ready tests/contract/prism/package-lock.json
	@command -v npm >/dev/null || { echo "contract-prism needs node and npm, which are not here: nothing was tested"; exit 2; }
	@mkdir -p .venv/prism && cp tests/contract/prism/package*.json .venv/prism/
	@npm ci --prefix .venv/prism --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: contract-prism
contract-prism: .venv/prism/.ready ## our client against Stoplight Prism, which serves the contract too (needs node)
	@$(BIN)/python -m pytest tests/contract/against_prism.py

.venv/spark/.ready: .venv/.ready requirements/spark.txt
	@command -v java >/dev/null || { echo "Spark needs Java 17 or newer, which is not here: nothing was tested"; exit 2; }
	@echo "setting up .venv/spark (once); Spark is 450 MB"
	@$(BIN)/python -m venv --clear .venv/spark
	@.venv/spark/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/spark.txt
	@touch $@

.PHONY: spark
spark: .venv/spark/.ready ## adapters.spark on a Spark of this machine (needs Java)
	@PYTHONPATH=wrapper:generated .venv/spark/bin/python -m pytest tests/adapters/with_spark.py

.PHONY: faults
faults: .venv/.ready ## every fault over a socket; writes the table in docs/reliability.md
	@$(BIN)/python -m stress.faults

.PHONY: kills
kills: .venv/.ready ## jobs that are killed at random moments, until they are done; fills docs/reliability.md
	@$(BIN)/python -m stress.kills

.PHONY: million
million: .venv/.ready ## orembed run over a million rows: time, CPU, memory; fills docs/performance.md
	@$(BIN)/python -m benchmarks.million

.PHONY: scale
scale: .venv/.ready ## what a row takes of a worker, and a billion; fills docs/scale.md; a minute
	@$(BIN)/python -m benchmarks.scale

.PHONY: soak
soak: .venv/.ready ## 200,000 texts through faults, and rate limits; about seven minutes
	@$(BIN)/python -m stress.soak

.PHONY: fuzz
fuzz: .venv/.ready ## a million mutated answers against a plain reference decoder; about four minutes
	@$(BIN)/python -m stress.fuzz

# an environment for each package that is measured, or one holds back another
.venv/bench/%/.ready: requirements/bench/%.txt .venv/.demo
	@echo "setting up .venv/bench/$* (once)"
	@$(BIN)/python -m venv --clear .venv/bench/$*
	@.venv/bench/$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

BENCH := PYTHONPATH=wrapper:generated .venv/bench/ours/bin/python -W ignore -m benchmarks.run
IN_BENCH = $(patsubst %,.venv/bench/%/.ready,$(1))

.PHONY: bench
bench: $(call IN_BENCH,$(filter-out pandas daft,$(basename $(notdir $(wildcard requirements/bench/*.txt))))) ## speed and memory beside other clients; writes docs/performance.*; twenty minutes
	@$(BENCH)

.PHONY: bench-quick
bench-quick: $(call IN_BENCH,ours openai) ## the everyday part of it: ours, the floor, openai
	@$(BENCH) --quick

.PHONY: bench-corpus
bench-corpus: $(call IN_BENCH,ours pandas daft) ## Parquet to Parquet beside pandas + openai and Daft; fills docs/performance.md; nine minutes
	@$(BENCH:run=corpus)

.PHONY: build
build: .venv/.ready ## the wheel, into dist/
	@$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean: ## remove what was made, .venv included
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
