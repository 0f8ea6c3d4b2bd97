# make demo, make test: each sets up by itself whatever it needs (virtual environment, OS packages, binaries).
SHELL := bash
PYTHON := .venv/bin/python
export PYTHONPATH := hack
# Most of a test's time is waiting: more workers than cores. Each has clusters of its own (tests/workers.py).
WORKERS := 4
PYTEST := .venv/bin/pytest -n $(WORKERS)

.PHONY: help setup system fetch check test test-long unit integration e2e chaos demo bench bench-failover conformance lock clean

help:  ## this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@hack/setup

system:
	@hack/setup --system

# What clusters are made of: minutes where it must be built, so not within the deadline of a test.
fetch: system
	@hack/localkube/localkube fetch

demo: system  ## the main job: two member clusters, plain kubectl (ARGS: --json, --keep, --fake)
	@$(PYTHON) -m demo $(ARGS)

check: setup  ## lint, format, types, layers, unit tests; under a minute
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/pytest -q tests/unit

test: fetch  ## everything: the checks, and tests on real API servers and real containers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	$(PYTEST) tests -m "not long" $(ARGS)

test-long: fetch  ## what takes minutes and seldom finds anything: before a release
	$(PYTEST) tests -m long $(ARGS)

integration: fetch  ## tests against real API servers (ARGS: --durations=0, a file ...)
	$(PYTEST) tests/integration $(ARGS)

e2e: fetch  ## tests on real clusters with real containers
	$(PYTEST) tests/e2e $(ARGS)

chaos: fetch  ## an hour of users, strangers and faults, against invariants (ARGS: --seconds N, --seed N, --no-faults)
	@$(PYTHON) -m tests.chaos $(ARGS)

bench: system  ## what it costs, against the budget (ARGS: --short, --pods N, --provider-cmd CMD, --json FILE ...)
	@$(PYTHON) -m bench $(ARGS)

bench-failover: fetch  ## how long a failover takes, on real clusters (ARGS: --runs N, --pods N, --fake, --json FILE)
	@$(PYTHON) -m failover $(ARGS)

conformance: fetch  ## the conformance tests of Kubernetes, against a plain cluster; an hour or two (ARGS: --focus ...)
	@$(PYTHON) -m conformance $(ARGS)

lock: setup  ## resolve the dependencies of pyproject.toml anew into requirements.lock
	.venv/bin/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --upgrade \
		--no-header --no-annotate --no-emit-index-url -q -o requirements.lock

clean:  ## stop and remove everything that local clusters have started
	@hack/localkube/localkube down
