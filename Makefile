# The targets of weir; "make" alone lists them.

SHELL   = /bin/sh
GO     ?= go
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS = -X main.version=$(VERSION)

# What "make run" uses. It needs no rights: high port, everything below run/.
RUN   = $(CURDIR)/run
FUZZTIME ?= 1s

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help build run test check deps fmt vet staticcheck gotest sdktest generated fuzz bench bench-peers bench-growth crash reloads faults install clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' Makefile

build: ## build bin/weir
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/weir ./cmd/weir
	@ln -sf weir bin/sendmail

run: build ## run etc/quickstart.conf on 127.0.0.1:2525 (SCRIPT=your.py: your filter)
	@scripts/run.sh "$(RUN)" $(SCRIPT)

test: deps check ## everything: what the tests need, then "make check"

check: fmt generated vet staticcheck sdktest fuzz gotest ## every check; needs no network

deps: ## install the Debian packages that the tests use, where that is possible
	@scripts/deps.sh

fmt: ## gofmt has nothing to change
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$bad" ]; then echo "gofmt would change:"; echo "$$bad"; exit 1; fi

generated: ## generated files are as their generators make them
	@scripts/generated.sh

vet: ## go vet
	$(GO) vet ./...

staticcheck: ## staticcheck
	$(GO) tool staticcheck ./...

gotest: build ## all Go tests, with the race detector, in a random order
	$(GO) test -run "TestIdleStack|TestBuffersUsedAgain" ./internal/server ./internal/mailflow/filter
	$(GO) test -race -shuffle=on -timeout 14m ./...

sdktest: ## the SDKs' own tests, with the tools of their languages
	@scripts/sdktest.sh

fuzz: ## every fuzz target for FUZZTIME (1s)
	@FUZZTIME=$(FUZZTIME) scripts/fuzz.sh

bench: ## Go benchmarks of every hot path, with allocations
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./sdk/...

bench-peers: ## weir side by side with Postfix and OpenSMTPD (FLAGS: bench/README.md)
	$(GO) run ./bench peers $(FLAGS)
	$(GO) run ./bench report

bench-growth: ## what grows with sessions, filters, recipients, queue, size; starts
	$(GO) run ./bench growth $(FLAGS)
	$(GO) run ./bench claims $(FLAGS)
	$(GO) run ./bench report

crash: build ## kill the server under load fifty times and count what is lost
	WEIR_CRASHES=50 $(GO) test -count=1 -v -timeout 30m -run TestKill ./test/peers

reloads: build ## reload the configuration under load a hundred times, of one process and of several
	WEIR_RELOADS=100 $(GO) test -race -count=1 -v -timeout 30m -run TestReload ./test/peers

faults: build ## every fault with every policy, five minutes of kills, four of chaos
	WEIR_FAULTS_LONG=1 $(GO) test -race -count=1 -v -timeout 30m -run 'TestFaults|TestKill|TestChaos' ./test/faults

install: build ## install below DESTDIR and PREFIX (/usr/local)
	@DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' scripts/install.sh

clean: ## remove what was built, and run/
	rm -rf bin run
