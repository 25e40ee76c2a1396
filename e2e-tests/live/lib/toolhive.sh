# shellcheck shell=bash
# ToolHive's operator, and MCPServers.

# start_toolhive: the operator is a process of the node, under the account of ToolHive's chart.
start_toolhive() {
	import_image docker.io/live/proxyrunner:1 /thv-proxyrunner "$TOOLHIVE_FOLDER/thv-proxyrunner"
	# The same program twice: what a new image restarts is measured with the second.
	import_image docker.io/live/server:1 /server "$PROGRAMS/server"
	containerd_ctl images tag docker.io/live/server:1 docker.io/live/server:2 >>"$RUN/images.log"
	change create --filename="$TOOLHIVE_FOLDER/crds"
	change wait --for=condition=Established crd --all --timeout=60s
	change create namespace toolhive-system
	change create serviceaccount --namespace=toolhive-system toolhive-operator
	change create clusterrolebinding toolhive-operator --clusterrole=cluster-admin --serviceaccount=toolhive-system:toolhive-operator
	kubeconfig operator "$(k create token --namespace=toolhive-system toolhive-operator --duration=24h)"
	spawn operator env "KUBECONFIG=$RUN/operator.kubeconfig" POD_NAMESPACE=toolhive-system TOOLHIVE_PROXY_HOST=0.0.0.0 \
		TOOLHIVE_RUNNER_IMAGE=docker.io/live/proxyrunner:1 TOOLHIVE_SKIP_UPDATE_CHECK=true TOOLHIVE_USAGE_METRICS_ENABLED=false \
		"$TOOLHIVE_FOLDER/thv-operator" --metrics-bind-address=0 --health-probe-bind-address=0
	wait_until 60 "the operator's controllers run" grep -q "Starting workers" "$RUN/operator.log"
	say "ToolHive $TOOLHIVE is ready"
}

# create_server NAMESPACE PROXIES MADE: the MCPServer "counter" with its sessions in Redis. lib/scenarios.sh tells the words of MADE.
create_server() {
	local replicas='' environment='' probe='' transport=streamable-http arguments='' made=,$3,
	[[ $made != *,declared,* ]] || replicas="replicas: $2"
	[[ $made != *,slow,* ]] || environment='env: [{name: START_DELAY, value: 13s}]'
	[[ $made != *,probe,* ]] ||
		probe='podTemplateSpec: {spec: {containers: [{name: mcp, readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}]}}'
	[[ $made != *,stdio,* ]] || { transport=stdio arguments='args: [stdio]'; }
	change create namespace "$1"
	[[ $made != *,headless,* ]] || create_headless_service "$1"
	change create --namespace="$1" --filename=- <<-YAML
		apiVersion: toolhive.stacklok.dev/$(toolhive_version)
		kind: MCPServer
		metadata: {name: counter}
		spec:
		  image: docker.io/live/server:1
		  transport: $transport
		  proxyPort: 8080
		  mcpPort: 8080
		  sessionStorage: {provider: redis, address: "$node:6379", keyPrefix: "$1:"}
		  $replicas
		  $environment
		  $probe
		  $arguments
	YAML
}

# create_headless_service NAMESPACE: the Service of the backends before the proxy runner makes it, which then leaves the address alone.
create_headless_service() {
	change create --namespace="$1" --filename=- <<-YAML
		apiVersion: v1
		kind: Service
		metadata: {name: mcp-counter}
		spec: {clusterIP: None, selector: {app: counter}, ports: [{port: 8080}]}
	YAML
}

# no_proxy_runs NAMESPACE: whether the Deployment has no pod.
no_proxy_runs() { [ "$(k get deployment counter --namespace="$1" -o 'jsonpath={.status.replicas}')" = "" ]; }

# proxies_are NAMESPACE COUNT: whether the Deployment is set to this count.
proxies_are() { [ "$(k get deployment counter --namespace="$1" -o 'jsonpath={.spec.replicas}')" = "$2" ]; }

# toolhive_version: the newest version of the API that this release has.
toolhive_version() { k api-resources --api-group=toolhive.stacklok.dev | awk '$NF == "MCPServer" { print $(NF - 2) }' | cut -d/ -f2; }

# edit_server NAMESPACE SPEC: what a person does with kubectl edit.
edit_server() { change patch mcpserver counter --namespace="$1" --type=merge --patch="{\"spec\": $2}"; }

# is_settled NAMESPACE REPLICAS: whether all pods of the server are as they should be, and none is on its way. null is any number.
is_settled() {
	k get deployments,statefulsets,pods --namespace="$1" -o json | jq -e --argjson replicas "$2" '
		[.items[] | select(.kind != "Pod")] as $workloads | [.items[] | select(.kind == "Pod")] as $pods
		| ($workloads | length) == 2
		and all($workloads[]; .metadata.generation == .status.observedGeneration and (.status.updatedReplicas // 0) == .spec.replicas
			and (.status.readyReplicas // 0) == .spec.replicas and .status.replicas == .spec.replicas)
		and any($workloads[]; .kind == "Deployment" and ($replicas == null or .spec.replicas == $replicas))
		and ($pods | length) == ([$workloads[].spec.replicas] | add)
		and all($pods[]; .metadata.deletionTimestamp == null and any(.status.conditions[]; .type == "Ready" and .status == "True"))
	' >/dev/null
}

# settle NAMESPACE REPLICAS: waits until the server has been settled for some seconds, since a new proxy may yet change the backend.
settle() {
	local quiet=0 until=$(($(date +%s) + 240))
	while [ $quiet -lt 6 ]; do
		if is_settled "$1" "$2"; then quiet=$((quiet + 1)); else quiet=0; fi
		require_processes
		if [ "$(date +%s)" -gt "$until" ]; then
			k get pods --namespace="$1" -o wide >&2
			fail "the server does not settle"
		fi
		sleep 1
	done
}
