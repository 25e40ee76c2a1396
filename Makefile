# `make run` and `make test` need nothing but Rust, and Node for the tests on wasm32; they install what else is missing.

SOURCES := $(shell find src rules/src -name '*.rs') Cargo.toml Cargo.lock rules/Cargo.toml
FLOOR := target/empty-guest.wasm
FIXTURES := test_data
EVALUATE := target/debug/evaluate

# What `make run` evaluates: REQUEST=file, SETTINGS=file, CLUSTER=file or folder. Without REQUEST, a tour.
REQUEST ?=
SETTINGS ?=
CLUSTER ?= $(FIXTURES)/cluster
TOUR := mcpserver-stdio-three-replicas mcpserver-without-redis deployment-stdio-three-replicas \
	deployment-missing-grace-period deployment-reset-by-operator scale-deployment-stdio autoscaler-stdio

.PHONY: run test bats publish e2e-tests demo reproducible fmt lint bench bench-policy bench-reconciler fuzz clean evaluate

run: policy.wasm evaluate
ifeq ($(REQUEST),)
	@for request in $(TOUR); do \
		echo; echo "$(FIXTURES)/requests/$$request.json"; \
		$(EVALUATE) --output human --cluster $(CLUSTER) $(if $(SETTINGS),--settings-path $(SETTINGS)) \
			--request-path $(FIXTURES)/requests/$$request.json policy.wasm || exit 1; \
	done
else
	@$(EVALUATE) --output human --cluster $(CLUSTER) $(if $(SETTINGS),--settings-path $(SETTINGS)) \
		--request-path $(REQUEST) policy.wasm
endif

evaluate:
	cargo build --quiet --locked -p policy-host --bin evaluate

policy.wasm: $(SOURCES) scripts/wasm
	scripts/wasm module mcpserver-scaling-policy $@

annotated-policy.wasm: policy.wasm metadata.yml README.md
	@command -v kwctl >/dev/null || { echo "annotating needs kwctl: https://github.com/kubewarden/kwctl" >&2; exit 1; }
	kwctl annotate --metadata-path metadata.yml --usage-path README.md --output-path $@ policy.wasm

# To a registry: MODULE=registry/name:tag
MODULE ?=
publish: annotated-policy.wasm
	@[ -n "$(MODULE)" ] || { echo "make publish MODULE=registry/name:tag" >&2; exit 1; }
	kwctl push annotated-policy.wasm registry://$(MODULE)

# The module in kwctl or, where there is none, in the evaluator.
bats: policy.wasm evaluate
	@command -v bats >/dev/null && command -v jq >/dev/null || { echo "this needs bats and jq" >&2; exit 1; }
	@if command -v kwctl >/dev/null; then $(MAKE) annotated-policy.wasm; \
		else echo "no kwctl here: the evaluator takes its place"; fi
	bats e2e-tests/e2e.bats

$(FLOOR): policy-host/empty-guest/src/lib.rs policy-host/empty-guest/Cargo.toml Cargo.toml Cargo.lock scripts/wasm
	scripts/wasm module empty-guest $@

test: policy.wasm $(FLOOR)
	cargo test --locked
	scripts/wasm test mcp-scaling-rules

# Needs a control plane: scripts/control-plane finds, downloads or builds one, or says how to get it and fails. ACT=word plays
# only the acts with that word in their name.
ACT ?=
e2e-tests: policy.wasm
	scripts/reconciler target/mcpserver-scaling-reconciler
	cargo build --quiet --locked -p cluster-tests
	assets=$$(scripts/control-plane) && helm=$$(scripts/helm) && target/debug/cluster-tests run --assets "$$assets" \
		--policy policy.wasm --reconciler target/mcpserver-scaling-reconciler --helm "$$helm" --act "$(ACT)"

# The story in a terminal, in a real cluster where `make e2e-tests` got one before, else as verdicts on requests.
demo: policy.wasm
	@if assets=$$(CONTROL_PLANE=found scripts/control-plane) && command -v kubectl >/dev/null; then \
		scripts/reconciler target/mcpserver-scaling-reconciler && cargo build --quiet --locked -p cluster-tests && \
		target/debug/cluster-tests demo --assets "$$assets" --policy policy.wasm \
			--reconciler target/mcpserver-scaling-reconciler; \
	else $(MAKE) run; fi

# The module built twice, from different folders: the same bytes.
reproducible:
	scripts/reproducible

fmt:
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml

lint:
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

bench: bench-policy bench-reconciler

bench-policy: policy.wasm $(FLOOR)
	cargo run --quiet --locked --profile bench-host -p policy-host --bin bench -- --floor $(FLOOR) policy.wasm

bench-reconciler:
	scripts/reconciler target/mcpserver-scaling-reconciler
	cargo bench --quiet --locked --profile bench-host -p mcpserver-scaling-reconciler --bench memory -- \
		$(CURDIR)/target/mcpserver-scaling-reconciler

# Each target for FUZZ_SECONDS; what it finds is written to fuzz/artifacts.
FUZZ_SECONDS ?= 600
fuzz:
	scripts/fuzz $(FUZZ_SECONDS)

clean:
	cargo clean
	rm -f policy.wasm annotated-policy.wasm
