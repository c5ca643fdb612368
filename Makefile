# `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: help play edge observe image test test-cluster lint fmt web vectors corpus swarm bench fuzz soak clean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

play: ## Build, start the server and some bots, print the page's address
	cargo build --release --locked -p fray-server -p fray-bot
	@exec scripts/play.sh

edge: ## The same with three servers that share a NATS, behind Envoy with TLS
	cargo build --release --locked -p fray-server -p fray-bot
	@exec scripts/edge.sh

observe: ## One server with traces and metrics: Jaeger, Prometheus, Grafana if installed
	cargo build --release --locked -p fray-server -p fray-bot
	@exec scripts/observe.sh

image: ## The container image IMAGE (fray:dev), with docker, podman or buildah
	@exec scripts/image.sh

test: ## Check everything, as CI does; installs the tools that it needs
	@exec scripts/test.sh

lint: ## Only the quick checks: formatting, spelling, protocol, clippy
	@scripts/tools.sh buf typos
	cargo fmt --all --check
	PATH="$${FRAY_TOOLS:-$$HOME/.cache/fray-tools}/bin:$$PATH" typos
	cd proto && PATH="$${FRAY_TOOLS:-$$HOME/.cache/fray-tools}/bin:$$PATH" buf lint
	cargo clippy --locked --workspace --all-targets -- -D warnings

fmt: ## Format the Rust code
	cargo fmt --all

web: ## Rebuild the browser page that the server embeds (needs Node 20)
	cd web && npm ci && npm run build

vectors: ## Regenerate the test vectors that every client is checked against
	FRAY_WRITE_VECTORS=1 cargo test --locked -p fray-proto --test vectors

corpus: ## Regenerate what the fuzz targets begin from
	FRAY_WRITE_CORPUS=1 cargo test --locked -p fray-server --test fuzz_corpus

swarm: ## Send PLAYERS bots (200) to a running server at URL for SECONDS (60)
	cargo run --release --locked -p fray-bot -- swarm --players $(or $(PLAYERS),200) \
	  --url $(or $(URL),http://127.0.0.1:7777) --duration $(or $(SECONDS),60)s

bench: ## Measure an update beside a naive tonic server and bare TCP, the heap, many streams, parts of a tick (two cores, 60 minutes)
	cargo build --release --locked -p fray-bench
	target/release/e2e --capacity
	target/release/allocations
	target/release/scale all
	cargo bench --locked -p fray-bench --bench micro

test-cluster: ## Try the chart on the cluster of the current kubeconfig; scripts/test-cluster.sh says how
	@exec scripts/test-cluster.sh

fuzz: ## Fuzz all that parses bytes from outside, or TARGETS, for FUZZ_SECONDS (3600) each
	@FUZZ_SECONDS=$(or $(FUZZ_SECONDS),3600) scripts/fuzz.sh $(TARGETS)

soak: ## What takes too long for every change: kills, damage, outages, a match in real time (25 minutes)
	@exec scripts/soak.sh

clean: ## Remove what was built
	cargo clean
	rm -rf web/node_modules web/dist web/src/gen
