# make demo            the whole job on phantoms: data, training, report, readings
# make demo DATA=DIR   the same on FracAtlas in DIR
# make serve           open the reading room on http://127.0.0.1:8000/ (more flags: ARGS='--port 80')
# make test            set up everything and run all tests
# make small DATA=DIR WEIGHTS=DIR   the shipped model `small` again, from FracAtlas and ImageNet weights
# make medium …, make best …        the same for the others; AT_ONCE=5 trains five side by side
# make fuzz            read a hundred thousand damaged files
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA :=
WEIGHTS :=
ARGS :=
AT_ONCE := 1
# Not ?=: desktops set LANGUAGE for gettext.
LANGUAGE := en

.PHONY: demo serve test lint named overview overview-large closer small medium larger best fuzz clean
.DELETE_ON_ERROR:
# Two installations into one environment at once would be in each other's way.
.NOTPARALLEL:

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "kirik needs Python 3.11 or newer; name one: make PYTHON=python3.12 …" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "this Python cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.train: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[all]'
	@touch $@

# The reading room alone: no torch.
$(VENV)/.serve: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[serve]'
	@touch $@

# All at once, and compiled where it is first imported, in less than half the time; but for what
# decoding processes alone import, as they may write nothing.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[test]'
	$(BIN)/python -m compileall -q $(VENV)/lib*/python*/site-packages/pydicom
	@touch $(VENV)/.serve $(VENV)/.train $@

demo: $(VENV)/.train
	@DATA='$(DATA)' WEIGHTS='$(WEIGHTS)' LANGUAGE='$(LANGUAGE)' PATH="$(CURDIR)/$(BIN):$$PATH" \
	  sh scripts/demo.sh

serve: $(VENV)/.serve
	$(BIN)/kirik serve $(ARGS)

# Two files of tests at a time: their servers, browsers and trainings often wait. After a crash
# pytest would wait for the tests that a process took along.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --max-worker-restart 0

lint: $(VENV)/.test
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

CROSSVAL = $(BIN)/kirik crossval '$(DATA)' --split fracatlas-v1 --balance sampler \
	  --at-once $(AT_ONCE)
START = --weights '$(or $(WEIGHTS),hub)'
CLOSER = $(CROSSVAL) --batch-size 32 --size 128 --freeze 2 --box-weight 1
FURTHER = $(CLOSER) --overview runs/overview --network mobilenet --weights runs/closer \
	  --epochs 2 --learning-rate 0.0004
ALWAYS = --looks 4 --close-ups 2 --overview-weight 0.75

# Before anything is installed. An empty DATA would be the folder that make runs in.
named:
	@test -n '$(DATA)' || { echo "name FracAtlas's folder: DATA=path/to/FracAtlas" >&2; exit 2; }

# The networks that see whole radiographs: one and a half hours on two cores.
overview: named $(VENV)/.train
	$(CROSSVAL) --network mobilenet $(START) --batch-size 16 --size 352 --epochs 8 \
	  --learning-rate 0.0004 --freeze 4 --box-weight 0.2 --out runs/overview

# Beside each one that looks closer: another two hours and a quarter.
closer: overview
	$(CLOSER) --overview runs/overview --network mobilenet $(START) --epochs 4 \
	  --learning-rate 0.0008 --out runs/closer

# Trained on: another hour, for each of these two.
small: closer
	$(FURTHER) --looks 2 --looks-from 0.02 --out runs/small

medium: closer
	$(FURTHER) $(ALWAYS) --out runs/medium

# A larger network that sees whole radiographs, and one that looks closer where that sees most
# evidence: ten minutes on a GPU with the five trainings of each side by side, some eleven hours
# on two cores (estimated).
overview-large: named $(VENV)/.train
	$(CROSSVAL) --network densenet169 $(START) --batch-size 16 --size 512 --epochs 7 \
	  --learning-rate 0.0004 --freeze 4 --box-weight 0.3 --no-scope --out runs/overview-large

larger: overview-large
	$(CLOSER) --overview runs/overview-large --network densenet169 $(START) --epochs 3 \
	  --learning-rate 0.0005 $(ALWAYS) --out runs/larger

# The one and the other together: some minutes more.
best: medium larger
	$(BIN)/kirik ensemble runs/medium runs/larger --data '$(DATA)' --split fracatlas-v1 \
	  --out runs/best

# A hundred thousand damaged files: about half an hour on two cores.
fuzz: $(VENV)/.test
	$(BIN)/python scripts/fuzz.py

clean:
	rm -rf demo runs build dist .pytest_cache .ruff_cache
