# `make` lists the targets. Everything runs in .venv/, which the targets make themselves.
.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash
BIN := .venv/bin
PROTOS := protos/lorax_batch/v1
PYTEST := $(BIN)/python -m pytest

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## make .venv with all that development needs
	@scripts/bootstrap.sh dev

.PHONY: runtime
runtime: ## make .venv with what `lorax-batch` needs to run
	@scripts/bootstrap.sh runtime

.PHONY: demo
demo: runtime ## three jobs, two base models, eight adapters on simulated LoRAX servers, in under a minute
	@exec $(BIN)/lorax-batch demo

.PHONY: test
test: setup ## run the whole test suite
	@$(PYTEST)

.PHONY: test-failed
test-failed: setup ## run again, one at a time, the tests that failed last
	@$(PYTEST) --last-failed --last-failed-no-failures none -n 0

.PHONY: fuzz
fuzz: setup ## throw random bad input at everything, with new seeds until SECONDS=600 are over
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),600)

.PHONY: chaos
chaos: setup ## kill, freeze and cut a running service by a seed, and check every row: SECONDS=1800 SEED=7
	@$(BIN)/python -m tests.faults.chaos --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

.PHONY: load
load: setup ## 1 M rows, 2,000 watchers, 500 jobs, slow readers, polling storms (15 minutes); writes build/load/
	@$(BIN)/python -m tests.load

.PHONY: load-replicas
load-replicas: setup ## three schedulers on one PostgreSQL, one killed every 10 s, for SECONDS=60; writes build/load/
	@$(BIN)/python -m tests.load.replicas --seconds $(or $(SECONDS),60)

.PHONY: check-rgw
check-rgw: setup ## run the object store's tests on a real Ceph RGW (Debian packages, 70 MB the first time)
	@scripts/s3_rgw.sh build/rgw $(PYTEST) -n 0 -m s3_server tests/conformance

.PHONY: check-versitygw
check-versitygw: setup ## run the object store's tests on the S3 server of deploy/compose.yaml (built with Go, minutes the first time)
	@scripts/s3_versitygw.sh build/tools $(PYTEST) -n 0 -m s3_server tests/conformance

.PHONY: check-chart
check-chart: setup ## render the Helm chart with a helm built by Go (minutes the first time); on a cluster where one answers
	@scripts/check_chart.sh build/tools $(PYTEST) -n 0 tests/deploy/test_chart.py

.PHONY: check-image
check-image: ## build the image and run it, where a container engine answers
	@scripts/check_image.sh

.PHONY: check-long
check-long: setup ## run the tests that wait for real timeouts (a few minutes)
	@$(PYTEST) -m long

.PHONY: check
check: setup fast test ## what CI runs: format, lint, types, layers, generated code, tests

.PHONY: fast
fast: setup ## the part of `make check` to run before each commit (no tests)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf format --exit-code --diff
	@scripts/protos.sh --check
	@$(BIN)/python scripts/api_docs.py --check
	@$(BIN)/python scripts/settings_docs.py --check
	@$(BIN)/shellcheck scripts/*.sh .ci/run
	@$(BIN)/hadolint Dockerfile

.PHONY: format
format: setup ## format the code and sort its imports
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .
	@cd protos && ../$(BIN)/buf format -w

.PHONY: protos
protos: setup ## regenerate the code beside the .proto files
	@scripts/protos.sh

.PHONY: api-docs
api-docs: setup ## make docs/api.md and docs/settings.md anew from the .proto files, the errors and the settings
	@$(BIN)/python scripts/api_docs.py
	@$(BIN)/python scripts/settings_docs.py

.PHONY: bench
bench: setup ## measure speed beside wrk, aiohttp and the SDKs; writes bench/results.json
	@$(BIN)/python -m bench

.PHONY: bench-packing
bench-packing: setup ## replay ten families of traces under the planner and three baselines; writes build/packing.json
	@$(BIN)/python -m bench.packing $(if $(SEED),--seed $(SEED))

.PHONY: rehearse
rehearse: runtime ## run a trace for real on simulated servers, beside its replay: TRACE=FILE SCALE=0.05 RUNS=1
	@for _ in $$(seq $(or $(RUNS),1)); do \
	  $(BIN)/lorax-batch rehearse $(or $(TRACE),bench/rehearsal.json) --time-scale $(or $(SCALE),0.05) --within 15 || exit 1; done

.PHONY: lock
lock: setup ## resolve the dependencies anew into requirements*.lock
	@scripts/lock.sh

.PHONY: clean
clean: ## remove what the other targets made
	@rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench/build
