# The front of the build: meson and ninja do the work, and each target first installs the packages
# it lacks (tools/packages says which and why). `make CC=clang`, `make V=1` do what one expects.

PREFIX = /usr/local
SANITIZE = -Db_sanitize=address,undefined -Db_lundef=false

.NOTPARALLEL:
.PHONY: build test test-vm lint bench bench-gateway bench-backup storm fuzz fuzz-merge run install clean help

build:       ## build/citadel and build/citadel-sim
	@tools/packages build
	@tools/build build

test:        ## every test under sanitizers; the last line counts them
	@rm -f build-test/result
	@tools/packages build test
	@tools/build build
	@tools/build build-test $(SANITIZE)
	@tests/run

test-vm:     ## what takes a kernel of its own: limits, power cuts; in qemu, a quarter of an hour
	@rm -f build-test/result
	@tools/packages build test vm
	@tools/build build
	@tests/run vm

lint:        ## everything that reads the code: both compilers, analyzers, our own rules
	@tools/packages build test lint
	@tests/lint/run

bench:       ## what it costs, measured on this machine
	@tools/packages build bench
	@tools/build build
	@tests/bench/run

bench-gateway: ## the gateway beside HAProxy and nginx
	@tools/packages build bench
	@tools/build build
	@tests/bench/gateway

bench-backup: ## backup and restore beside restic, borg, casync, cp and zstd
	@tools/packages build bench
	@tools/build build
	@tests/bench/backup

storm:       ## 5000 streams through the gateway for two minutes, while an engine dies again and again
	@tools/packages build test
	@tools/build build
	@CITADEL_STORM=5000,120 /usr/bin/python3 -B -m pytest -q -s -p no:cacheprovider tests/scenario/test_gateway_storm.py

fuzz:        ## fuzz the parsers: T=json one target, S=60 seconds each
	@tools/packages build fuzz
	@CC=clang tools/build build-fuzz -Dfuzz=true $(SANITIZE)
	@tests/fuzz/run fuzz "$(T)" "$(S)"

fuzz-merge:  ## take what fuzzing found new into tests/fuzz/corpus, as few files as will do
	@tests/fuzz/run merge "$(T)"

run:         ## three simulated models on two simulated GPUs; Ctrl-C ends them
	@tools/packages build run
	@tools/build build
	@exec build/citadel up --demo

install:     ## into DESTDIR and PREFIX (/usr/local)
	@tools/packages build
	@tools/build build
	@meson configure build "-Dprefix=$(PREFIX)"
	@destdir="$(DESTDIR)"; meson install -C build --destdir "$${destdir:+$$(realpath -m "$$destdir")}"

clean:       ## remove what was built
	rm -rf build build-*

help:        ## this list
	@sed -n 's/^\([a-z-]*\): *## /make \1\t/p' Makefile | expand -t 18
