# Two commands are all a newcomer needs: make run, make test.
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test check docs bench soak clean

run: $(VENV)/.installed
	$(BIN)/chromepool serve $(ARGS)

test: $(VENV)/.installed-dev check
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Writes the generated references anew, then the site into site/.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

# A day in an hour; SESSIONS=200 makes it shorter.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench.soak

$(VENV)/.installed: setup.cfg pyproject.toml scripts/bootstrap
	scripts/bootstrap run

$(VENV)/.installed-dev: setup.cfg pyproject.toml scripts/bootstrap tests/clients/package.json
	scripts/bootstrap test

clean:
	rm -rf $(VENV) tests/clients/node_modules build site *.egg-info bench/results
