# `make run` and `make test` need Rust, and `make test` also Node.js. The scripts install what else is missing.

# Where cargo builds.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

SOURCES := $(shell find src rules/src -name '*.rs') Cargo.toml Cargo.lock rules/Cargo.toml
EVALUATE := $(TARGET_DIR)/debug/evaluate
# What runs in a test cluster: the reconciler as it is compiled for tests, in seconds. RECONCILER=file takes another, such as the released one.
RECONCILER = $(TARGET_DIR)/debug/mcpserver-scaling-reconciler
# Modules that the policy is compared with; policy-host/wasmtime-host/src/baseline.rs describes them.
EMPTY_GUEST := $(TARGET_DIR)/empty-guest.wasm
FIXED_RESPONSE_GUEST := $(TARGET_DIR)/fixed-response-guest.wasm
# What is tested in a cluster, or with the engine of the real host. It has features of its own and is compiled after `make test`.
CLUSTER_PACKAGES := --package cluster-tests --package wasmtime-host

.PHONY: run test exploration e2e-tests cluster-tests live-tests live-test compatibility demo evaluate artifacthub-pkg.yml publish release-dry-run \
	reproducible fmt generate lint bench bench-policy bench-reconciler bench-admission fuzz clean $(TARGET_DIR)/debug/mcpserver-scaling-reconciler

# Evaluates REQUEST="file or folder..." with SETTINGS=file and CLUSTER=file or folder; without REQUEST, the examples.
REQUEST ?=
SETTINGS ?=
CLUSTER ?= test_data/cluster
EXAMPLES := mcpserver-stdio-three-replicas mcpserver-without-redis deployment-stdio-three-replicas \
	deployment-missing-grace-period deployment-reset-by-operator scale-deployment-stdio autoscaler-stdio

run: policy.wasm evaluate
	@$(EVALUATE) --output human --cluster $(CLUSTER) $(if $(SETTINGS),--settings-path $(SETTINGS)) \
		$(or $(REQUEST),$(EXAMPLES:%=test_data/requests/%.json))

# Without --package: with other packages selected, cargo would select other features, and `make test` would compile the
# dependencies a second time.
evaluate:
	@scripts/announce "Compiling the command evaluate with its interpreter for WebAssembly: about a minute, once." \
		cargo build --locked --bin evaluate

policy.wasm: $(SOURCES) scripts/wasm
	@scripts/wasm module mcpserver-scaling-policy $@

annotated-policy.wasm: policy.wasm metadata.yml usage.md scripts/annotate
	scripts/annotate policy.wasm $@

# What Artifact Hub shows. DATE is the date of the release, by default today.
DATE ?=
artifacthub-pkg.yml:
	scripts/artifacthub $(DATE) > $@.new && mv $@.new $@ || { rm -f $@.new; exit 1; }

# Pushes the module to a registry: MODULE=registry/name:tag
MODULE ?=
publish: annotated-policy.wasm
	@[ -n "$(MODULE)" ] || { echo "usage: make publish MODULE=registry/name:tag" >&2; exit 1; }
	kwctl push annotated-policy.wasm registry://$(MODULE)

$(TARGET_DIR)/%-guest.wasm: policy-host/%-guest/src/lib.rs policy-host/%-guest/Cargo.toml Cargo.toml Cargo.lock scripts/wasm
	@scripts/wasm module $*-guest $@

# All tests that do not need a cluster.
test: policy.wasm $(EMPTY_GUEST)
	@scripts/announce "Compiling the tests: about two minutes, once." cargo test --locked --no-run
	@echo "Running the tests: about two minutes."
	@cargo test --locked --quiet
	@scripts/wasm test mcp-scaling-rules

# The exploration of all states within a larger bound than in `make test`. It takes about 25 minutes and 7 GB of memory.
exploration:
	cargo test --locked --package exploration -- --ignored --nocapture

# Tests of the annotated module with kwctl. Without kwctl, the same tests run with the evaluate command.
e2e-tests: policy.wasm evaluate
	@command -v bats >/dev/null || scripts/install bats
	@command -v jq >/dev/null || scripts/install jq
	@if command -v kwctl >/dev/null; then $(MAKE) annotated-policy.wasm; \
		else echo "WARNING: kwctl is not installed; the tests use the evaluate command in its place" >&2; fi
	EVALUATE=$(abspath $(EVALUATE)) bats e2e-tests/e2e.bats

# cargo compiles this program for one of the reconciler's tests as in `make test`, and not a second time with other features.
$(TARGET_DIR)/debug/mcpserver-scaling-reconciler:
	cargo test --quiet --locked --no-run --test command

# Tests on a real API server, and the test that the interpreter and wasmtime agree. TESTS=word runs only the tests with this word in
# their names. POLICY_SERVER=file runs the annotated module in this policy-server; kwctl annotates it, unless ANNOTATED_POLICY names
# an annotated one. KUBERNETES="1.36 1.37" runs them on each of these versions in turn.
KUBERNETES ?=
TESTS ?=
POLICY_SERVER ?=
ANNOTATED_POLICY ?= annotated-policy.wasm
cluster-tests: policy.wasm $(RECONCILER) $(if $(POLICY_SERVER),$(ANNOTATED_POLICY))
	helm=$$(scripts/helm) && for kubernetes in $(or $(KUBERNETES),""); do \
		assets=$$(KUBERNETES=$$kubernetes scripts/control-plane) && \
		CONTROL_PLANE_ASSETS="$$assets" POLICY_WASM="$(CURDIR)/policy.wasm" RECONCILER="$(abspath $(RECONCILER))" HELM="$$helm" \
		POLICY_SERVER="$(if $(POLICY_SERVER),$(abspath $(POLICY_SERVER)))" ANNOTATED_POLICY="$(abspath $(ANNOTATED_POLICY))" \
		cargo test --locked $(CLUSTER_PACKAGES) -- $(TESTS) || exit; done

# Real pods and sessions on a node of one's own, while a server is scaled: Linux, root, Go, and about an hour and a half for each of the
# RUNS with all scenarios; elsewhere it says why nothing is tested. TOOLHIVE=tag chooses the release, TESTS=word the scenarios.
live-tests:
	TESTS="$(TESTS)" e2e-tests/live/run

# One of them, with the policy's defaults: an edit under load loses nothing.
live-test:
	e2e-tests/live/run --check

# The tests with ToolHive's own programs, of every release in e2e-tests/toolhive and in the folder $TOOLHIVE_RELEASES; then
# the table in docs/compatibility.md, from what is seen with these programs.
compatibility:
	TOOLHIVE_TAGS="$$(scripts/toolhive --list | paste -sd,)" $(MAKE) cluster-tests TESTS=toolhive
	TOOLHIVE_TAGS="$$(scripts/toolhive --list | paste -sd,)" CONTROL_PLANE_ASSETS="$$(scripts/control-plane)" \
		POLICY_WASM="$(CURDIR)/policy.wasm" RECONCILER="$(abspath $(RECONCILER))" \
		cargo run --quiet --locked --package cluster-tests --bin compatibility

# Shows the problem and the solution: with ToolHive's own programs in a cluster, if there is kubectl and a control plane that was found or
# built before, else as verdicts on requests.
CAN_START_CLUSTER = command -v kubectl >/dev/null && \
	[ -x "$$(CONTROL_PLANE=found scripts/control-plane 2>/dev/null)/kube-controller-manager" ]
demo: policy.wasm
	@{ $(CAN_START_CLUSTER); } || { \
		echo "In a cluster, the demo needs kubectl and the programs that scripts/control-plane builds. Here, verdicts on requests:"; \
		$(MAKE) run; }
	@! { $(CAN_START_CLUSTER); } || { $(MAKE) --no-print-directory $(RECONCILER) && \
		cargo build --quiet --locked --package cluster-tests --bins && \
		CONTROL_PLANE_ASSETS="$$(CONTROL_PLANE=found scripts/control-plane 2>/dev/null)" POLICY_WASM="$(CURDIR)/policy.wasm" \
			RECONCILER="$(abspath $(RECONCILER))" $(TARGET_DIR)/debug/demo; }

# The steps of the release workflow that publish nothing, with digests of nothing in the chart, and checks of what they write to dist/.
# Needs kwctl, and Helm or Go.
ARCHITECTURE := $(if $(filter aarch64,$(shell uname -m)),arm64,amd64)
NO_DIGEST := sha256:0000000000000000000000000000000000000000000000000000000000000000
release-dry-run:
	@command -v jq >/dev/null || scripts/install jq
	scripts/release files
	scripts/reconciler dist/$(ARCHITECTURE)/mcpserver-scaling-reconciler
	scripts/release plugin
	scripts/release chart $(NO_DIGEST) $(NO_DIGEST)
	scripts/release check $(NO_DIGEST) $(NO_DIGEST)
	rm -rf dist/artifacthub && scripts/release artifacthub dist/artifacthub
	@if docker info >/dev/null 2>&1; then scripts/release image $(ARCHITECTURE) mcpserver-scaling-reconciler:dry-run; \
		else echo "WARNING: no Docker here; the image of the reconciler is not built" >&2; fi
	@echo "dist/ has the files of the release; nothing is published"

# Builds the module once more, in another folder, and compares the files.
reproducible: policy.wasm
	scripts/reproducible policy.wasm

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

# Writes the lists of settings from src/settings.rs, and the manifests from the chart. Needs Helm, or Go to build it.
generate:
	helm=$$(scripts/helm) && cargo run --quiet --locked --package xtask -- generate "$$helm"

# `cargo clippy` would check the dependencies in a mode of its own, of which no build can use anything. Here clippy takes the place of the
# compiler for the crates of this workspace, and most dependencies are compiled once for `make lint`, `make test` and `make cluster-tests`.
lint: export RUSTC_WORKSPACE_WRAPPER := $(CURDIR)/scripts/clippy-as-rustc
lint:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	@for packages in "" "$(CLUSTER_PACKAGES)"; do scripts/announce "Compiling with clippy: about five minutes in all, once." \
		cargo test --locked --no-run --all-targets --config profile.dev.package.exploration.opt-level=0 $$packages || exit; done
	@for package in mcpserver-scaling-policy empty-guest fixed-response-guest; do scripts/wasm lint $$package || exit; done
	helm=$$(scripts/helm) && cargo run --quiet --locked --package xtask -- check "$$helm"

bench: bench-policy bench-reconciler

bench-policy: policy.wasm $(EMPTY_GUEST) $(FIXED_RESPONSE_GUEST)
	cargo run --quiet --locked --profile bench-host --package wasmtime-host --bin bench -- \
		--empty-guest $(EMPTY_GUEST) --fixed-response-guest $(FIXED_RESPONSE_GUEST) policy.wasm

bench-reconciler:
	scripts/reconciler $(TARGET_DIR)/mcpserver-scaling-reconciler
	cargo bench --quiet --locked --profile bench-host --package mcpserver-scaling-reconciler --bench memory -- \
		$(abspath $(TARGET_DIR)/mcpserver-scaling-reconciler)

# What a policy adds to the time of a write, on a real API server.
bench-admission: policy.wasm $(RECONCILER)
	cargo build --quiet --locked --profile bench-host --package cluster-tests --bins
	CONTROL_PLANE_ASSETS="$$(scripts/control-plane)" POLICY_WASM="$(CURDIR)/policy.wasm" RECONCILER="$(abspath $(RECONCILER))" \
		$(TARGET_DIR)/bench-host/bench-admission

# Runs each fuzz target for FUZZ_SECONDS. Inputs that fail are written to fuzz/artifacts.
FUZZ_SECONDS ?= 600
fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

clean:
	cargo clean
	rm -f policy.wasm annotated-policy.wasm
