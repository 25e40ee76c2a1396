# shellcheck shell=bash
# Measures what clients go through while something is done to their server.

# Seconds for which the clients call before and after. A failure that comes later than this is not seen.
before_seconds=5
after_seconds=5
sessions=20
measured=0

# choose_policy SETTING: the cluster without the policy, or with it and this setting.
choose_policy() {
	case $1 in
	-) remove_policy ;;
	default) install_policy '{}' ;;
	*) install_policy "{\"preStopSeconds\": $1}" ;;
	esac
}

load() { cut -d' ' -f1 /proc/loadavg; }

# prepare_server NAMESPACE PROXIES BACKENDS MADE: a server with these counts, which the MCPServer declares or somebody scaled to.
prepare_server() {
	create_server "$1" "$2" "$4"
	if [[ ,$4, == *,scaled,* ]]; then
		settle "$1" 1
		change scale statefulset counter --replicas="$3" --namespace="$1"
		settle "$1" 1
		# After the backends: a proxy that runs does not use a backend that is added later.
		change scale deployment counter --replicas="$2" --namespace="$1"
		# The policy may have set another count.
		sleep 3
		settle "$1" null
	else
		settle "$1" "$2"
	fi
}

# start_clients NAMESPACE MADE: opens the sessions, through the Service of the proxies.
start_clients() {
	local service stream=false whole=false
	[[ ,$2, != *,stream,* ]] || stream=true
	[[ ,$2, != *,stdio,* ]] || whole=true
	service=$(k get service mcp-counter-proxy --namespace="$1" -o 'jsonpath={.spec.clusterIP}')
	rm -f "$RUN/clients-ready" "$RUN/clients.json"
	"$CLIENT_PROGRAM" -url "http://$service:8080/mcp" -sessions $sessions -stream=$stream -whole=$whole -source "${clients%.0/*}.1" -ready "$RUN/clients-ready" \
		>"$RUN/clients.json" 2>>"$RUN/clients.log" </dev/null &
	pids[clients]=$!
	[ $whole = true ] || wait_until 60 "every session has an answer" [ -e "$RUN/clients-ready" ]
}

# measure NAME PROXIES-BEFORE PROXIES-AFTER BACKENDS MADE SETTING TITLE: adds a line to results.jsonl.
measure() {
	local namespace=run-$((measured += 1)) acted load_before proxies
	choose_policy "$6"
	prepare_server "$namespace" "$2" "$4" "$5"
	start_clients "$namespace" "$5"
	sleep $before_seconds
	load_before=$(load) acted=$(date +%s.%N)
	"act_$1" "$namespace"
	# The change has to reach ToolHive before the server can be settled again.
	sleep 3
	settle "$namespace" "$3"
	sleep $after_seconds
	stop clients
	proxies=$(k get deployment counter --namespace="$namespace" -o 'jsonpath={.spec.replicas}')
	jq -c --arg name "$1" --arg title "$7" --arg setting "$6" --arg toolhive "$TOOLHIVE" --arg client "$CLIENT" \
		--arg load "$load_before $(load)" --argjson acted "$acted" --argjson proxies "$proxies" \
		'{name: $name, title: $title, setting: $setting, toolhive: $toolhive, client: $client, load: $load, acted: $acted, proxies: $proxies} + .' \
		"$RUN/clients.json" >>"$RUN/results.jsonl"
	tail -n 1 "$RUN/results.jsonl" >>"$RESULTS/results.jsonl"
	tail -n 1 "$RUN/results.jsonl" | jq -r '"  failed \(.failed), lost \(.lost), ended \(.ended), state gone \(.stateGone), proxies \(.proxies), longest gap \(.longestGap) s, load \(.load) \(.errors)"' >&2
	change delete namespace "$namespace"
}

# write_table: what was measured in this run, as a table of Markdown, on standard output and in a file.
write_table() {
	[ -e "$RUN/results.jsonl" ] || fail "no scenario has a name that TESTS matches: ${TESTS:-}"
	{
		echo "ToolHive $TOOLHIVE, Kubernetes $("$PROGRAMS/kubelet" --version | cut -d' ' -f2), $sessions sessions of the client in $CLIENT, a call of each every 250 ms."
		echo
		echo "| what a person does | policy | failed calls | sessions not known (404) | clients that ended | sessions whose state is gone | longest time without an answer | load average |"
		echo "|---|---|---|---|---|---|---|---|"
		jq -r 'def policy: if . == "-" then "without" elif . == "default" then "defaults" else "preStopSeconds \(.)" end;
			"| \(.title) | \(.setting | policy) | \(.failed) of \(.good + .failed) | \(.lost) | \(.ended) | \(.stateGone) | \(.longestGap * 10 | round / 10) s | \(.load) |"' \
			"$RUN/results.jsonl"
	} | tee "$RESULTS/table.md"
}

# is_lossless: whether the last run went as the documentation promises for the policy's defaults.
is_lossless() {
	tail -n 1 "$RUN/results.jsonl" | jq -e '.lost == 0 and .ended == 0 and .stateGone == 0 and .failed <= 2' >/dev/null
}
