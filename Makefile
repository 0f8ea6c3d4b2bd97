# make demo, make test: each sets up by itself whatever it needs (virtual environment, OS packages, binaries).
SHELL := bash
PYTHON := .venv/bin/python
export PYTHONPATH := hack

.PHONY: help setup system fetch check test unit integration e2e chaos demo bench bench-compare bench-failover conformance lock clean

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
	.venv/bin/pytest tests

integration: fetch  ## tests against real API servers
	.venv/bin/pytest tests/integration

e2e: fetch  ## tests on real clusters with real containers
	.venv/bin/pytest tests/e2e

chaos: fetch  ## an hour of users, strangers and faults, against invariants (ARGS: --seconds N, --seed N, --no-faults)
	@$(PYTHON) -m tests.chaos $(ARGS)

bench: system  ## what it costs, against limits and goals (ARGS: --short, --pods N, --provider-cmd CMD, --json FILE ...)
	@$(PYTHON) -m bench $(ARGS)

bench-compare: system  ## what it costs more than at another commit: BASE=REF; half an hour (ARGS: --rounds N)
	@$(PYTHON) -m bench.compare $(BASE) $(ARGS)

bench-failover: fetch  ## how long a failover takes, on real clusters (ARGS: --runs N, --pods N, --fake, --json FILE)
	@$(PYTHON) -m failover $(ARGS)

conformance: fetch  ## the conformance tests of Kubernetes, against a plain cluster; an hour or two (ARGS: --focus ...)
	@$(PYTHON) -m conformance $(ARGS)

lock: setup  ## resolve the dependencies of pyproject.toml anew into requirements.lock
	.venv/bin/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --upgrade \
		--no-header --no-annotate --no-emit-index-url -q -o requirements.lock

clean:  ## stop and remove everything that local clusters have started
	@hack/localkube/localkube down
