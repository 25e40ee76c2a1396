# shellcheck shell=bash
# The policy, in the project's own webhook.

webhook_port=9443

# remove_policy: the API server no longer calls it.
remove_policy() {
	change delete mutatingwebhookconfigurations --all
	stop webhook
}

# require_policy_account: the account of policy-server, with the rights that the project's manifest gives it.
require_policy_account() {
	[ ! -e "$RUN/policy.kubeconfig" ] || return 0
	change create namespace kubewarden
	change create serviceaccount --namespace=kubewarden policy-server
	change apply --filename=deploy/policy-server-rbac.yaml
	kubeconfig policy "$(k create token --namespace=kubewarden policy-server --duration=24h)"
}

# The policy warns a person of a stdio server with several replicas, so that the warning in a dry run shows that it is asked.
policy_answers() {
	k create --dry-run=server --filename=- 2>&1 <<-YAML | grep "Warning: .*stdio"
		apiVersion: toolhive.stacklok.dev/$(toolhive_version)
		kind: MCPServer
		metadata: {name: probe, namespace: toolhive-system}
		spec: {image: none, transport: stdio, replicas: 3}
	YAML
}

# install_policy SETTINGS: serves the policy with these settings, in JSON, and waits until the API server calls it.
install_policy() {
	remove_policy
	require_policy_account
	"$POLICY_PROGRAMS/policy-files" --settings="$1" --module="$POLICY_MODULE" --url="https://127.0.0.1:$webhook_port" \
		--authority="$RUN/ca.crt" "$RUN"
	spawn webhook env "KUBECONFIG=$RUN/policy.kubeconfig" "$POLICY_PROGRAMS/policy-webhook" --addr=127.0.0.1 --port=$webhook_port \
		--policies="$RUN/policies.json" --cert-file="$RUN/server.crt" --key-file="$RUN/server.key"
	wait_until 60 "the webhook listens" bash -c "exec 3<>/dev/tcp/127.0.0.1/$webhook_port"
	change apply --filename="$RUN/webhook.json"
	wait_until 30 "the API server calls the policy" policy_answers
}
