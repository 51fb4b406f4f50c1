# Everything a developer runs. `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run test check format mutants bench drill image schema lock clean

help:
	@echo "make run     start the proxy, send one streamed request through it, keep serving (ONCE=1: end after the request)"
	@echo "make test    the tests (with the checks)"
	@echo "make check   formatting, lint, types"
	@echo "make format  let ruff format and mend"
	@echo "make mutants break the circuit breaker in thirty ways, and see the tests notice each"
	@echo "make bench   measure against nginx and others (needs wrk, nginx, haproxy); QUICK=1 for a short run"
	@echo "make drill   an hour of real traffic in minutes while providers fail; table and timeline (ARGS=--synthetic without the trace)"
	@echo "make image   build the image with docker or podman (ENGINE=, TAG=); without them, assemble its files and start them"
	@echo "make schema  write config.schema.json again, after a change of the configuration's types"
	@echo "make lock    pin the dependencies again, with hashes"

$(STAMP): requirements-dev.lock pyproject.toml
	@echo "Setting up $(VENV): about a minute, this once"
	@$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: $(STAMP)
	@ONCE=$(ONCE) $(BIN)/python examples/first_request.py

test: check
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

mutants: $(STAMP)
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(STAMP)
	$(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

drill: $(STAMP)
	$(BIN)/python -m drill $(ARGS)

image: $(STAMP)
	$(BIN)/python -m deploy.image.build $(if $(ENGINE),--engine=$(ENGINE)) $(if $(TAG),--tag=$(TAG)) $(ARGS)

schema: $(STAMP)
	$(BIN)/python -m proxy schema > config.schema.json.new
	mv config.schema.json.new config.schema.json

# Lines that begin with two hyphens are this machine's settings of pip, which have no place in the repository.
COMPILE := $(BIN)/pip-compile --quiet --no-header --generate-hashes --allow-unsafe --strip-extras --no-annotate

lock:
	$(BIN)/python -m pip install --quiet pip-tools
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra otel --extra kube --extra dev --extra bench --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml requirements-build.in
	$(COMPILE) --extra otel --constraint requirements-dev.lock --output-file requirements-image.lock pyproject.toml
	sed -i '/^--/d' requirements.lock requirements-dev.lock requirements-image.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
