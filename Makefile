# The commands that people and CI run. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help:
	@sed -nE -e 's/^##@ //p' -e 's/^([a-z-]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 13

PIP := -m pip install --quiet --disable-pip-version-check --no-deps

# what `make demo` needs; the first target that needs the tests' and tools' packages adds them
.venv/.demo: requirements/demo.txt requirements/dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python 3.11 or newer is needed, $(PYTHON) is {v.major}.{v.minor}; try: make PYTHON=python3.11")'
	@test ! -L .venv || { echo ".venv is a link and setting it up would empty the environment behind it; remove the link first"; exit 2; }
	@echo "setting up .venv (once)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python $(PIP) --require-hashes -r requirements/demo.txt
	@$(BIN)/python $(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.ready: .venv/.demo
	@echo "installing what the tests and tools need (once)"
	@$(BIN)/python $(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

##@ Every day
.PHONY: demo
demo: .venv/.demo ## set up, then run an example on the local stand-in; no key needed
	@$(BIN)/python examples/quickstart.py

# a process runs whole files, whose tests share servers and caches; tests/conftest.py sorts them
.PHONY: test
test: .venv/.ready ## run the tests, in one process more than there are cores
	@processes=$$(($$(getconf _NPROCESSORS_ONLN) + 1)); $(BIN)/python -m pytest \
	  --numprocesses $$((processes < 8 ? processes : 8)) --dist loadfile --no-loadscope-reorder

.PHONY: lint
lint: .venv/.ready ## ruff, import rules, known vulnerabilities of locked packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tools.audit

# the base classes of adapters are unknown where their frameworks are not installed
.PHONY: typecheck
typecheck: .venv/.ready ## mypy --strict, pyright, and a type for every public name
	@$(BIN)/mypy
	@$(BIN)/pyright
	@export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	found=$$(pyright --verifytypes openrouter_embeddings --ignoreexternal); \
	grep -q 'Type completeness score' <<< "$$found" && ! grep ' error: ' <<< "$$found" | \
	  grep -v 'Type of \(base \|meta\)class .*unknown$$' || { echo "$$found"; exit 1; }

.PHONY: format
format: .venv/.ready ## let ruff fix what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

##@ The specification (FROM= a page, file, folder or address; default: download)
.PHONY: update
update: .venv/.ready ## take a new edition, generate, check: FROM=... REPORT=page.md
	@$(BIN)/python -m tools.update $(if $(FROM),"$(FROM)") $(if $(REPORT),--report "$(REPORT)")

.PHONY: spec
spec: .venv/.ready ## take a new edition into openapi.yaml, and nothing else: FROM=...
	@$(BIN)/python -m tools.spec $(if $(FROM),"$(FROM)")

.PHONY: spec-diff
spec-diff: .venv/.ready ## say what a new edition would change; change nothing: FROM=...
	@$(BIN)/python -m tools.spec --diff $(if $(FROM),"$(FROM)")

.PHONY: generate
generate: .venv/.ready ## write generated/ from openapi.yaml
	@$(BIN)/python -m tools.generate

.PHONY: check
check: .venv/.ready ## fail if generated/ differs from what openapi.yaml gives
	@$(BIN)/python -m tools.generate --check

##@ Longer tests and measurements
.PHONY: contract
contract: contract-$(or $(AGAINST),stand-in) ## client and server against the contract: AGAINST=prism|live

.PHONY: contract-stand-in
contract-stand-in: .venv/.ready
	@CONTRACT_EXAMPLES=1000 $(BIN)/python -m pytest tests/contract
	@$(BIN)/python -m tests.contract.over_socket

.PHONY: contract-live
contract-live: .venv/.ready
	@$(BIN)/python -m tests.contract.live $(if $(MODEL),--model "$(MODEL)") $(if $(PRICE),--price "$(PRICE)")

.venv/prism/.ready: .venv/.ready tests/contract/prism/package-lock.json
	@command -v npm >/dev/null || { echo "nothing was tested: Prism needs node and npm; install them and run make again"; exit 2; }
	@mkdir -p .venv/prism && cp tests/contract/prism/package*.json .venv/prism/
	@npm ci --prefix .venv/prism --silent --no-audit --no-fund --ignore-scripts
	@touch $@

.PHONY: contract-prism
contract-prism: .venv/prism/.ready
	@$(BIN)/python -m pytest tests/contract/against_prism.py

.PHONY: stress stress-faults stress-soak stress-kills stress-fuzz faults
stress: $(addprefix stress-,$(or $(KIND),faults soak kills fuzz)) ## tests that take minutes: KIND=faults|soak|kills|fuzz
stress-faults stress-soak stress-kills stress-fuzz: .venv/.ready
	@$(BIN)/python -m stress.$(@:stress-%=%)
faults: stress-faults

# an environment for each package that is measured or tried: in one for all, some hold others back
.venv/%/.ready: requirements/%.txt .venv/.demo
	@echo "setting up .venv/$* (once)"
	@$(BIN)/python -m venv --clear .venv/$*
	@.venv/$*/bin/python $(PIP) --require-hashes -r $<
	@touch $@

BENCH := PYTHONPATH=wrapper:generated .venv/bench/ours/bin/python -W ignore -m benchmarks
IN_BENCH = $(patsubst %,.venv/bench/%/.ready,$(1))

.PHONY: bench bench-full bench-quick bench-corpus bench-million bench-processes bench-scale
bench: bench-$(or $(SUITE),full) ## speed and memory: SUITE=full|quick|corpus|million|processes|scale
bench-full: $(call IN_BENCH,$(filter-out pandas daft,$(basename $(notdir $(wildcard requirements/bench/*.txt)))))
	@$(BENCH).run
bench-quick: $(call IN_BENCH,ours openai)
	@$(BENCH).run --quick
bench-corpus: $(call IN_BENCH,ours pandas daft)
	@$(BENCH).corpus
bench-million bench-processes bench-scale: .venv/.ready
	@$(BIN)/python -m benchmarks.$(@:bench-%=%)

contract-% stress-% bench-%:
	@echo "$@ does not exist: \`make\` lists the values of AGAINST=, KIND= and SUITE="; exit 2

# Spark needs Java and 450 MB, and MTEB 5 GB, so they are tried only where ONLY= names them
LOCKED = $(sort $(basename $(notdir $(wildcard requirements/$(1)/*.txt))))
COMPAT := $(or $(ONLY),$(filter-out spark,$(call LOCKED,compat)))
ADAPTERS := $(or $(ONLY),$(filter-out mteb $(if $(COMPARE),examples recipes stores),$(call LOCKED,adapters)))
$(filter-out $(patsubst requirements/%.txt,.venv/%/.ready,$(wildcard requirements/*/*.txt)), \
  $(COMPAT:%=.venv/compat/%/.ready) $(ADAPTERS:%=.venv/adapters/%/.ready)):
	@echo "ONLY=$(ONLY) does not exist; use one of: $(call LOCKED,$(patsubst .venv/%/,%,$(dir $(@D))))"; exit 2

.PHONY: compat adapters
compat: $(COMPAT:%=.venv/compat/%/.ready) .venv/.ready ## try it in other tools (make adapters: in frameworks): ONLY=NAME
	@$(BIN)/python -m tests.compat $(if $(ONLY),--only) $(COMPAT)
adapters: $(ADAPTERS:%=.venv/adapters/%/.ready) .venv/.ready
	@$(BIN)/python -m tests.adapters$(if $(COMPARE),.side_by_side) $(ADAPTERS)

##@ Housekeeping
.PHONY: browser
browser: .venv/.ready ## install Chromium for four tests, unless a browser is there
	@if command -v chromium google-chrome >/dev/null; then echo "a browser is installed already"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Chromium on this machine with apt-get"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium; \
	else echo "installing Chromium into your cache with playwright"; $(BIN)/playwright install chromium; fi

.PHONY: docs
docs: .venv/.ready ## write the --help texts into docs/cli.md
	@$(BIN)/python -m tools.helptexts

LOCK := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: lock
lock: .venv/.ready ## write requirements/*.txt from pyproject.toml
	@$(LOCK) pyproject.toml --group dev --extra images --extra jobs --extra local --extra ray -o requirements/dev.txt
	@$(LOCK) pyproject.toml --extra local --group build -c requirements/dev.txt -o requirements/demo.txt
	@$(LOCK) pyproject.toml --group core -c requirements/dev.txt -o requirements/core.txt
	@$(LOCK) --resolution lowest-direct pyproject.toml --extra images --extra jobs --extra local --group core -o requirements/lowest.txt
	@for given in requirements/bench/*.in; do \
	  project=; case $$given in *ours.in|*httpx-aiohttp.in|*pyreqwest.in) project=pyproject.toml; esac; \
	  $(LOCK) --upgrade $$project $$given -o $${given%.in}.txt || exit; \
	done
	@for given in requirements/compat/*.in; do \
	  extras=; case $$given in *spark.in) extras="--extra spark --extra local";; \
	    *results.in) extras="--override requirements/compat/results.overrides"; esac; \
	  $(LOCK) pyproject.toml $$given $$extras -o $${given%.in}.txt || exit; \
	done
	@for given in requirements/adapters/*.in; do \
	  extras="--extra $$(basename $$given .in)"; case $$given in *stores.in|*examples.in) extras="--extra jobs";; \
	    *recipes.in) extras="--extra jobs --override requirements/adapters/recipes.overrides";; \
	    *mteb.in) extras="$$extras --override requirements/adapters/mteb.overrides"; esac; \
	  $(LOCK) pyproject.toml $$given $$extras --extra local -o $${given%.in}.txt || exit; \
	done

.PHONY: build
build: .venv/.ready ## write the wheel into dist/
	@$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean: ## remove everything that make has written, .venv included
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .schemathesis
