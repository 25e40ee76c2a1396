# shellcheck shell=bash
# What the live tests need of a machine, and what they change on it outside of their namespaces.

run_prefix=mcpserver-scaling-live
# The kubelet sets these for the whole machine.
sysctls="vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes"

# Prints the folders of all cgroup hierarchies.
cgroup_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts; }

# Prints why the live tests cannot run on this machine; nothing if they can.
why_not_here() {
	local root
	[ "$(uname -s)" = Linux ] || { echo "they need Linux"; return; }
	[ "$(id -u)" = 0 ] || { echo "they need root"; return; }
	command -v go >/dev/null || { echo "they need Go (https://go.dev/doc/install)"; return; }
	command -v cargo >/dev/null || { echo "they need Rust (https://rustup.rs)"; return; }
	for program in unshare setpriv; do
		command -v $program >/dev/null || { echo "$program is missing (Debian package util-linux)"; return; }
	done
	unshare --mount --net --pid --fork --kill-child --mount-proc true 2>/dev/null || { echo "root may not create namespaces"; return; }
	[ -n "$(cgroup_roots)" ] || { echo "no cgroups are mounted"; return; }
	for root in $(cgroup_roots); do
		[ ! -d "$root/kubepods" ] || { echo "this machine is a node of a cluster already ($root/kubepods exists)"; return; }
		mkdir "$root/$run_prefix-probe" 2>/dev/null || { echo "root may not create cgroups in $root"; return; }
		rmdir "$root/$run_prefix-probe"
	done
}

# Prints the Debian packages of the programs that this machine does not have, from whatever source.
missing_packages() {
	local program package
	while read -r program package; do
		command -v "$program" >/dev/null || echo "$package"
	done <<-LIST
		containerd containerd
		runc runc
		/usr/lib/cni/bridge containernetworking-plugins
		iptables iptables
		redis-server redis-server
		ip iproute2
		jq jq
		openssl openssl
	LIST
}

# keep_sysctls FILE: notes the values that the kubelet changes.
keep_sysctls() {
	local name
	for name in $sysctls; do
		[ ! -r "/proc/sys/${name//.//}" ] || echo "$name=$(cat "/proc/sys/${name//.//}")"
	done >"$1"
	[ -d /var/lib/cni ] || touch "$(dirname "$1")/no-cni-folder"
}

# remove_cgroups: removes the cgroups of pods, which have no process any more.
remove_cgroups() {
	local root name
	for root in $(cgroup_roots); do
		for name in kubepods k8s.io; do
			# A cgroup is busy for a moment after the last process in it.
			for _ in 1 2 3 4 5 6 7 8 9 10; do
				[ -d "$root/$name" ] || break
				find "$root/$name" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.3
			done
		done
	done
}

# undo_run FOLDER: undoes what the run with this folder has changed, and removes the folder.
undo_run() {
	local line
	while IFS= read -r line; do echo "${line#*=}" >"/proc/sys/$(tr . / <<<"${line%%=*}")" || true; done <"$1/sysctls"
	remove_cgroups
	[ ! -e "$1/no-cni-folder" ] || rmdir /var/lib/cni 2>/dev/null || true
	rm -rf "$1"
}

# remove_leftovers: undoes runs that were killed. The name of a folder has the process of its run.
remove_leftovers() {
	local folder process
	for folder in "${TMPDIR:-/tmp}/$run_prefix".*; do
		process=$(basename "$folder" | cut -d. -f2)
		if [ -e "$folder/sysctls" ] && [ ! -d "/proc/$process" ]; then
			echo "undoing an earlier run that was killed: $folder" >&2
			undo_run "$folder"
		fi
	done
}
