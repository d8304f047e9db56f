# Every target makes what it needs from nothing; a second run is instant, and a change of setup.cfg installs again.
# Settings: make test PYTHON=python3.12 VENV=.venv-312 PYTEST_ARGS="-k schema"

PYTHON ?= python3.11
VENV ?= .venv
# tensorflow-addons ended with TensorFlow 2.15.1, whose wheels end with Python 3.11.
PYTHON_ADDONS ?= python3.11
VENV_ADDONS ?= .venv-addons
PYTEST_ARGS ?=
# Two processes, a file each: TensorFlow's tracing, most of the time, uses one core. Files in their own order:
# xdist would keep those with few tests, among them the longest, for the end.
PYTEST_WORKERS ?= 2
PYTEST_PARALLEL := -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder
MATRIX ?= python3.11 python3.12 python3.13

BIN := $(VENV)/bin
BIN_ADDONS := $(VENV_ADDONS)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_ADDONS := $(VENV_ADDONS)/.installed
# `promise` (under tensorflow-datasets, tests only) is published as a source archive and nothing else.
PIP_INSTALL := -m pip install --quiet --only-binary :all:
TEST_EXTRAS := test,interop,oracles,docs,dev
# TensorFlow with what it requires, and nothing else: where exported models must run.
ALONE := .venv-alone-2.21 .venv-alone-2.15.1

export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo study study-small install install-addons install-matrix test test-addons test-long test-serving test-tables test-beam test-dist reliability fuzz mutants test-gpu lint format types \
	layers docs cli-reference api-reference pypi-page size wheel dist check long clean

help: ## print these targets
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
		| awk 'BEGIN {FS = ":.*## "} {printf "make %-16s %s\n", $$1, $$2}'

$(INSTALLED): setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) --upgrade pip
	$(BIN)/python $(PIP_INSTALL) --no-binary promise -e '.[$(TEST_EXTRAS)]'
	@touch $@

$(INSTALLED_ADDONS): setup.cfg pyproject.toml
	test -x $(BIN_ADDONS)/python || $(PYTHON_ADDONS) -m venv $(VENV_ADDONS)
	$(BIN_ADDONS)/python $(PIP_INSTALL) --upgrade pip
	$(BIN_ADDONS)/python $(PIP_INSTALL) -e '.[addons,test]'
	@touch $@

.venv-alone-%/.installed:
	test -x $(@D)/bin/python || $(PYTHON_ADDONS) -m venv $(@D)
	$(@D)/bin/python $(PIP_INSTALL) --no-compile 'tensorflow==$*.*'
	@touch $@

demo: $(INSTALLED) ## the whole way on a simulated screen, some minutes; ends in demo/index.html
	$(BIN)/deeploc-tf demo demo

study: $(INSTALLED) ## all methods on the simulated proteome, up to two hours; ends in study/index.html
	$(BIN)/deeploc-tf study docs/study.yaml study

study-small: $(INSTALLED) ## the study in small, some minutes, and a test of what it must find
	$(BIN)/deeploc-tf study deeploc_tf/study/examples/small.yaml study-small
	DEEPLOC_TF_STUDY='$(CURDIR)/study-small' $(BIN)/python -m pytest tests/test_study_finding.py $(PYTEST_ARGS)

install: $(INSTALLED) ## default stack with everything for development, in .venv

install-addons: $(INSTALLED_ADDONS) ## tensorflow-addons stack (Python 3.11), in .venv-addons

install-matrix: ## resolve, without installing, on each Python of MATRIX that is here
	@set -eu; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	resolve() { \
		if ! "$$1" -c '' 2>/dev/null; then echo "$$1 '$$2': skipped, no such interpreter here"; return; fi; \
		rm -rf "$$scratch/env"; "$$1" -m venv "$$scratch/env"; \
		"$$scratch/env/bin/python" $(PIP_INSTALL) --upgrade pip; \
		"$$scratch/env/bin/python" -m pip install --dry-run --only-binary :all: "$$2" >"$$scratch/log" 2>&1 \
			|| { cat "$$scratch/log"; return 1; }; \
		echo "$$1 '$$2':" $$(sed -n 's/^Would install //p' "$$scratch/log" | tr ' ' '\n' \
			| grep -E '^(tensorflow|tensorflow-addons|keras|numpy|pandas|scipy|h5py)-[0-9]'); \
	}; \
	for python in $(MATRIX); do resolve $$python .; done; resolve $(PYTHON_ADDONS) '.[addons]'

test: $(INSTALLED) ## tests on the default stack
	$(BIN)/python -m pytest -m 'not gpu and not long' $(PYTEST_PARALLEL) $(PYTEST_ARGS)

test-addons: $(INSTALLED_ADDONS) ## what the tensorflow-addons stack must do: a few minutes of tests
	$(BIN_ADDONS)/python -m pytest -m addons $(PYTEST_PARALLEL) $(PYTEST_ARGS) \
		$$(grep -l 'pytest.mark.addons' tests/test_*.py)

test-long: $(INSTALLED) ## what `make test` leaves out because it takes long
	$(BIN)/python -m pytest -m 'not gpu and long' $(PYTEST_PARALLEL) $(PYTEST_ARGS)

test-serving: $(INSTALLED) $(INSTALLED_ADDONS) $(ALONE:=/.installed) ## models of both stacks, where only TensorFlow is
	for python in $(BIN)/python $(BIN_ADDONS)/python; do \
		DEEPLOC_TF_ALONE='$(ALONE:%=$(CURDIR)/%/bin/python)' \
			$$python -m pytest tests/test_serving_export.py -k alone $(PYTEST_ARGS) || exit 1; \
	done

test-tables: ## what needs no network, in an environment without TensorFlow
	test -x .venv-tables/bin/python || $(PYTHON) -m venv .venv-tables
	.venv-tables/bin/python $(PIP_INSTALL) -r docs/requirements-tables.txt pytest pytest-timeout hypothesis jinja2 matplotlib
	.venv-tables/bin/python $(PIP_INSTALL) --no-deps -e .
	.venv-tables/bin/python -m pytest tests/test_without_tensorflow.py $(PYTEST_ARGS)

test-beam: ## records by Apache Beam, in an environment of its own
	test -x .venv-beam/bin/python || $(PYTHON) -m venv .venv-beam
	.venv-beam/bin/python -m pip install --quiet -e '.[beam,test]'
	.venv-beam/bin/python -m pytest tests/test_ingest_beam.py $(PYTEST_ARGS)

reliability: $(INSTALLED) $(INSTALLED_ADDONS) ## a training killed twenty times, on each stack; commands stopped at every operation
	for python in $(BIN)/python $(BIN_ADDONS)/python; do \
		DEEPLOC_TF_KILLS=20 $$python -m pytest tests/test_training_kills.py tests/test_training_multi_worker.py \
			$(PYTEST_ARGS) || exit 1; \
	done
	DEEPLOC_TF_RELIABILITY=1 $(BIN)/python -m pytest tests/test_ingest_crash.py tests/test_failpoints.py \
		tests/test_failpoints_tensorflow.py tests/test_environments.py tests/test_fuzzing.py \
		--timeout 7200 $(PYTEST_ARGS)

fuzz: $(INSTALLED) ## readers of files of others under a coverage-guided fuzzer, ten minutes each
	test -x .venv-fuzz/bin/python || $(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python $(PIP_INSTALL) atheris
	echo '$(CURDIR)' >$$(.venv-fuzz/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/house.pth
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >>$$(.venv-fuzz/bin/python -c \
		'import sysconfig; print(sysconfig.get_path("purelib"))')/house.pth
	for reader in $$($(BIN)/python experiments/fuzz_readers.py); do \
		.venv-fuzz/bin/python experiments/fuzz_readers.py $$reader fuzz/$$reader -max_total_time=600 || exit 1; \
	done

mutants: $(INSTALLED) ## 300 faults of which the tests must find all but few, in the background, hours; goes on where it stopped
	mkdir -p mutants
	nohup nice -n 15 $(BIN)/python experiments/mutants.py mutants >mutants/log 2>&1 &
	@echo 'mutants/mutants.jsonl has a line for each; mutants/log will end with the survivors'

test-gpu: $(INSTALLED) ## the whole life of a model on a GPU (not run on one yet)
	$(BIN)/python -m pytest -m gpu $(PYTEST_ARGS)

lint: $(INSTALLED) ## ruff (rules and format) and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

format: $(INSTALLED) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(INSTALLED) ## mypy --strict
	$(BIN)/mypy --strict tfrecords deeploc_tf

layers: $(INSTALLED) ## import contracts between the rooms
	$(BIN)/lint-imports

docs: $(INSTALLED) ## documentation, warnings are errors, in docs/_build
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build

pypi-page: $(INSTALLED) ## write docs/pypi.md anew from the README
	$(BIN)/python docs/make_pypi_page.py

size: $(INSTALLED) ## code lines per room, options per command, base dependencies
	$(BIN)/python experiments/size.py

cli-reference: $(INSTALLED) ## write docs/cli.md anew from --help
	$(BIN)/python docs/make_cli_reference.py

api-reference: $(INSTALLED) ## write docs/api.md anew from signatures and docstrings
	$(BIN)/python docs/make_api_reference.py

wheel: $(INSTALLED) ## build the wheel, in dist
	rm -rf build dist
	$(BIN)/python -m build --wheel --outdir dist .

dist: $(INSTALLED) ## build the source archive, and the wheel from it, in dist
	rm -rf build dist
	$(BIN)/python -m build --outdir dist .

test-dist: ## install the source archive of dist in an empty environment, and run tests that came in it
	rm -rf .venv-dist
	$(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python $(PIP_INSTALL) --upgrade pip
	.venv-dist/bin/python $(PIP_INSTALL) --no-binary deeploc-tf dist/*.tar.gz pytest pytest-timeout hypothesis twine
	.venv-dist/bin/twine check --strict dist/*
	mkdir .venv-dist/source && tar -xzf dist/*.tar.gz -C .venv-dist/source --strip-components 1
	rm -rf .venv-dist/source/deeploc_tf .venv-dist/source/tfrecords
	.venv-dist/bin/deeploc-tf doctor
	cd .venv-dist/source && ../bin/python -m pytest tests/test_tfrecords_golden.py tests/test_serving_golden.py $(PYTEST_ARGS)

check: lint types layers docs test test-addons ## what must pass before every push

long: install-matrix test-long test-serving test-tables test-beam reliability dist test-dist study-small ## what `make check` leaves out, hours: once a week

clean: ## remove what the targets made, except the environments
	rm -rf build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
