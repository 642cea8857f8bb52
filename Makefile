# `make help` lists the targets. Variables: PORT, EMULATOR_PORT, MODEL_PORT, MODEL, MODEL_BASE_URL, OPENAI_API_KEY, ARCH, ...
.DEFAULT_GOAL := help
.PHONY: help run stop status logs watch invoke test check format lint docs dependencies templates unit simulation local-tests e2e drills runbooks stacks measure-health screenshots manuals tour failover backup chaos build deploy rollback clean

# By binary, not by package: cargo then chooses the same features as for the functions and compiles nothing twice.
REPRISE := cargo run --quiet --bin reprise --

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Install, build, start, deploy and ask one question (again: seconds)
	@sh infra/local/preflight.sh >/dev/null
	@test -x target/debug/reprise || echo "building the reprise command (about a minute, once)"
	@$(REPRISE) stack up $(ARGS)

stop: ## End exactly what `make run` started
	@$(REPRISE) stack down

status: ## Show what runs
	@$(REPRISE) stack status

logs: ## Show the logs of the stack: make logs FUNCTION=agent-api
	@$(REPRISE) stack logs $(FUNCTION)

watch: ## Hot reload on the same URL and data: edit a function, the next request runs it (Ctrl-C ends it)
	@$(REPRISE) stack up --no-ask
	@$(REPRISE) stack watch

invoke: ## Invoke a function with an event fixture: make invoke FUNCTION=health EVENT=ready (EVENT=list names them)
	@$(REPRISE) stack invoke $(or $(FUNCTION),health) --event "$(EVENT)"

test: check unit stacks ## Everything, from a clean checkout

# Each brings up a stack of its own, and waits more than it computes.
stacks: ## All that needs a running stack, three at a time
	infra/local/install.sh run
	cargo build --quiet --locked
	@$(MAKE) --no-print-directory --jobs=3 --output-sync=target runbooks e2e drills chaos manuals local-tests failover backup

check: format lint docs dependencies templates ## All that needs no running stack and no test

format: ## Formatting
	cargo fmt --all --check

lint: ## Clippy, warnings denied
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings

docs: ## Documentation, warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --all-features --document-private-items --quiet

dependencies: ## Licences, bans, sources, advisories as far as they can be had
	infra/checks/dependencies.sh

templates: ## cfn-lint, sam validate, and what comes out of the transform
	infra/checks/templates.sh

unit: ## Unit, adapter and contract tests
	cargo test --locked --workspace --all-features --lib --bins --test contract --test contract_api --test simulation --test commands --test preflight

# The three crates that a simulated world runs are built with optimization; nothing else is built anew.
FAST = $(foreach crate,shared queue-consumer tests,--config 'profile.dev.package.$(crate).opt-level=2')
simulation: ## Simulated worlds with all faults, in seconds: make simulation N=20000 SEED=1 (the first seed)
	SIM_RUNS=$(or $(N),20000) SIM_FIRST=$(or $(SEED),1) cargo test --locked --quiet $(FAST) --package tests --test simulation -- --nocapture

local-tests: ## The emulator's fixes, the front and the deploy
	infra/local/install.sh run
	.local/venv/bin/python -m unittest discover --start-directory infra/local/tests --top-level-directory infra/local

e2e: ## The real binaries, and the deployed template
	infra/checks/e2e.sh

drills: ## Every probe under every fault, every metric, trace and alarm: make drills ONLY=probes
	infra/checks/drills.sh $(ONLY)

runbooks: ## Every runbook, followed from its own text while what it is for goes wrong
	infra/checks/drills.sh runbooks

screenshots: ## Draw the dashboard's pictures anew (five minutes)
	infra/dashboards/screenshots.sh

# By package: what one needs must not be built into the other.
measure-health: ## What /health costs beside a function that does nothing, cold and warm; fails above 1.5 times
	cargo build --locked --profile local --package empty-function
	cargo build --locked --profile local --package health
	python3 infra/adr/measure/health_cost.py target/local

backup: ## A copy of everything, an empty stack, and everything back
	infra/checks/backup.sh

manuals: ## The operations lines of five manuals, one by one, and the session in README.md
	infra/checks/manuals.sh
	infra/checks/tour.sh --check

tour: ## Record the terminal session in README.md anew
	infra/checks/tour.sh

failover: ## Two providers that fail and heal, and the runs that must not notice
	infra/checks/failover.sh

chaos: ## Kill, stop, throttle and break everything, then judge every run: make chaos N=1000 SEED=1 (N faults, 60 by default)
	N=$(or $(N),60) SEED=$(or $(SEED),1) KINDS=$(KINDS) REPORT=$(REPORT) infra/checks/chaos.sh

build: ## Build the functions for AWS (ARCH=arm64|x86_64)
	infra/deploy/build.sh

deploy: ## Deploy to AWS (BUCKET=…), or DRY_RUN=1: all that needs no account
	infra/deploy/deploy.sh

rollback: ## Back to the release before (BUCKET=…), or RELEASE=…; LIST=1 names them
	infra/deploy/rollback.sh

clean: ## Stop the stack, remove what was built and installed
	-@test -x target/debug/reprise && target/debug/reprise stack down
	rm -rf target .local
