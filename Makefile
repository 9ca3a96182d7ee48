# Nightherd. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PROTOS := $(shell find protos -name '*.proto')
export PYTHONPATH := $(CURDIR):$(CURDIR)/gen
ARGS ?=

.DEFAULT_GOAL := help

##@ Use
run: setup ## Start everything on this machine: MongoDB, services, gateway, agent (ARGS="--port 9443")
	@exec $(PY) -m cli up $(ARGS)

##@ Develop
setup: $(VENV)/.run gen/.stamp ## Make .venv and gen/ (done by the others when needed)
test: $(VENV)/.dev gen/.stamp ## Run every test (ARGS="-k spool" for some)
	@$(PY) -m pytest $(ARGS)
drill: $(VENV)/.dev gen/.stamp ## Minutes-long tests that kill, pause and fill things
	@$(PY) -m pytest -m drill -s $(ARGS)
lab: $(VENV)/.dev gen/.stamp ## Tests on real hosts with stock kernels, in QEMU (ARGS=6.1 for one kernel)
	@$(PY) -m pytest tests/lab -m lab -s $(if $(ARGS),--kernel $(ARGS))
bench: $(VENV)/.dev gen/.stamp ## Measure everything, beside the peers (as root; ARGS="--quick")
	@$(PY) -m benchmarks all $(ARGS)
bench-agent: $(VENV)/.dev gen/.stamp ## Measure what the agent misses and costs
	@$(PY) -m benchmarks agent seed $(ARGS)
bench-store: $(VENV)/.dev gen/.stamp ## Measure how fast, small and quick to question the store is
	@$(PY) -m benchmarks store $(ARGS)
lint: $(VENV)/.dev gen/.typed ## ruff, mypy --strict, import-linter, buf
	@$(PY) -m ruff format --check . && $(PY) -m ruff check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports
	@$(VENV)/bin/buf lint && $(VENV)/bin/buf format --diff --exit-code protos
format: $(VENV)/.dev ## Put code and protos into house form
	@$(PY) -m ruff check --fix-only . && $(PY) -m ruff format . && $(VENV)/bin/buf format -w protos
protos: gen/.stamp ## Generate Python from protos/ into gen/
breaking: $(VENV)/.dev ## Compare the protos with those of the main branch
	@$(VENV)/bin/buf breaking --against '.git#branch=main'
bpf: ## Compile the eBPF object anew (clang-14, llvm-14, libbpf-dev)
	@sh agent/bpf/build.sh
wheel: $(VENV)/.dev ## Build the wheel into dist/
	@$(PY) -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .
lock: ## Pin every dependency with hashes (needs uv on PATH)
	@for set in "run" "up --extra embedded" "dev --extra embedded --group dev"; do \
	  set -- $$set; name=$$1; shift; \
	  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url pyproject.toml "$$@" -o requirements/$$name.txt || exit 1; done
clean: ## Remove what was generated (.venv, gen, caches)
	@rm -rf $(VENV) gen build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

##@ Help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {print "\n" substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@sh deploy/system-packages.sh
	@echo "setup: making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "setup: Python 3.11 or newer is needed (PYTHON=python3.12 make …)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "setup: python3-venv is missing (apt-get install python3-venv)"; rm -rf $(VENV); exit 1; }

$(VENV)/.run: requirements/up.txt | $(VENV)/bin/python
	@echo "setup: installing what Nightherd needs (half a minute)"
	@$(PY) -m pip install -q --disable-pip-version-check --use-pep517 --require-hashes -r requirements/up.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/bin/python
	@echo "setup: installing what tests need (a minute)"
	@$(PY) -m pip install -q --disable-pip-version-check --use-pep517 --require-hashes -r requirements/dev.txt
	@touch $@ $(VENV)/.run

# protoc's mypy plugin is a development tool: without it the stubs are left out.
gen/.stamp: $(PROTOS) protos/generate.py | $(VENV)/.run
	@$(PY) protos/generate.py
	@touch $@

gen/.typed: gen/.stamp | $(VENV)/.dev
	@$(PY) protos/generate.py
	@touch $@

.PHONY: run setup test drill lab bench bench-agent bench-store lint format protos breaking bpf wheel lock clean help
