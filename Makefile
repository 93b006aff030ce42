# The short way to everything. `make demo` and `make test` do all their own set-up.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

# Where the real channel, the demo project and their caches go.
REAL ?= target/real
PROFILE ?= release
ESKER := target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/esker
IMAGES := base-image base-notebook pangeo-notebook ml-notebook

.PHONY: help demo dockerfiles test lint esker real $(IMAGES)

help:  ## Say what can be made
	@grep -hE '^[a-z$$()A-Z -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/\$$\(IMAGES\)/IMAGE/; s/:.*## /\t/' | expand -t 16
	@echo "images: $(IMAGES)"

esker:  ## Build the esker program
	@command -v cargo > /dev/null || { echo 'esker is built with Rust: install it from https://rustup.rs' >&2; exit 3; }
	cargo build --profile $(PROFILE) --locked --bin esker

$(IMAGES): esker  ## Lock, build and verify one image with conda-forge and the base of esker.yml
	$(ESKER) make $@

real:  ## Make the real channel and base system that the demo and the end-to-end tests use
	python3 tests/real/make.py all --out $(REAL)

demo: esker real  ## Do the whole job, with packages that the language and Debian registries have
	ESKER=$(ESKER) REAL=$(REAL) tests/real/demo

dockerfiles: esker real  ## Build the four images by Docker for both architectures, emulated where need be
	ESKER=$(ESKER) REAL=$(REAL) tests/real/dockerfiles

test: real  ## Run all tests
	@command -v cargo-nextest > /dev/null || cargo install --locked cargo-nextest
	@mkdir -p target && : > target/skipped
	@status=0; \
	ESKER_SKIP_LOG=$(abspath target/skipped) ESKER_REAL=$(abspath $(REAL)) cargo nextest run --locked || status=$$?; \
	sort -u target/skipped | sed 's/^/  skipped: /'; \
	echo "$$(sed 's/: .*//' target/skipped | sort -u | wc -l) tests skipped"; \
	exit $$status

lint:  ## Check formatting, lints, licences
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	@command -v cargo-deny > /dev/null || cargo install --locked cargo-deny
	cargo deny check licenses bans sources
