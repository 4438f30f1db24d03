# `make demo` and `make test` set up all they need in $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo test clean

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py --out runs/demo

test: $(VENV)/.installed-test
	BIN=$(BIN) bash test/run_gates.sh

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'Python 3.10 or newer is needed: make PYTHON=python3.11 ...'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'The venv module is needed (Debian, Ubuntu: python3-venv)'; exit 1; }
	$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install -c constraints.txt -e '.[all,benchmark,test]'
	@touch $@

clean:
	rm -rf $(VENV) docs/_build runs
