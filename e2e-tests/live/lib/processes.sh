# shellcheck shell=bash
# Processes of the node, and waiting for them.

tests_began=$(date +%s)
say() { echo "$(($(date +%s) - tests_began)) s: $*" >&2; }

fail() {
	say "$*"
	exit 1
}

declare -A pids

# spawn NAME COMMAND...: starts a process with its output in NAME.log.
spawn() {
	local name=$1
	shift
	"$@" >>"$RUN/$name.log" 2>&1 </dev/null &
	pids[$name]=$!
}

# stop NAME: ends a process, if it runs.
stop() {
	[ -n "${pids[$1]:-}" ] || return 0
	kill "${pids[$1]}" 2>/dev/null || true
	wait "${pids[$1]}" 2>/dev/null || true
	unset "pids[$1]"
}

# require_processes: ends the tests if a process of the node has ended.
require_processes() {
	local name
	for name in "${!pids[@]}"; do
		kill -0 "${pids[$name]}" 2>/dev/null && continue
		tail -n 15 "$RUN/$name.log" >&2
		fail "$name has ended; the last lines of its log are above"
	done
}

# wait_until SECONDS WHAT COMMAND...: tries the command until it succeeds.
wait_until() {
	local until=$(($(date +%s) + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		require_processes
		[ "$(date +%s)" -lt "$until" ] || fail "waited too long until $what"
		sleep 0.3
	done
}

# The process of this script as the machine outside sees it.
outer_pid() { awk '$1 == "NSpid:" { print $2 }' /proc/self/status; }
