# make demo   the whole loop on figures/problems/two_modes.toml: derive, solve, simulate, compare, draw
# make test   lint, types and tests, that generated files are what the derivations generate among them
# make quick  the tests that take no longer than a second each, some of every part
# All create .venv and install what they need; only Python >= 3.11 and make are assumed.
# make portable   the numerical tests as other processors and surroundings compute them; ONLY=Nehalem+C for one run
.PHONY: demo test tested quick lint portable bench clean
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed, found " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python -m figures.demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The types, which one core checks in half a minute, beside the tests; whatever fails, make says which.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j 2 lint tested

tested: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

quick: $(STAMP)
	$(BIN)/python -m pytest -m "not slow" -n auto --maxprocesses 8 --dist loadfile

# Long: a run of the numerical tests each. TESTS="tests/solvers/problem/test_starts.py" for some of them.
portable: $(STAMP)
	$(BIN)/python -m tests.portable $(ONLY) $(if $(TESTS),--tests $(TESTS))

# Peers (jax, diffrax, heyoka) are large: they are installed only here.
bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) outputs .pytest_cache .mypy_cache .ruff_cache .hypothesis
