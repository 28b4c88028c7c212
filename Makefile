# Concordat: every job of this repository. `make help` lists them.

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X github.com/concordat-db/concordat/regionnode.Version=$(VERSION)
# Packages tested at once. Two suits a machine of two cores: the tests run embedded servers and real stores.
P        ?= 2
# How long a fuzz target runs, as a number of inputs: at the end of a duration Go 1.26 may report "context deadline exceeded" as a
# failure of the target (golang/go#75804).
FUZZTIME ?= 20000x
SEEDS    ?= 200
SEED     ?= 1
STEPS    ?= 400
ITEMS    ?= 1000000
ADDS     ?= 10000
BENCH    ?= .
# How many inputs the repository keeps of each fuzz target.
CORPUS   ?= 20

.DEFAULT_GOAL := help
.PHONY: help build test planted race lint compat fuzz corpus sim difference load join pin counters bench bench-world demo example clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/concordat, static, with its version
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/concordat ./cli/concordat

test: ## run the tests
	$(GO) test -p $(P) -timeout 14m ./...
	$(GO) test -tags planted -timeout 10m -run '^TestPlanted$$' ./conflict ./streams/trigger ./chaos/sim ./chaos/scenarios

planted: ## find the faults that are planted on real processes
	$(GO) test -tags planted -timeout 10m -count=1 -run '^TestPlanted$$' ./chaos/faults

race: ## run the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -p $(P) -timeout 20m ./...

lint: ## gofmt, go vet, staticcheck, go mod tidy, direction of imports
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "gofmt: these files are not formatted:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags planted ./conflict ./streams/trigger ./chaos/... ./cli/concordat ./globaltable/locality ./regionnode/store
	$(GO) tool staticcheck ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 -run '^TestImport' ./cli/imports

compat: ## write the list of operations and parameters in COMPATIBILITY.md
	$(GO) test -count=1 -run '^TestCompatibilityIsGenerated$$' ./regionnode/dynamodb -args -rewrite

fuzz: ## run every fuzz target for FUZZTIME inputs (default 20000x) each
	@set -e; for file in $$(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | sort); do \
		dir=$$(dirname $$file); \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' $$file); do \
			echo "fuzz $$dir $$target ($(FUZZTIME))"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
		done; \
	done

corpus: ## keep what fuzzing has found interesting: the newest CORPUS inputs of at most 1 KB for each target, in testdata/fuzz
	@set -e; cache=$$($(GO) env GOCACHE)/fuzz; for file in $$(grep -rlE '^func Fuzz[A-Z]' --include='*_test.go' . | sort); do \
		dir=$$(dirname $$file); package=$$($(GO) list $$dir); \
		for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]+)\(.*/\1/p' $$file); do \
			[ -d $$cache/$$package/$$target ] || continue; \
			kept=$$dir/testdata/fuzz/$$target; mkdir -p $$kept; \
			find $$cache/$$package/$$target -type f -size -1025c -printf '%T@ %p\n' | sort -rn | cut -d' ' -f2 | while read input; do \
				[ $$(ls $$kept | wc -l) -lt $(CORPUS) ] || break; cp $$input $$kept/; \
			done; \
			rmdir --ignore-fail-on-non-empty $$kept; \
		done; \
	done

difference: ## compare SEEDS seeds (default 200) of STEPS random requests with the naive model of DynamoDB, beginning at SEED
	$(GO) test ./regionnode/dynamodb -count=1 -timeout 60m -v -run '^TestDifference$$' -args -seeds=$(SEEDS) -seed=$(SEED) -steps=$(STEPS)

sim: ## run SEEDS seeds of the simulation (default 200), beginning at SEED
	$(GO) test ./chaos/sim -count=1 -timeout 90m -run '^TestSeeds$$' -args -seeds=$(SEEDS) -seed=$(SEED)

load: ## load ITEMS items of 1 KB (default a million) into one of three regions, and see them arrive in all
	$(GO) test ./chaos/faults -count=1 -timeout 60m -v -run '^TestLoad$$' -args -items=$(ITEMS)

join: ## add a replica to a table of ITEMS items (default a million) under 2,000 writes a second, with two kills on the way
	$(GO) test ./chaos/faults -count=1 -timeout 60m -v -run '^TestJoin$$' -args -items=$(ITEMS)

pin: ## pin a tenth of a table of ITEMS items (default a million) under writes, and let it go again
	$(GO) test ./chaos/faults -count=1 -timeout 60m -v -run '^TestPin$$' -args -items=$(ITEMS) -pins=$(ITEMS)

counters: ## three regions 80 ms apart ADD to the same counters ADDS times each (default 10000), one cut off halfway; the same with SETs and deletes
	$(GO) test ./chaos/faults -count=1 -timeout 60m -v -run '^TestCounters' -args -adds=$(ADDS)

bench: ## run the benchmarks (BENCH=regexp), with allocations
	@set -e; for dir in $$(grep -rlE '^func Benchmark[A-Z]' --include='*_test.go' . | xargs -r -n1 dirname | sort -u); do \
		$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem $$dir; \
	done

bench-world: build ## measure a world of two regions beside the raw limits of this machine
	./bin/concordat bench --items 50000 --duration 5s

example: build ## build, then run deployments/examples/orders-search: a search index that a trigger keeps in step
	$(GO) run ./deployments/examples/orders-search -concordat bin/concordat

demo: build ## build, then watch three regions take writes, merge and converge
	./bin/concordat demo

clean: ## remove what the build made
	rm -rf bin dist
