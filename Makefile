# Two commands are all a newcomer needs: make run, make test.
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check bench soak chaos clean

run: $(VENV)/.installed
	$(BIN)/chromepool serve $(ARGS)

test: $(VENV)/.installed-dev check
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

# A day in an hour; SESSIONS=200 makes it shorter.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench.soak

# Minutes of random faults; SEED=7 ROUNDS=40 does again what was done.
chaos: $(VENV)/.installed-dev
	$(BIN)/python -m bench.chaos

$(VENV)/.installed: setup.cfg pyproject.toml scripts/bootstrap
	scripts/bootstrap run

$(VENV)/.installed-dev: setup.cfg pyproject.toml scripts/bootstrap tests/clients/package.json
	scripts/bootstrap test

clean:
	rm -rf $(VENV) tests/clients/node_modules build *.egg-info bench/results
