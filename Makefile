# Targets a person would type. Python 3.11 and make are all that must be there; 3.12 and 3.13 are let in, but not tested.
#
#   make reproduce    set up what is missing, then the laptop scale: tables, figures, paper, report
#   make unlock       after a power cut or kill -9 of make reproduce: let it go on
#   make smoke        the same workflow on tiny budgets, in minutes
#   make figures      redraw tables, claims and figures from the committed results/reference, without any run
#   make test         set up what is missing, then lint, types and all tests
#   make unit-test    the quick tests alone: without those that run whole commands, trainings and workflows
#   make lint         lint and types alone, of the workflow too
#   make faults       kill, interrupt, fill disks and damage files, many times over: docs/faults.md, in about 25 minutes
#   make mutants      break the code in 300 small ways, one at a time: do the tests notice? results/mutants.md
#   make integrations-test   install Lightning and transformers into .venv too, and train with softadapt in them
#   make cluster-test the smoke scale through a SLURM that is set up for it (docs/cluster.md); on Debian, as root
#   make verify       re-hash data, runs, tables, figures and paper against their records: what has changed since?
#   make compare      hold tables, claims and numbers against results/reference: what came out otherwise?
#   make trace FILE=results/laptop/paper.pdf     what was it made from?
#
# figures, verify and compare take SCALE=smoke and the like; SCALE=laptop is the default.
# mutants takes SAMPLE, SEED and PACKAGES="softadapt experiments/evidence"; a run that was stopped goes on.
#
# CPU-only PyTorch: set PIP_EXTRA_INDEX_URL to the CPU index that pytorch.org's install page names.

PYTHON ?= python3
SCALE ?= laptop
CORES ?= $(shell getconf _NPROCESSORS_ONLN)
TRIALS ?= 20
SAMPLE ?= 300
SEED ?= 0
VENV := .venv
READY := $(VENV)/ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export SCALE FILE  # recipes take what a user types from the environment, where a shell does not read it as code

.PHONY: setup reproduce unlock smoke figures verify compare trace lint unit-test test integrations-test faults mutants cluster-test bench clean

setup: $(READY)

$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "error: $(PYTHON) is not Python 3.11 to 3.13; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@touch $(READY)

reproduce: $(READY)
	snakemake --cores $(CORES)

unlock: $(READY)
	snakemake --unlock --cores 1

smoke: $(READY)
	snakemake --configfile config/smoke.yaml --cores $(CORES)

figures: $(READY)
	python -m experiments.evidence.redraw --config "config/$$SCALE.yaml"

verify: $(READY)
	python -m experiments.provenance.verify --config "config/$$SCALE.yaml"

compare: $(READY)
	python -m experiments.provenance.compare --config "config/$$SCALE.yaml"

trace: $(READY)
	@test -n "$$FILE" || { echo "error: FILE: is empty; name one: make trace FILE=results/laptop/claims.csv" >&2; exit 2; }
	python -m experiments.provenance.trace -- "$$FILE"

lint: $(READY)
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile experiments/*/rules.smk
	.ci/lint_workflow
	mypy

unit-test: $(READY)
	pytest -n $(CORES) --dist loadgroup -m "not whole"

test: lint unit-test
	pytest -n $(CORES) --dist loadgroup -m whole

integrations-test: $(READY)
	python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --requirement tests/integrations/requirements.lock
	pytest tests/integrations -n $(CORES)

cluster-test: $(READY)
	python -m pip install --quiet --disable-pip-version-check --requirement profiles/slurm/requirements.lock
	tests/cluster/one_node_slurm.sh

faults: $(READY)
	nice -n 10 pytest tests/faults -n $(CORES) --trials $(TRIALS) --hypothesis-profile thorough --faults-table results/faults

mutants: $(READY)
	python -m pip install --quiet --disable-pip-version-check --requirement tests/mutation/requirements.lock
	nice -n 10 python tests/mutation/mutants.py --sample $(SAMPLE) --seed $(SEED) $(PACKAGES)

bench: $(READY)
	pytest benchmarks --benchmark-columns=min,median,max --benchmark-sort=name

clean:
	rm -rf $(VENV) .snakemake .pytest_cache .ruff_cache .mypy_cache .hypothesis results/mutants results/mutants.md results/smoke results/laptop figures/smoke figures/laptop
