# SPDX-License-Identifier: MIT
# make demo: kwalk on redis in the lab. make test: everything that must hold. As root on Debian.

PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.built
APT    := clang llvm libbpf1 libbpf-dev bpftool gcc python3-venv \
	  qemu-system-x86 busybox-static kmod cpio iproute2 redis-server redis-tools
# Files of tests/host that are for x86-64 only, or for all architectures at once.
NOT_ARM64 := /x86/|/(test_)?(hot\w*|groups|keys|reading|results|wanted)\.py
SHELL_SCRIPTS := .ci/run demo/redis.sh src/kwalk/lab/guest-init.sh
# QEMU for the kernels of other architectures; `make demo` needs none.
EMULATORS := qemu-system-arm
# What reads kwalk's output in tests; a test whose reader is missing says so.
READERS := golang-go chromium chromium-driver binutils zsh fish mandoc man-db groff tmux
# clang's sanitizers, for tests/host; gcc has its own.
SANITIZERS := libclang-rt-dev
PEERS  := bpftrace bpfcc-tools linux-perf
# Versions of the tools; empty: the newest of each.
CONSTRAINTS ?= constraints.txt
C_SOURCES := $(wildcard $(addsuffix *.[ch],bpf/ bpf/*/ bpf/*/*/) tests/host/stand_in/*.[ch] tests/host/stand_in/bpf/*.h benchmarks/*.c)
SOURCES := pyproject.toml hatch_build.py $(CONSTRAINTS) $(wildcard bpf/* bpf/*/* bpf/*/*/* scripts/* docs/tools/*.py) $(wildcard src/kwalk/*/*.cdef.h src/kwalk/*/*/*.cdef.h)

COUNTING := none,empty:fentry,empty:kprobe,manual:fentry,manual:kprobe,helper:kprobe,helper:fentry,bpftrace,bpftrace@sid,bcc,bcc@sid,ftrace,perf,perf@sid
PRINTING := none,empty:fentry,test-manual,test-helper,once,manual,helper,bpftrace,bpftrace@sid
RUNS ?= 7
REQUESTS ?= 20000
# $(call measure,MODE,METHODS): kwalk bench in the lab, its JSON into benchmarks/results
measure = $(VENV)/bin/kwalk lab run --icount --kernel $$kernel --timeout 14400 -- \
	env $${headers:+BCC_KERNEL_SOURCE=$$headers} $(VENV)/bin/kwalk bench ip_rcv --mode $1 --methods $2 --tools sid=$$newest \
	--runs $(RUNS) --requests $(REQUESTS) --format json >benchmarks/results/$$kernel-$1.new && \
	mv benchmarks/results/$$kernel-$1.new benchmarks/results/$$kernel-$1.json

.PHONY: help venv demo flamegraph test test-all test-long host units unit vm matrix lint format bench docs man clean

help:
	@echo "make demo    watch ip_rcv under redis in a virtual machine, by each method"
	@echo "make flamegraph  from nothing to a picture of what calls ip_rcv under redis"
	@echo "make test    lint, unit tests, then the tests in virtual machines (KERNELS=\"...\")"
	@echo "make bench   cost of each method, and of other tools, to redis, counted in instructions"
	@echo "make test-all    what takes hours as well, in parts (PARTS=\"long stacks ...\")"
	@echo "make test-long   compare a million stacks with the kernel's, half an hour (KERNELS=...)"
	@echo "make matrix  write docs/matrix.md: what works on which kernel"
	@echo "make unit    unit tests only: no root, no virtual machine"
	@echo "make host    those of the BPF code, run in a process under sanitizers, with its coverage"
	@echo "make lint    ruff, import-linter, mypy, clang-format, shellcheck, codespell"
	@echo "make docs    the documentation as a site, build/docs/index.html"
	@echo "make man     the man pages, build/man (an installed kwalk has them already)"
	@echo "make vm      the tests in virtual machines only (KERNELS=\"...\")"
	@echo "make format  ruff and clang-format, written into the files"
	@echo "make clean   remove what was built"
	@echo "make venv    build kwalk into $(VENV), $(VENV)/bin/kwalk"

# Debian packages are installed only where one of them is missing.
$(VENV)/.apt: Makefile
	@dpkg -s $(APT) >/dev/null 2>&1 || { \
		echo "installing Debian packages: $(APT)"; \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
		apt-get install -y -qq --no-install-recommends $(APT) >/dev/null; }
	@mkdir -p $(VENV) && touch $@

$(STAMP): $(VENV)/.apt $(SOURCES)
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install -q --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev,docs]'
	@touch $@

venv: compiled

# A virtual machine reads these files and writes none: what is not compiled here is compiled at each start there.
.PHONY: compiled
compiled: $(STAMP)
	@$(VENV)/bin/python -m compileall -q src/kwalk tests

demo: compiled
	@$(VENV)/bin/python demo/demo.py

# From nothing to a picture, build/flamegraph/redis.html, of what calls ip_rcv under redis (FUNC=... for another).
FUNC ?= ip_rcv
flamegraph: compiled
	@mkdir -p build/flamegraph
	@$(VENV)/bin/kwalk lab run --out build/flamegraph -- demo/redis.sh $(FUNC) build/flamegraph/redis.rec
	@$(VENV)/bin/kwalk report build/flamegraph/redis.rec --format flamegraph -o build/flamegraph/redis.html
	@echo "build/flamegraph/redis.html is the flame graph; kwalk report build/flamegraph/redis.rec has more"

# Lint, host and unit tests run two at a time; each prints when it ends. Packages first: only one apt can run.
test: $(VENV)/.readers $(VENV)/.sanitizers $(VENV)/.emulators
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint host units
	@$(MAKE) --no-print-directory vm

$(VENV)/.readers: $(STAMP)
	@dpkg -s $(READERS) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $(READERS) >/dev/null; } || \
		echo "some of $(READERS) cannot be installed: tests that want them are skipped"
	@test -d $(VENV)/node || ! command -v npm >/dev/null || \
		npm install --silent --prefix $(VENV)/node speedscope@1.25.0 >/dev/null || \
		echo "speedscope cannot be installed: its tests are skipped"
	@touch $@

$(VENV)/.sanitizers: $(STAMP)
	@dpkg -s $(SANITIZERS) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $(SANITIZERS) >/dev/null; } || \
		echo "$(SANITIZERS) cannot be installed: tests/host run by clang without its sanitizers"
	@touch $@

$(VENV)/.emulators: $(STAMP)
	@dpkg -s $(EMULATORS) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $(EMULATORS) >/dev/null; } || \
		echo "$(EMULATORS) cannot be installed: kernels of other architectures do not boot"
	@touch $@

# bpf/ compiled for this machine by gcc and by clang, under their sanitizers.
host: $(STAMP) $(VENV)/.sanitizers
	$(VENV)/bin/python tests/host/run.py

units: $(STAMP) $(VENV)/.readers
	$(VENV)/bin/pytest -q tests/unit

unit: host units

vm: compiled $(VENV)/.emulators
	$(VENV)/bin/python tests/matrix.py $(KERNELS)

matrix: compiled $(VENV)/.emulators
	$(VENV)/bin/python tests/matrix.py --write $(KERNELS)

# PARTS: those of tests/everything.py; a name that is none lists them. As root on Debian.
test-all: compiled $(VENV)/.emulators
	@command -v debootstrap >/dev/null || apt-get install -y -qq --no-install-recommends debootstrap >/dev/null || \
		echo "debootstrap cannot be installed: the fresh roots will fail"
	$(VENV)/bin/python tests/everything.py $(PARTS)

test-long: compiled $(VENV)/.emulators
	$(VENV)/bin/python tests/long/run.py $(KERNELS)

bench: compiled
	@dpkg -s $(PEERS) >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends $(PEERS) >/dev/null; } || \
		echo "some of $(PEERS) cannot be installed: they will not be measured"
	@mkdir -p benchmarks/results build/nothing
	@newest=$$($(VENV)/bin/kwalk lab peers) || \
		{ echo "without them sid's bpftrace, bcc and perf are not measured"; newest=build/nothing; }; \
	for kernel in $(or $(KERNELS),debian-13 debian-12 fp); do \
		headers=$$($(VENV)/bin/kwalk lab headers $$kernel) || echo "without them bcc is not measured"; \
		$(call measure,count,$(COUNTING)) && $(call measure,stream,$(PRINTING)) || exit 1; \
	done
	@$(VENV)/bin/python benchmarks/table.py

$(VENV)/.docs: $(STAMP)
	@$(VENV)/bin/pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	$(VENV)/bin/sphinx-build -q -W --keep-going -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

man: $(STAMP)
	@$(VENV)/bin/python docs/tools/man.py build/man

lint: $(STAMP)
	$(VENV)/bin/ruff check . scripts/*
	$(VENV)/bin/ruff format --check . scripts/*
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/mypy
	MYPYPATH=tests/host:tests/unit:tests $(VENV)/bin/mypy --always-true X86 demo/*.py benchmarks/*.py
	$(VENV)/bin/mypy docs/conf.py docs/tools/*.py
	MYPYPATH=tests/host $(VENV)/bin/mypy --always-true X86 tests/*.py tests/unit
	MYPYPATH=tests/unit $(VENV)/bin/mypy --always-true X86 --exclude /arm64/ tests/host
	MYPYPATH=tests/unit $(VENV)/bin/mypy --always-false X86 --exclude '$(NOT_ARM64)' tests/host
	$(VENV)/bin/mypy tests/vm tests/vm_icount tests/vm_lockdown tests/long tests/fresh tests/lab
	$(VENV)/bin/mypy tests/vm_old
	$(VENV)/bin/clang-format --dry-run -Werror $(C_SOURCES)
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)
	$(VENV)/bin/codespell
	$(VENV)/bin/python tests/style.py

format: $(STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	$(VENV)/bin/clang-format -i $(C_SOURCES)

clean:
	rm -rf $(VENV) dist build docs/reference .mypy_cache .ruff_cache .pytest_cache src/kwalk/probe/*.bpf.o \
		src/kwalk/bench/*.bpf.o src/kwalk/libbpf/_abi.py src/kwalk/arch/*/_abi.py
