# shellcheck shell=bash
# What a person does to a server that is in use. Each scenario is a function that acts, and a line in the list: its name, the proxies
# before and after, whether the MCPServer declares their number, what it is called in the tables, and the settings it is measured with.

# Settings are "-", without the policy; "default", the policy as it comes; or a number, with this preStopSeconds.
scenarios() {
	cat <<-LIST
		edit 2 3 declared - 0 5 10 15 | spec.replicas 2 to 3
		restart 2 2 declared - 0 5 | kubectl rollout restart of the proxies
		scale-down 3 1 undeclared - 0 5 | kubectl scale of the proxies 3 to 1
		image 2 2 declared - 0 5 | a new image
	LIST
}

act_edit() { edit_server "$1" '{"replicas": 3}'; }
act_restart() { change rollout restart deployment counter --namespace="$1"; }
act_scale-down() { change scale deployment counter --replicas=1 --namespace="$1"; }
act_image() { edit_server "$1" '{"image": "docker.io/live/server:2"}'; }

failures=0

# run_scenarios [--check]: measures what TESTS, SETTINGS and RUNS choose.
run_scenarios() {
	local line name before after declared settings setting title run
	if [ "${1:-}" = --check ]; then
		measure edit 2 3 declared default "spec.replicas 2 to 3"
		check_measured
		return
	fi
	while IFS= read -r line <&3; do
		title=${line##* | }
		read -r name before after declared settings <<<"${line% | *}"
		[[ $name =~ ${TESTS:-.} ]] || continue
		for run in $(seq "${RUNS:-1}"); do
			for setting in ${SETTINGS:-$settings}; do
				say "$title, setting $setting, run $run"
				measure "$name" "$before" "$after" "$declared" "$setting" "$title"
			done
		done
	done 3< <(scenarios)
	write_table
}
