#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
# For people with kwctl: the module as kwctl runs it, with recorded lookups. `make bats` builds what is needed. Without kwctl the same
# tests run on the evaluator of this folder, which takes the same flags and prints the same.

setup() {
	cd "$BATS_TEST_DIRNAME/.."
	evaluate=${EVALUATE:-target/debug/evaluate}
	requests=test_data/requests
	session=test_data/sessions/github-is-stdio.yaml
}

judge() {
	if command -v kwctl >/dev/null; then
		run -0 --separate-stderr kwctl run --allow-context-aware "$@" annotated-policy.wasm
	else
		run -0 --separate-stderr "$evaluate" --allow-context-aware "$@" policy.wasm
	fi
}

answer() { jq -r "$1" <<<"$output"; }

# The operations of the patch, one on a line.
patch() { answer '.patch // "" | @base64d' | jq -c '.[]?'; }

@test "a stdio Deployment with three replicas comes to one" {
	judge --request-path $requests/deployment-stdio-three-replicas.json --replay-host-capabilities-interactions $session
	[ "$(answer .allowed)" = true ]
	[ "$(patch)" = '{"op":"replace","path":"/spec/replicas","value":1}' ]
	[ "$(answer '.warnings[0]')" = "stdio runs 1 replica; 3 requested in spec.replicas" ]
	[ "$(answer .auditAnnotations.replicas)" = "requested=3 admitted=1 reason=stdio" ]
}

@test "kubectl scale of a stdio Deployment comes to one" {
	judge --request-path $requests/scale-deployment-stdio.json --replay-host-capabilities-interactions $session
	[ "$(answer .allowed)" = true ]
	[ "$(patch)" = '{"op":"replace","path":"/spec/replicas","value":1}' ]
}

@test "reject refuses it, and says why" {
	judge --request-path $requests/scale-deployment-stdio.json --replay-host-capabilities-interactions $session \
		--settings-path test_data/settings/reject.yaml
	[ "$(answer .allowed)" = false ]
	[ "$(answer .status.code)" = 422 ]
	[[ "$(answer .status.message)" == *"stdio runs 1 replica"* ]]
}

@test "an MCPServer without Redis is warned of, and needs no lookup" {
	judge --request-path $requests/mcpserver-without-redis.json
	[ "$(answer .allowed)" = true ]
	[ -z "$(patch)" ]
	[[ "$(answer '.warnings[0]')" == *"without Redis loses sessions"* ]]
}

@test "a missing grace period is set" {
	judge --request-path $requests/deployment-missing-grace-period.json --replay-host-capabilities-interactions $session
	[ "$(answer .allowed)" = true ]
	[[ "$(patch)" == *'"path":"/spec/template/spec/terminationGracePeriodSeconds","value":30'* ]]
}

@test "what is not ToolHive's passes, unread" {
	judge --request-path $requests/deployment-foreign.json
	[ "$(answer .allowed)" = true ]
	[ -z "$(patch)" ]
	[ "$(answer '.warnings // [] | length')" = 0 ]
}

@test "settings that are none are refused by name" {
	if command -v kwctl >/dev/null; then
		run ! kwctl run --allow-context-aware --request-path $requests/deployment-foreign.json --settings-json '{"stdioReplica":"cap"}' annotated-policy.wasm
	else
		run ! "$evaluate" --allow-context-aware --request-path $requests/deployment-foreign.json --settings-json '{"stdioReplica":"cap"}' policy.wasm
	fi
	[[ "$output" == *stdioReplica* ]]
}
