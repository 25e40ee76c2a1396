# shellcheck shell=bash
# What a person does to a server that is in use. Each scenario is a function that acts, and a line in the list: its name, the proxies
# before and after, the backends before, how the server is made (below), the settings it is measured with, and its title in the tables.

# Settings are "-", without the policy; "default", the policy as it comes; or a number, with this preStopSeconds.
#
# How the server is made, one word or several with commas: declared, the number of proxies stands in the MCPServer, or scaled,
# somebody set both counts with kubectl scale; slow, its backend needs 13 seconds until it listens; probe, the backend has a readiness
# probe; headless, the Service of its backends has no address of its own; stream, the clients hold a stream for messages of the server;
# stdio, its transport is stdio, and what the clients meet when they open their sessions counts too.
#
# The proxies after are null where they depend on the policy.
scenarios() {
	cat <<-LIST
		edit 2 3 1 declared - 0 5 10 15 | spec.replicas 2 to 3
		slow-edit 2 3 1 declared,slow - 0 5 | spec.replicas 2 to 3, a backend that needs 13 s to start
		stream 2 3 1 declared,stream - 0 5 | spec.replicas 2 to 3, clients that hold a stream
		restart 2 2 1 declared - 0 5 | kubectl rollout restart of the proxies
		scale-down 3 1 1 scaled - 0 5 | kubectl scale of the proxies 3 to 1
		hpa 2 2 1 scaled - 0 5 | a HorizontalPodAutoscaler scales the proxies 2 to 3 and back
		image 2 2 1 declared - 0 5 | a new image
		slow-image 2 2 1 declared,slow - 5 | a new image that needs 13 s to start
		slow-probe 2 2 1 declared,slow,probe - 5 | the same with a readiness probe
		image-backends 2 2 3 scaled,slow,probe 5 | the same with 3 backends, which a rolling update replaces one by one
		several-backends 3 1 3 scaled - 5 | kubectl scale of the proxies 3 to 1, 3 backends
		several-headless 3 1 3 scaled,headless - 5 | the same with a headless Service
		backends 2 2 3 scaled - 5 | kubectl scale of the backends 3 to 1
		backends-headless 2 2 3 scaled,headless - 5 | the same with a headless Service
		stdio 3 null 1 scaled,stdio - 5 | new clients of a stdio server, after kubectl scale of its proxies 1 to 3
		zero 2 2 1 scaled - 5 | kubectl scale of the proxies to 0 and back
		redis 2 2 1 declared - 5 | Redis is away for 15 s, and empty then
	LIST
}

act_edit() { edit_server "$1" '{"replicas": 3}'; }
act_slow-edit() { act_edit "$1"; }
act_stream() { act_edit "$1"; }
act_restart() { change rollout restart deployment counter --namespace="$1"; }
act_scale-down() { change scale deployment counter --replicas=1 --namespace="$1"; }
act_stdio() { sleep 10; }

# The controller of Kubernetes moves a count into the bounds of its autoscaler without metrics, of which this node has none.
act_hpa() {
	change create --namespace="$1" --filename=- <<-YAML
		apiVersion: autoscaling/v2
		kind: HorizontalPodAutoscaler
		metadata: {name: counter}
		spec: {minReplicas: 3, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: counter}}
	YAML
	wait_until 60 "the autoscaler has scaled up" proxies_are "$1" 3
	settle "$1" 3
	change patch hpa counter --namespace="$1" --type=merge --patch='{"spec": {"minReplicas": 1, "maxReplicas": 2}}'
	wait_until 60 "the autoscaler has scaled down" proxies_are "$1" 2
}

act_image() { edit_server "$1" '{"image": "docker.io/live/server:2"}'; }
act_slow-image() { act_image "$1"; }
act_slow-probe() { act_image "$1"; }
act_image-backends() { act_image "$1"; }
act_several-backends() { act_scale-down "$1"; }
act_several-headless() { act_scale-down "$1"; }
act_backends() { change scale statefulset counter --replicas=1 --namespace="$1"; }
act_backends-headless() { act_backends "$1"; }

act_zero() {
	change scale deployment counter --replicas=0 --namespace="$1"
	wait_until 90 "no proxy runs" no_proxy_runs "$1"
	change scale deployment counter --replicas=2 --namespace="$1"
}

act_redis() {
	stop redis
	sleep 15
	start_redis
}

failures=0

# run_scenarios [--check]: measures what TESTS, SETTINGS and RUNS choose.
run_scenarios() {
	local line name before after backends made settings setting title run
	if [ "${1:-}" = --check ]; then
		for run in 1 2; do
			measure edit 2 3 1 declared default "spec.replicas 2 to 3"
			! is_lossless || break
			say "an edit under load may lose no session, no state and at most 2 calls; run $run did"
			# A busy machine fails calls that a policy cannot save, so that one bad run tells nothing.
			[ $run = 1 ] || failures=1
		done
		write_table
		return
	fi
	while IFS= read -r line <&3; do
		title=${line##* | }
		read -r name before after backends made settings <<<"${line% | *}"
		[[ $name =~ ${TESTS:-.} ]] || continue
		for run in $(seq "${RUNS:-1}"); do
			for setting in ${SETTINGS:-$settings}; do
				say "$title, setting $setting, run $run"
				measure "$name" "$before" "$after" "$backends" "$made" "$setting" "$title"
			done
		done
	done 3< <(scenarios)
	write_table
}
