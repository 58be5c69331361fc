# Targets explain themselves: make help
SHELL := /bin/bash
PY ?= python3
V := .venv
BIN := $(V)/bin
# Debian packages that tests and the demo use when they are there.
DEBIAN := chromium fonts-dejavu-core mariadb-server
SOAK_MINUTES ?= 30
.DEFAULT_GOAL := help
# Container images often set it: then every process compiles all it imports anew, three seconds a start.
unexport PYTHONDONTWRITEBYTECODE

# uv comes from the lock like everything else: with its hash, into this environment.
$(V)/.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PY) -m venv $(V)
	@$(BIN)/python -m uv --version >/dev/null 2>&1 || { \
	    awk '/^uv==/ {inside = 1; print; next} /^[^ ]/ {inside = 0} inside' requirements.lock > $(V)/uv.lock && \
	    $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $(V)/uv.lock; }
	@$(BIN)/python -m uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/python -m uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation --offline -e .
	@touch $@

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: $(V)/.installed ## the virtual environment, from the lock file

.PHONY: lock
lock: ## resolve requirements.lock anew
	@$(BIN)/python -m uv pip compile -q --python-version 3.11 --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock

.PHONY: demo
demo: install ## the main job once in front of you, then serve (DEMO_EXIT=1: end after the tour)
	@$(BIN)/cdp demo

.PHONY: demo-transfer
demo-transfer: install ## a whole asset transfer of 10,000 customers (DEMO_CUSTOMERS), verified offline; ends by itself
	@$(BIN)/cdp demo-transfer

.PHONY: up
up: install ## serve without the tour, until Ctrl-C
	@$(BIN)/cdp up

# Silent when all is there; when root may not or cannot install, the tests concerned say so themselves.
.PHONY: debian
debian:
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || exit 0; \
	missing=; for package in $(DEBIAN); do dpkg -s $$package >/dev/null 2>&1 || missing="$$missing $$package"; done; \
	test -z "$$missing" && exit 0; \
	echo "installing Debian packages:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } >/dev/null 2>&1 || \
	    echo "could not install:$$missing"

# Debian's packages and our own come at the same time.
.PHONY: ready
ready:
	@$(MAKE) --no-print-directory -j2 debian lint

.PHONY: lint
lint: install
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@found=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$found"; exit 1; }

.PHONY: check
check: lint ## format, lint, types, layers and the fast tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --inline-snapshot=disable -m "not browser and not faults and not stack"

.PHONY: test
test: ready ## the gate: everything at bounded sizes, with the real peers it finds
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --inline-snapshot=disable

.PHONY: soak
soak: ready ## the gate at full figures, again and again for SOAK_MINUTES, each round with a seed it prints
	@end=$$((SECONDS + 60 * $(SOAK_MINUTES))); \
	while seed=$$RANDOM$$RANDOM; echo "seed $$seed"; \
	    CDP_TEST_SEED=$$seed CDP_TEST_DELETIONS=500 CDP_TEST_STRIDE=1 CDP_TEST_CUSTOMERS=$${CDP_TEST_CUSTOMERS:-1000000} \
	    $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --inline-snapshot=disable --hypothesis-profile=soak --hypothesis-seed=$$seed --timeout=3600 || exit 1; \
	    test $$SECONDS -lt $$end; do :; done

.PHONY: bench
bench: install ## ratios against peers and floors (BENCH_FULL=1: the largest)
	@$(BIN)/python -m bench
