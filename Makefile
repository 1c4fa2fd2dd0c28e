# The project's commands; `make` alone lists them. Nothing here calls a shell tool, so that it runs on Linux, macOS
# and Windows alike: what is more than a command is Python.

ARGS ?=
BASE_PYTHON ?= $(if $(filter Windows_NT,$(OS)),python,python3)
VENV_PYTHON := $(if $(filter Windows_NT,$(OS)),.venv/Scripts/python.exe,.venv/bin/python)

# `make PYTHON=<interpreter>` takes an interpreter that has everything, in place of .venv.
ifeq ($(origin PYTHON),command line)
READY :=
else
PYTHON := $(VENV_PYTHON)
READY := .venv/installed.txt
endif

# Test files run side by side, the longest first, and those of one file in their order.
SIDE_BY_SIDE := --numprocesses=auto --dist=loadfile --no-loadscope-reorder

# Overrides reach Python as they were typed: no shell has its way with brackets and quotes.
export PIPELINE_ARGS := $(value ARGS)

define HELP
Image classification from raw files to a trusted model

  make train      data, features, training and the test split's score; ARGS="model=resnet50d train.epochs=5"
                  changes what is run and is remembered in params.yaml
  make report     the same, with figures and a page: reports/pipeline/index.html
  make data       images checked, labelled and split, and an audit of them: reports/data_audit.html
  make features   images packed
  make predict    new images: ARGS="predict.images=<image, folder or archive>"
  make sweep      cross-validation: ARGS="sweep=cross_validation"; mean, deviation and train-test gap;
                  a search: ARGS="sweep=search", backbones, optimizers, augmentations;
                  a rate to begin with: ARGS="sweep=lr_range"; accuracy by training images: sweep=learning_curve;
                  a project's comparison: ARGS="experiment=<name> sweep=<name>", see docs/projects.md
  make compare    finished runs side by side: ARGS="models/runs"; accuracy with intervals and cost, which differences
                  are noise, a page: reports/compare/index.html
  make cost       measures what inference with runs costs, for the comparison: ARGS="models/runs"
  make why        what differs between two runs, and how the metrics moved: ARGS="<run> <run>"
  make runs       every run there is: when, what, how good, how it ended
  make promote    makes a run the champion, unless it is worse than the present one: ARGS="<run>"
  make serve      answers with predictions: http://127.0.0.1:8000, a page and POST /predict; ARGS="serve.port=9000"
  make monitor    whether what comes to the service differs from what the model was tested on: reports/monitor
  make plan       what runs would cost, measured in a few steps of each: ARGS="model=resnet18,residual_cnn"
  make label-issues  labels that are probably wrong: reports/label_issues.html
  make relabel    decides them, and conflicting copies, one by one on a page of this machine
  make reset-params  back to the defaults in params.yaml

  make test       the fast tests; ARGS="-k packed" is for pytest
  make test-all   the slow ones too, with coverage
  make lint       style, types, import floors and sizes; make format mends the style
  make docs       the documentation: docs/_build/html/index.html
  make notebooks  runs the notebooks
  make bench      measures speed: benchmarks/

  make doctor     what this machine has, what is missing and what to do
  make verify     compares what DVC keeps with its hashes; ARGS=remove removes what is damaged
  make requirements  installs into .venv what requirements.txt pins; every target does so by itself
  make create_environment  a new .venv; BASE_PYTHON=python3.12 chooses the Python
  make clean      removes caches and build products; data, models, reports and .venv stay

Options: PYTHON=<interpreter> runs everything with that interpreter, installing nothing.
Without make: dvc repro, dvc exp run, python -m src.models.train_model --help
endef

.DEFAULT_GOAL := help
.PHONY: help create_environment requirements data features train predict report reset-params
.PHONY: label-issues relabel sweep plan verify
.PHONY: compare cost why runs promote serve monitor
.PHONY: test test-all lint format docs notebooks bench doctor clean

help:
	@$(info $(HELP))
	@cd .

requirements: $(READY)
	@echo everything that requirements.txt pins is installed

create_environment:
	@$(BASE_PYTHON) -m venv --clear .venv
	@$(MAKE) --no-print-directory requirements

.venv/installed.txt: requirements.txt setup.py
	@$(info installing into .venv: about 3 quiet minutes and 6 GB on Linux, once)
	@$(BASE_PYTHON) -c "import sys; sys.version_info >= (3, 11) or sys.exit('Python 3.11 or newer is needed and $(BASE_PYTHON) is ' + sys.version.split()[0] + '; choose another: make BASE_PYTHON=python3.12 requirements')"
	@$(BASE_PYTHON) -m venv .venv
	@"$(VENV_PYTHON)" -m src.install

data: $(READY)
	@"$(PYTHON)" -m src.pipeline repro audit_data

features: $(READY)
	@"$(PYTHON)" -m src.pipeline repro build_features

train: $(READY)
	@"$(PYTHON)" -m src.pipeline repro predict_model

report: $(READY)
	@"$(PYTHON)" -m src.pipeline repro visualize

label-issues: $(READY)
	@"$(PYTHON)" -m src.pipeline repro show_label_issues

relabel: $(READY)
	@"$(PYTHON)" -m src.visualization.relabel --config composed.yaml $(ARGS)

sweep: $(READY)
	@"$(PYTHON)" -m src.pipeline sweep

plan: $(READY)
	@"$(PYTHON)" -m src.pipeline plan

compare: $(READY)
	@"$(PYTHON)" -m src.visualization.compare

cost: $(READY)
	@"$(PYTHON)" -m src.models.measure_cost

why: $(READY)
	@"$(PYTHON)" -m src.visualization.why

runs: $(READY)
	@"$(PYTHON)" -m src.visualization.list_runs

promote: $(READY)
	@"$(PYTHON)" -m src.models.promote

serve: $(READY)
	@"$(PYTHON)" -m src.models.serve_model

monitor: $(READY)
	@"$(PYTHON)" -m src.visualization.monitor

predict: $(READY)
	@"$(PYTHON)" -m src.pipeline predict

reset-params: $(READY)
	@"$(PYTHON)" -m src.pipeline reset

test: $(READY)
	@"$(PYTHON)" -m pytest $(SIDE_BY_SIDE) -m "not slow" $(ARGS)

test-all: $(READY)
	@"$(PYTHON)" -m pytest $(SIDE_BY_SIDE) --cov --cov-report=term --cov-fail-under=90 $(ARGS)

lint: $(READY)
	@"$(PYTHON)" -m ruff check
	@"$(PYTHON)" -m ruff format --check
	@"$(PYTHON)" -m mypy
	@"$(PYTHON)" -c "from importlinter.cli import lint_imports_command as lint; lint()"
	@"$(PYTHON)" -m pytest --no-cov tests/contracts/test_sizes.py

format: $(READY)
	@"$(PYTHON)" -m ruff check --fix-only --quiet
	@"$(PYTHON)" -m ruff format --quiet

docs: $(READY)
	@"$(PYTHON)" -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo documentation: docs/_build/html/index.html

notebooks: $(READY)
	@"$(PYTHON)" -m pytest --no-cov tests/test_notebooks.py

bench: $(READY)
	@"$(PYTHON)" -m benchmarks

verify: $(READY)
	@"$(PYTHON)" -m src.storage $(ARGS)

doctor: $(READY)
	@"$(PYTHON)" -m src.doctor

clean:
	@$(if $(READY),$(if $(wildcard $(VENV_PYTHON)),"$(VENV_PYTHON)",$(BASE_PYTHON)),"$(PYTHON)") -m src.clean
