# SPDX-FileCopyrightText: 2026 The Parman developers
# SPDX-License-Identifier: LGPL-3.0-or-later
#
# Each target makes or completes the environment that it needs (see .ci/environment).
# PYTHON=python3.12 make test  uses that interpreter, with an environment of its own. Other packages are installed in the
# versions of .ci/constraints; VERSIONS=newest and VERSIONS=lowest take others, likewise.

.PHONY: help demo test test-all soak lint bench constraints clean
.NOTPARALLEL:
export PYTHON VERSIONS
# Some hundred tests start interpreters: each would compile the library anew, and each run of pytest all tests.
unexport PYTHONDONTWRITEBYTECODE
RUNNER ?= $(or $(PARMAN_RUNNER),processes)
ARGS ?=
MINUTES ?= 60
SEED ?= 1
QUICK := not (slow or foreign or engines or slurm)
# One more than a small machine has cores, since many tests wait for other processes.
PYTEST := -m pytest -n 3 --dist worksteal

help:
	@echo "make demo    install, and run the main demo (RUNNER=serial, threads, processes, parsl, dry)"
	@echo "make test    install, and run the quick tests, in some minutes (ARGS=... for pytest)"
	@echo "make test-all   all tests, also those of engines, Slurm and MPI, as far as these are here; then random scripts"
	@echo "make soak    scripts drawn at random, MINUTES=60 SEED=1; then drivers of jobs that are killed (SOAK_KILLS=10)"
	@echo "make lint    ruff, mypy and pyright"
	@echo "make bench   Parman beside its peers (ARGS=... for python -m benchmarks, as --help)"
	@echo "make constraints   renew the tested versions of other packages"
	@echo "make clean   remove the environments and everything that was built"

demo:
	@environment=$$(.ci/environment demos $(if $(filter parsl%,$(RUNNER)),parsl)) && \
	$$environment/bin/python demos/eos/eos.py --runner $(RUNNER) --output demos/eos/results

test:
	@environment=$$(.ci/environment test) && $$environment/bin/python $(PYTEST) -m "$(QUICK)" $(ARGS)

test-all:
	@environment=$$(.ci/environment demos test engines) || exit 1; status=0; \
	$$environment/bin/python $(PYTEST) $(ARGS) || status=1; \
	$$environment/bin/python -m tests.oracle --minutes 3 --seed $$(date +%Y%m%d) || status=1; exit $$status

soak:
	@environment=$$(.ci/environment demos test) || exit 1; status=0; \
	$$environment/bin/python -m tests.oracle --minutes $(MINUTES) --seed $(SEED) $(ARGS) || status=1; \
	SOAK_SEED=$(SEED) $$environment/bin/python -m pytest -q -s -o addopts= tests/soak || status=1; exit $$status

lint:
	@environment=$$(.ci/environment lint) && PATH="$$PWD/$$environment/bin:$$PATH" && set -ex && \
	ruff check . && \
	ruff format --check . && \
	mypy && \
	mypy tests/typing && \
	pyright

bench:
	@environment=$$(.ci/environment demos test bench) || { \
	echo "Not all peers can be installed here: those that are missing are left out." >&2; \
	environment=$$(.ci/environment demos test); } && $$environment/bin/python -m benchmarks $(ARGS)

constraints:
	@.ci/constrain

clean:
	rm -rf .venv .venv-3.* *.egg-info build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis demos/eos/results demos/activelearning/results oracle-failures
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
