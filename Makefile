# Targets explain themselves: make help
SHELL := /bin/bash
PY ?= python3
V := .venv
.DEFAULT_GOAL := help

$(V)/.installed: requirements.lock pyproject.toml
	@test -x $(V)/bin/python || $(PY) -m venv $(V)
	@$(V)/bin/python -m uv --version >/dev/null 2>&1 || $(V)/bin/python -m pip install -q --disable-pip-version-check uv
	@mkdir -p cdp
	@$(V)/bin/python -m uv pip sync -q --python $(V)/bin/python --require-hashes requirements.lock
	@$(V)/bin/python -m uv pip install -q --python $(V)/bin/python --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: $(V)/.installed ## the virtual environment, from the lock file

.PHONY: lock
lock: ## resolve requirements.lock anew
	@$(V)/bin/python -m uv pip compile -q --python-version 3.11 --group dev --generate-hashes --no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
