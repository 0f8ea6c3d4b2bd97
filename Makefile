# make demo, make test: each sets up by itself whatever it needs (virtual environment, OS packages, binaries).
SHELL := bash
PYTHON := .venv/bin/python
export PYTHONPATH := hack
# Most of a test's time is waiting: more workers than cores. Each has clusters of its own (tests/workers.py).
WORKERS := 4
PYTEST := .venv/bin/pytest -n $(WORKERS)

.PHONY: help setup system fetch check test test-long unit integration e2e chaos demo bench bench-compare bench-failover \
	conformance lock clean

help:  ## show this text
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:
	@hack/setup

system:
	@hack/setup --system

# What clusters are made of: minutes where it must be built, so not within the deadline of a test.
fetch: system
	@hack/localkube/localkube fetch

demo: system  ## show two member clusters, used with plain kubectl (ARGS: --json, --keep, --fake)
	@$(PYTHON) -m demo $(ARGS)

check: setup  ## run lint, format, types, layers and unit tests; under a minute
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	.venv/bin/pytest -q -n auto tests/unit

test: fetch  ## run all checks, and all tests on real API servers and with real containers
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	$(PYTEST) tests -m "not long" $(ARGS)

test-long: fetch  ## run the tests that take minutes and seldom fail; before a release
	$(PYTEST) tests -m long $(ARGS)

integration: fetch  ## run tests against real API servers (ARGS: --durations=0, a file ...)
	$(PYTEST) tests/integration $(ARGS)

e2e: fetch  ## run tests on real clusters with real containers
	$(PYTEST) tests/e2e $(ARGS)

chaos: fetch  ## run one hour of user actions, foreign changes and faults, and check invariants (ARGS: --seconds N, --seed N, --no-faults, --real)
	@$(PYTHON) -m tests.chaos $(ARGS)

bench: system  ## measure the cost and compare it with limits and goals (ARGS: --short, --pods N, --provider-cmd CMD, --json FILE ...)
	@$(PYTHON) -m bench $(ARGS)

bench-compare: system  ## measure the cost here and at another commit in turn: BASE=REF; 15 minutes (ARGS: --rounds N)
	@$(PYTHON) -m bench.compare $(BASE) $(ARGS)

bench-failover: fetch  ## measure the time of a failover on real clusters (ARGS: --runs N, --pods N, --fake, --json FILE)
	@$(PYTHON) -m failover $(ARGS)

conformance: fetch  ## run the Kubernetes conformance tests and compare with a plain cluster; 1 to 2 hours (ARGS: --focus ...)
	@$(PYTHON) -m conformance $(ARGS)

lock: setup  ## resolve the dependencies of pyproject.toml again and write requirements.lock
	.venv/bin/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes --upgrade \
		--no-header --no-annotate --no-emit-index-url -q -o requirements.lock

clean:  ## stop and remove all local clusters
	@hack/localkube/localkube down
