# Everything happens in .venv inside this clone. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# What Jupyter, IPython and matplotlib write goes into the clone, not into the home folder.
export IPYTHONDIR := $(CURDIR)/$(VENV)/home/ipython
export JUPYTER_CONFIG_DIR := $(CURDIR)/$(VENV)/home/jupyter-config
export JUPYTER_DATA_DIR := $(CURDIR)/$(VENV)/home/jupyter-data
export JUPYTER_RUNTIME_DIR := $(CURDIR)/$(VENV)/home/jupyter-runtime
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/home/matplotlib

.PHONY: demo test check lab bench clean

# One environment for all targets; made anew when what it is made of changes.
$(STAMP): pyproject.toml setup.py $(wildcard nbmem/*/*.pyx nbmem/*/*.pxd nbmem/*/*.h)
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'nbmem needs Python 3.11 or newer; say which: make PYTHON=python3.11 …' or 0)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,bench]'
	touch $@

demo: $(STAMP)
	$(BIN)/python notebooks/demo.py

# JupyterLab refuses to run as root unless told; containers often are root.
lab: $(STAMP)
	$(BIN)/python -m jupyter lab $$(test "$$(id -u)" = 0 && echo --allow-root) notebooks/00_quickstart.ipynb

test: $(STAMP)
	$(BIN)/python tests/run.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python -m bench

clean:
	rm -rf $(VENV) build dist *.egg-info
	find nbmem -name '*.so' -delete
