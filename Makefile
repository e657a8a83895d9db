# Keybearer. `make` alone lists the targets.
# Tools and test programs are kept in $XDG_CACHE_HOME/keybearer (or ~/.cache/keybearer), never in the tree.

.DEFAULT_GOAL := help
.PHONY: help build rootfs package dist demo test check bench reliability security screens soak sample mutate docs docs-serve fmt setup clean

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ROOTFS  ?= bin/rootfs
LDFLAGS  = -s -w -X github.com/caddyserver/caddy/v2.CustomBinaryName=keybearer -X github.com/caddyserver/caddy/v2.CustomVersion=$(VERSION)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the static binary bin/keybearer
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/keybearer ./cmd/keybearer

# What the image holds and nothing else; the tests run the same tree under chroot. Its owner is set by whoever uses it.
rootfs: build
	install -D -m 755 bin/keybearer $(ROOTFS)/usr/bin/keybearer
	install -D -m 644 /etc/ssl/certs/ca-certificates.crt $(ROOTFS)/etc/ssl/certs/ca-certificates.crt
	install -d -m 700 $(ROOTFS)/data

package: build ## make the Debian package in dist/, with the bill of materials (SBOM) of what is in it
	@test/setup package
	@VERSION='$(VERSION)' packaging/stage bin/keybearer
	@VERSION='$(VERSION)' packaging/package bin/keybearer $$(go env GOARCH)

dist: package ## all that is released for this platform: package, archive, SBOM, checksums
	cd dist && sha256sum keybearer_* >SHA256SUMS

demo: ## see it work: a server, a destination, an app, the refusals and the audit lines
	CGO_ENABLED=0 go run ./cmd/keybearer demo

test: ## run all tests; installs what is missing (apt, npm, go) and says so
	@test/run test

check: ## formatting, vet, staticcheck, race tests of all that does not import Caddy
	@test/run check

bench: ## CPU per request and latency beside stock Caddy, nginx and HAProxy; options in BENCH="-rounds 9"
	@test/run bench $(BENCH)

reliability: ## run the tests of a fleet in trouble, and write what they measured into docs/reliability.md
	@test/run reliability

security: ## run the tests that answer the threats, and write docs/security.md with their counts
	@test/run security

screens: ## draw every screen of the console for docs/screens
	@test/run screens

soak: ## run what takes hours (SOAK_TIME=75m of it fuzzing), and write what was seen into docs/soak.md
	@test/run soak

sample: ## keep a sample of this version for the tests of upgrades: make sample NAME=v1.2.0 FORMER=path/of/the/last/binary
	@test/run sample "$(NAME)" "$(FORMER)"

mutate: ## break the guards one at a time, see that a test fails, and write docs/mutation.md; options in MUTATE="-only policy"
	go run ./test/mutate $(MUTATE)

docs: ## build the documentation as a site, into bin/site
	@KEYBEARER_VERSION='$(VERSION)' site/build

docs-serve: docs build ## show that site on this machine, on the port KEYBEARER_DOCS_PORT or 8000
	@echo 'http://127.0.0.1:$(or $(KEYBEARER_DOCS_PORT),8000)/   (Ctrl-C ends it)'
	@bin/keybearer run --config site/Caddyfile

fmt: ## format all Go files
	@test/run fmt

setup: ## only install what the tests need
	@test/setup

clean: ## remove what make built
	rm -rf bin dist
