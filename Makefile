# Two commands are all a newcomer needs: make run, make test.
VENV := .venv
BIN := $(VENV)/bin
# Test processes, for two cores: a test that waits for Chrome leaves its core to another one.
WORKERS := 4
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS)

.PHONY: run check test test-slow docs bench soak chaos lock install clean

run: $(VENV)/.installed
	$(BIN)/chromepool serve $(ARGS)

# Every test is in one of three tiers; tests/conftest.py marks it.
check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(PYTEST) -m "not daemon and not slow" $(ARGS)

test: check
	$(PYTEST) -m daemon $(ARGS)

# Soak and chaos, the image (with podman, runc and mmdebstrap), systemd (with a runner, see
# tests/slow/systemd/test_system.py).
test-slow: $(VENV)/.installed-dev
	$(PYTEST) --numprocesses 2 -m slow $(ARGS)

# Writes the generated references anew, then the site into site/.
docs: $(VENV)/.installed-dev
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(ARGS)

# A day in an hour; SESSIONS=200 makes it shorter.
soak: $(VENV)/.installed-dev
	$(BIN)/python -m bench.soak

# Minutes of random faults; SEED=7 ROUNDS=40 does again what was done.
chaos: $(VENV)/.installed-dev
	$(BIN)/python -m bench.chaos

# The newest of what setup.cfg and pyproject.toml allow, with hashes, for the Dockerfile.
LOCK := $(BIN)/python -m uv pip compile --quiet --upgrade --generate-hashes --no-emit-index-url \
	--python-version 3.11 --python-platform linux --custom-compile-command "make lock"

lock: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet "uv>=0.13,<0.14"
	$(LOCK) setup.cfg -o deploy/requirements.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"])' \
		| $(LOCK) - -o deploy/build.lock

# As a systemd service that runs from this folder; see docs/howto/systemd.md.
install: $(VENV)/.installed
	$(BIN)/chromepool install $(ARGS)

$(VENV)/.installed: setup.cfg pyproject.toml scripts/bootstrap
	scripts/bootstrap run

$(VENV)/.installed-dev: setup.cfg pyproject.toml scripts/bootstrap tests/clients/package.json
	scripts/bootstrap test

clean:
	rm -rf $(VENV) tests/clients/node_modules build site *.egg-info bench/results
