# Everything a contributor does. uv is fetched into .uv where the machine has none.
UV := $(shell uv --version >/dev/null 2>&1 && echo uv || echo .uv/bin/uv)
RUN := $(UV) run --no-sync
FUZZ := $(wildcard src/tests/test_fuzz_*.py src/tests/acceptance/test_fuzz_*.py)
COMPOSE := docker compose -f docker-compose/docker-compose.local.yaml -p payouts_service

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.uv/bin/uv:
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .uv uv

setup: $(filter .uv/bin/uv,$(UV)) ## Install what the project needs into .venv
	@$(UV) sync --locked --quiet

run: setup ## Run the whole service on port 8000, with a PostgreSQL of its own if none is given
	@$(RUN) python -m tests.local

test: setup ## Run every test, on a PostgreSQL of its own if none is given
	@$(RUN) pytest -n 4 --dist loadfile

drill: setup ## Break everything while payouts are paid; SEED=… repeats a run, MANNER=… names the provider
	@$(RUN) pytest -q -s src/tests/drill/drill.py

peers: $(filter .uv/bin/uv,$(UV))
	@$(UV) sync --locked --quiet --group bench

bench: peers ## Measure it beside what people would write instead; OPTIONS=--quick
	@$(RUN) python -m benchmarks compare $(OPTIONS)

bench-scaleout: peers ## Measure one, two and four processes
	@$(RUN) python -m benchmarks scaleout $(OPTIONS)

bench-slow: peers ## Measure workers whose provider takes 0.3 s
	@$(RUN) python -m benchmarks slow $(OPTIONS)

bench-scale: peers ## Explain its queries with up to SIZES="10000 1000000 10000000" payouts
	@$(RUN) python -m benchmarks scale $(OPTIONS)

fuzz: setup ## Send everything and its opposite; SEED=… repeats a run, EXAMPLES=… makes it shorter
	@EXAMPLES=$${EXAMPLES:-10000} CROWD_SECONDS=$${CROWD_SECONDS:-60} SEED=$${SEED:-$$(date +%s)} $(RUN) pytest -v -s $(FUZZ)

lint: setup ## Check style, types, migrations, scripts and files
	@$(RUN) pre-commit run --all-files

audit: setup ## Look for known vulnerabilities of what uv.lock names, where the network allows it
	@$(UV) audit --locked || [ $$? -eq 2 ]

format: setup ## Put the code into shape
	@$(RUN) ruff check --fix src benchmarks; $(RUN) ruff format src benchmarks

migrations: setup ## Write migrations for changed models
	@DEBUG=True $(RUN) python src/manage.py makemigrations

openapi: setup ## Write the OpenAPI document into docs/openapi.yaml
	@DEBUG=True API_AUTH=required $(RUN) python src/manage.py generate_swagger --overwrite -f yaml -u http://localhost:8080 docs/openapi.yaml

pictures: setup ## Take the pictures of docs/back-office.md anew, of the running service in Chromium
	@$(RUN) python -m tests.pictures

up: ## Build the image and start everything in Docker
	$(COMPOSE) up -d --build

down: ## Stop what `up` started
	$(COMPOSE) --profile '*' down

logs: ## Follow the logs of what `up` started
	$(COMPOSE) --profile '*' logs -f

.PHONY: help setup run test drill fuzz peers bench bench-scaleout bench-slow bench-scale lint audit format migrations openapi pictures up down logs
