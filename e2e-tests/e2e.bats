#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
# The annotated module in kwctl, with recorded lookups. `make e2e-tests` builds what is needed. Where kwctl is not installed, the same
# tests run with the command evaluate, which takes the same flags and prints the same JSON.

setup() {
	cd "$BATS_TEST_DIRNAME/.."
	evaluate=${EVALUATE:-target/debug/evaluate}
	requests=test_data/requests
	sessions=test_data/sessions
}

# run_policy FLAG...: runs the policy, whatever the exit code is.
run_policy() {
	if command -v kwctl >/dev/null; then
		run --separate-stderr kwctl run "$@" annotated-policy.wasm
	else
		run --separate-stderr "$evaluate" "$@" policy.wasm
	fi
}

# validate REQUEST FLAG...: validates a request that needs no lookup. kwctl would need a cluster to allow lookups.
validate() {
	local request=$1
	shift
	run_policy --request-path "$requests/$request.json" "$@"
	[ "$status" = 0 ]
}

# validate_with SESSION REQUEST FLAG...: validates a request with the lookups that the session recorded.
validate_with() {
	local session=$1
	shift
	validate "$@" --allow-context-aware --replay-host-capabilities-interactions "$sessions/$session.yaml"
}

answer() { jq -r "$1" <<<"$output"; }

# The operations of the patch, one on a line.
patch() { answer '.patch // "" | @base64d' | jq -c '.[]?'; }

@test "caps a stdio Deployment at one replica" {
	validate_with github-is-stdio deployment-stdio-three-replicas
	[ "$(answer .allowed)" = true ]
	[ "$(patch)" = '{"op":"replace","path":"/spec/replicas","value":1}' ]
	[ "$(answer '.warnings[0]')" = "transport stdio supports 1 replica; spec.replicas requests 3" ]
	[ "$(answer .auditAnnotations.replicas)" = "requested=3 wanted=1 reason=stdio" ]
}

@test "caps kubectl scale of a stdio Deployment" {
	validate_with github-is-stdio scale-deployment-stdio
	[ "$(answer .allowed)" = true ]
	[ "$(patch)" = '{"op":"replace","path":"/spec/replicas","value":1}' ]
}

@test "rejects kubectl scale of a stdio Deployment where the settings say so" {
	validate_with github-is-stdio scale-deployment-stdio --settings-path test_data/settings/reject.yaml
	[ "$(answer .allowed)" = false ]
	[ "$(answer .status.code)" = 422 ]
	[[ "$(answer .status.message)" == "transport stdio supports 1 replica; spec.replicas requests 3"* ]]
}

@test "warns about an MCPServer without Redis and needs no lookup" {
	validate mcpserver-without-redis
	[ "$(answer .allowed)" = true ]
	[ -z "$(patch)" ]
	[[ "$(answer '.warnings[0]')" == "2 replicas without Redis: clients with sessions fail"* ]]
}

@test "warns about the autoscaler of an MCPServer where the settings say so" {
	validate_with search-has-an-autoscaler mcpserver-without-redis --settings-json '{"readAutoscalers":true}'
	[ "$(answer .allowed)" = true ]
	[ "$(answer '.warnings[1]')" = "spec.replicas conflicts with HorizontalPodAutoscaler web; remove the field" ]
	[ "$(answer '.auditAnnotations["declared-replicas"]')" = "spec.replicas=2" ]
}

@test "sets a missing grace period" {
	validate_with search-is-sse deployment-missing-grace-period
	[ "$(answer .allowed)" = true ]
	[[ "$(patch)" == *'"path":"/spec/template/spec/terminationGracePeriodSeconds","value":35'* ]]
	[ "$(answer '.auditAnnotations.lookup')" = null ]
}

@test "accepts a Deployment that is not ToolHive's without a lookup" {
	validate deployment-foreign
	[ "$(answer .allowed)" = true ]
	[ -z "$(patch)" ]
	[ "$(answer '.warnings // [] | length')" = 0 ]
}

@test "rejects an unknown setting by its name" {
	run_policy --request-path "$requests/deployment-foreign.json" --settings-json '{"stdioReplica":"cap"}'
	[ "$status" != 0 ]
	[[ "$stderr" == *'unknown setting "stdioReplica"'* ]]
}

@test "describes the policy for Artifact Hub as kwctl does" {
	command -v kwctl >/dev/null || skip "kwctl is not installed"
	diff artifacthub-pkg.yml <(scripts/artifacthub "$(sed -n 's/^createdAt: //p' artifacthub-pkg.yml)")
}
