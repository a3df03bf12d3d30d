# Two commands do everything, on a bare Debian 12 as well: `make demo` and `make test`.
# Missing tools are installed by tools/setup; Python packages go to .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
export PATH := $(PATH):$(HOME)/.cargo/bin:/usr/local/go/bin

PYTHON3 ?= python3
VENV := .venv
BIN := $(VENV)/bin
OTHER := .venv-other
JOBS ?= $(shell nproc)
# How many times as many examples as `make test` the property tests try in `make fuzz`, and how many times as many
# programs the tests of hostile hosts run in `make hostile`.
FUZZ_FACTOR ?= 100
HOSTILE_FACTOR ?= 100

.PHONY: all demo test lint test-rust test-python test-device test-on-device soak bench fuzz hostile build clean setup-build setup-test docs site abi

all: build

demo: build
	tools/demo demo

test: lint test-rust test-python

lint: setup-test $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cd runtime && cargo fmt --all --check
	cd runtime && cargo clippy --locked --all-targets -- -D warnings
	cd runtime && for crate in host kernel crt; do \
	    cargo clippy --locked -p mystikos-$$crate --bins --features image -- -D warnings; done
	cd runtime && cargo clippy --locked -p mystikos-host --bins --features image,hostile -- -D warnings

test-rust: setup-test
	cd runtime && cargo test --locked

test-python: setup-test build test-device $(OTHER)/.ready
	$(BIN)/pytest -n $(JOBS)

# /dev/sgx_enclave for machines without (runtime/testdevice), as cargo test builds it as well; no package contains it.
test-device: setup-test
	cd runtime && cargo build --locked --quiet -p mystikos-testdevice

# What the tests run in simulated enclaves, once more on the test device: all of the driver for hardware, in minutes.
ON_DEVICE := conformance runtime/test_programs.py runtime/test_instructions.py runtime/test_attestation.py \
    runtime/test_fresh_memory.py runtime/test_processor_state.py runtime/test_special_files.py
test-on-device: build test-device
	TESTS_ON_DEVICE=1 $(BIN)/pytest -n $(JOBS) --timeout 1200 $(addprefix tests/,$(ON_DEVICE))

# Full-size runs that take minutes: a 2 GiB directory in less than 200 MiB of memory.
soak: build setup-test
	$(BIN)/pytest -m soak --timeout 3600

bench: build setup-test
	$(BIN)/python -m benchmarks

fuzz: build setup-test
	FUZZ_FACTOR=$(FUZZ_FACTOR) $(BIN)/pytest -n $(JOBS) tests/properties tests/unit/formats

hostile: build setup-test test-device
	HOSTILE_FACTOR=$(HOSTILE_FACTOR) $(BIN)/pytest -n $(JOBS) --timeout 7200 tests/runtime/test_hostile_host.py

# The generated parts of docs/reference; a test compares them.
docs: $(VENV)/.ready
	$(BIN)/python tools/generate_docs.py

# The documentation as a site, in site/; it needs no server, open site/index.html.
site: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# Launcher, kernel and CRT image, placed in src/mystikos/_runtime.
build: $(VENV)/.ready
	$(PYTHON3) tools/build_runtime.py
	$(BIN)/python tools/scan_kernel.py src/mystikos/_runtime/libmystkernel

# What Python shares with the runtime: constants, and the kernel's system call table. A test compares them.
abi:
	cd runtime && cargo run --quiet --locked -p mystikos-abi --example emit_python > ../src/mystikos/_abi.py
	cd runtime && cargo run --quiet --locked -p mystikos-kernel --example emit_syscalls > ../src/mystikos/_syscalls.json

$(VENV)/.ready: pyproject.toml hatch_build.py tools/constraints.txt | setup-build
	$(PYTHON3) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c tools/constraints.txt -e '.[dev]'
	touch $@

# Another version of Python, if this machine has one: packages must be the same bytes.
$(OTHER)/.ready: pyproject.toml tools/constraints.txt tools/other_python.py | setup-build
	$(PYTHON3) tools/other_python.py $(OTHER)
	mkdir -p $(OTHER) && touch $@

setup-build:
	tools/setup build

setup-test:
	tools/setup test

clean:
	rm -rf $(VENV) $(OTHER) demo build dist site runtime/target src/mystikos/_runtime
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
