.DEFAULT_GOAL := help
.PHONY: help demo run test chaos staging lint fmt

CARGO ?= cargo

help: ## Show what there is to make
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Start the daemon and watch a storm of events pass, crises first
	@scripts/needs.sh demo
	@$(CARGO) build --release --locked
	@$(CARGO) run --release --locked --quiet -- demo

run: ## Start the daemon on its own SQLite and Redis, with its state in ./var
	@scripts/needs.sh run
	@$(CARGO) build --release --locked
	@$(CARGO) run --release --locked --quiet -- serve

test: ## Run every test, against a real Redis and real databases
	@scripts/needs.sh test
	@scripts/test.sh

chaos: ## Kill, stop, empty and cut off everything under load, and print what was lost: nothing
	@scripts/needs.sh test
	@scripts/chaos.sh

staging: ## Send the deployment guide's scenarios with Stripe's npm package, and measure each against its limit
	@scripts/staging.sh

lint: ## Check formatting, lints and, where cargo-deny is installed, dependencies
	@scripts/needs.sh build
	@scripts/lint.sh

fmt: ## Format the code
	@$(CARGO) fmt --all
