# `make demo` and `make test` set up what they need in .venv first; python3 >= 3.11 and make suffice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
THREADS ?= 2
READY := $(VENV)/.ready

.PHONY: demo test check bench weights setup clean

demo: $(READY)
	$(BIN)/gaitkeeper audit --quick --model gaitset-walkers sgn-actors --out demo
	$(BIN)/gaitkeeper walkers --form video --out demo/film --subjects 85 --conditions nm-05 --views 90 --frames 90
	$(BIN)/gaitkeeper anonymize demo/film/085/nm-05/090/video.mp4 --out demo --overwrite

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS) --dist worksteal

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

# Half the published widths.
HALF := --actions.widths 32 32 32 32 64 64 64 128 128 128 --actions.strides 1 1 1 1 2 1 1 2 1 1

weights: $(READY)
	$(BIN)/gaitkeeper train --out runs/gaitset-walkers
	$(BIN)/gaitkeeper train --out runs/gaitbase-walkers --network gaitbase --channels 8 16 32 64 --frames 8 --iterations 2000
	$(BIN)/gaitkeeper train --out runs/gaitpart-walkers --network gaitpart --embedding 64 --frames 8 --iterations 1500
	for name in gaitset-walkers gaitbase-walkers gaitpart-walkers; do \
	  $(BIN)/gaitkeeper evaluate --model runs/$$name/model.safetensors --ablations --out runs/$$name/evaluation.json && \
	  $(BIN)/python -m gaitkeeper.audit.card runs/$$name $$name || exit 1; \
	done
	$(BIN)/gaitkeeper train --out runs/sgn-actors --network sgn --actions.epochs 25
	$(BIN)/gaitkeeper train --out runs/hrnn-actors --network hrnn --actions.epochs 25 --actions.widths 32 64 128 128
	$(BIN)/gaitkeeper train --out runs/st-gcn-actors --network st-gcn --actions.epochs 20 $(HALF)
	$(BIN)/gaitkeeper train --out runs/ctr-gcn-actors --network ctr-gcn --actions.epochs 15 $(HALF)
	for name in sgn-actors hrnn-actors st-gcn-actors ctr-gcn-actors; do \
	  $(BIN)/gaitkeeper evaluate --model runs/$$name/model.safetensors --out runs/$$name/evaluation.json && \
	  $(BIN)/python -m gaitkeeper.audit.card runs/$$name $$name || exit 1; \
	done
	$(BIN)/python -m gaitkeeper.audit.train_judges
	$(BIN)/gaitkeeper train-walking --out runs/walking-actors
	$(BIN)/python -m gaitkeeper.audit.card runs/walking-actors walking-actors
	$(BIN)/gaitkeeper train-anonymizer --out runs/noise-walkers --kind noise
	$(BIN)/python -m gaitkeeper.audit.anonymizer_card runs/noise-walkers noise-walkers
	$(BIN)/gaitkeeper train-anonymizer --out runs/st-gan-walkers
	$(BIN)/gaitkeeper train-anonymizer --out runs/st-gan-published-walkers --norm l1 --adversarial saturating --iterations 250
	$(BIN)/gaitkeeper train-anonymizer --out runs/noise-gait-walkers --kind noise-gait --norm l1
	$(BIN)/gaitkeeper train-anonymizer --out runs/st-gan-no-noise-walkers --kind st-gan-no-noise
	for name in st-gan-walkers st-gan-published-walkers noise-gait-walkers st-gan-no-noise-walkers; do \
	  $(BIN)/python -m gaitkeeper.audit.anonymizer_card runs/$$name $$name || exit 1; \
	done
	$(BIN)/gaitkeeper train-generator --out runs/generator-walkers
	$(BIN)/gaitkeeper generator --generator runs/generator-walkers --out runs/generator-walkers
	$(BIN)/python -m gaitkeeper.audit.card runs/generator-walkers walkers

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"gaitkeeper needs python3 >= 3.11, found {v.major}.{v.minor}; set PYTHON=")'
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "gaitkeeper needs python3's venv module: install the package python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,foolbox]'
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info src/*.egg-info
