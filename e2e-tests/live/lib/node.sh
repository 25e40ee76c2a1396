# shellcheck shell=bash
# A Kubernetes node with its control plane, in the namespaces of this process. Addresses are of 198.18.0.0/15, the range for
# benchmarks, so that none of them can be meant for a machine that exists.

node=198.19.0.1
# Each client has an address of its own: ToolHive's Services keep a client on one proxy by its address.
clients=198.19.1.0/24
pods=198.18.0.0/22
services=198.18.128.0/20
first_service=198.18.128.1
dns=198.18.128.10

# k: kubectl as an administrator, whom the policy takes for a person. change: the same, with what it says in a log.
k() { "$PROGRAMS/kubectl" --kubeconfig="$RUN/admin.kubeconfig" "$@"; }
change() { k "$@" >>"$RUN/kubectl.log"; }

# prepare_mounts: what the node writes outside of its folder is written to memory, and nobody outside sees it.
prepare_mounts() {
	mount -t tmpfs tmpfs /run
	mount -t tmpfs tmpfs /var/log
	mkdir -p /var/lib/cni
	mount -t tmpfs tmpfs /var/lib/cni
	# The kubelet's mounts have to reach the containers.
	mount --bind "$RUN" "$RUN"
	mount --make-rshared "$RUN"
}

prepare_network() {
	local address
	ip link set lo up
	for address in $node/32 $clients $dns/32; do ip address add "$address" dev lo; done
	echo 1 >/proc/sys/net/ipv4/ip_forward
	# A process of the node that calls a Service needs a route to it before kube-proxy's rules turn the call to a pod.
	ip route add $services dev lo src $node
	mkdir -p "$RUN/cni"
	cat >"$RUN/cni/10-pods.conflist" <<-JSON
		{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
		  "type": "bridge", "bridge": "pods0", "isGateway": true, "hairpinMode": true,
		  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$RUN/addresses"}
		}]}
	JSON
}

prepare_certificates() {
	cat >"$RUN/names" <<-NAMES
		subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,DNS:kubernetes.default,DNS:kubernetes,IP:127.0.0.1,IP:$node,IP:$first_service
	NAMES
	(
		cd "$RUN" || exit
		openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=live-tests -keyout ca.key -out ca.crt
		openssl req -newkey rsa:2048 -nodes -subj /CN=live-tests-server -keyout server.key -out server.csr
		openssl x509 -req -days 2 -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -in server.csr -out server.crt
		openssl genrsa -out accounts.key 2048
	) >"$RUN/openssl.log" 2>&1
}

# kubeconfig NAME TOKEN: writes NAME.kubeconfig, in JSON, which is YAML as well.
kubeconfig() {
	jq -n --arg server "https://$node:6443" --arg authority "$(base64 -w0 "$RUN/ca.crt")" --arg token "$2" '{
		apiVersion: "v1", kind: "Config", "current-context": "live",
		clusters: [{name: "live", cluster: {server: $server, "certificate-authority-data": $authority}}],
		contexts: [{name: "live", context: {cluster: "live", user: "live"}}], users: [{name: "live", user: {token: $token}}]
	}' >"$RUN/$1.kubeconfig"
}

# prepare_users: the users of the programs, as kubeadm names them.
prepare_users() {
	local name user groups token
	: >"$RUN/tokens.csv"
	while read -r name user groups; do
		token=$(openssl rand -hex 16)
		echo "$token,$user,$user,\"$groups\"" >>"$RUN/tokens.csv"
		kubeconfig "$name" "$token"
	done <<-USERS
		admin kubernetes-admin system:masters
		kubelet system:node:live system:nodes
		kube-proxy system:kube-proxy system:authenticated
		kube-scheduler system:kube-scheduler system:authenticated
		kube-controller-manager system:kube-controller-manager system:authenticated
	USERS
}

start_containerd() {
	# restrict_oom_score_adj: in some machines root may not make a process less likely to be ended for memory. The snapshotters need
	# file systems that nothing here has.
	cat >"$RUN/containerd.toml" <<-TOML
		version = 2
		root = "$RUN/containerd"
		state = "/run/containerd-state"
		disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
		  "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
		[grpc]
		address = "/run/containerd.sock"
		[plugins."io.containerd.grpc.v1.cri"]
		sandbox_image = "live/pause:1"
		netns_mounts_under_state_dir = true
		disable_apparmor = true
		restrict_oom_score_adj = true
		[plugins."io.containerd.grpc.v1.cri".cni]
		bin_dir = "/usr/lib/cni"
		conf_dir = "$RUN/cni"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
		runtime_type = "io.containerd.runc.v2"
		[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
		SystemdCgroup = false
	TOML
	spawn containerd containerd --config "$RUN/containerd.toml"
	wait_until 60 "containerd answers" containerd_ctl version
}

containerd_ctl() { ctr --address /run/containerd.sock --namespace k8s.io "$@"; }

# import_image NAME ENTRYPOINT FILE: an image of one program and the libraries that it is linked with, if it is.
import_image() {
	local name=$1 entrypoint=$2 program=$3 libraries
	libraries=$(ldd "$program" 2>/dev/null | awk '/=> \// { print $3 } $1 ~ "^/" { print $1 }' || true)
	# shellcheck disable=SC2086 # one word for each file
	"$PROGRAMS/image" "$name" "$RUN/image.tar" "$entrypoint" "$program" $libraries
	containerd_ctl images import "$RUN/image.tar" >>"$RUN/images.log"
	rm "$RUN/image.tar"
}

start_control_plane() {
	# shellcheck disable=SC2054 # the comma is part of the option
	local api=(
		--etcd-servers=http://127.0.0.1:2379 --secure-port=6443 "--bind-address=$node" "--advertise-address=$node"
		"--tls-cert-file=$RUN/server.crt" "--tls-private-key-file=$RUN/server.key" "--cert-dir=$RUN/kube-apiserver"
		"--token-auth-file=$RUN/tokens.csv" --service-account-issuer=https://kubernetes.default.svc
		"--service-account-signing-key-file=$RUN/accounts.key" "--service-account-key-file=$RUN/accounts.key"
		"--service-cluster-ip-range=$services" --authorization-mode=Node,RBAC --allow-privileged
		# The node's name is in no DNS that the API server asks; it calls the kubelet for logs and for attach, which a proxy of a stdio
		# server needs.
		--kubelet-preferred-address-types=InternalIP
	)
	local manager=(
		"--kubeconfig=$RUN/kube-controller-manager.kubeconfig" --use-service-account-credentials --leader-elect=false
		"--service-account-private-key-file=$RUN/accounts.key" "--root-ca-file=$RUN/ca.crt" --bind-address=127.0.0.1
		"--tls-cert-file=$RUN/server.crt" "--tls-private-key-file=$RUN/server.key"
	)
	# The data is deleted at the end, so that it need not survive a crash.
	spawn etcd "$CONTROL_PLANE/etcd" "--data-dir=$RUN/etcd" --unsafe-no-fsync
	spawn kube-apiserver "$CONTROL_PLANE/kube-apiserver" "${api[@]}"
	wait_until 120 "the API server is ready" k get --raw /readyz
	spawn kube-controller-manager "$CONTROL_PLANE/kube-controller-manager" "${manager[@]}"
	spawn kube-scheduler "$PROGRAMS/kube-scheduler" "--kubeconfig=$RUN/kube-scheduler.kubeconfig" --leader-elect=false \
		--bind-address=127.0.0.1 "--tls-cert-file=$RUN/server.crt" "--tls-private-key-file=$RUN/server.key"
}

start_kubelet() {
	# failCgroupV1: machines with the first version of cgroups are fine for this. No eviction and no collection of images: the disk of
	# the machine belongs to others.
	cat >"$RUN/kubelet.yaml" <<-YAML
		apiVersion: kubelet.config.k8s.io/v1beta1
		kind: KubeletConfiguration
		failCgroupV1: false
		cgroupDriver: cgroupfs
		failSwapOn: false
		containerRuntimeEndpoint: unix:///run/containerd.sock
		authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
		authorization: {mode: AlwaysAllow}
		clusterDNS: ["$dns"]
		clusterDomain: cluster.local
		resolvConf: /dev/null
		podLogsDir: $RUN/pod-logs
		volumePluginDir: $RUN/volume-plugins
		imageGCHighThresholdPercent: 100
		evictionHard: {memory.available: 1Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%, imagefs.inodesFree: 0%}
		address: $node
		healthzBindAddress: 127.0.0.1
		tlsCertFile: $RUN/server.crt
		tlsPrivateKeyFile: $RUN/server.key
	YAML
	spawn kubelet "$PROGRAMS/kubelet" "--config=$RUN/kubelet.yaml" "--kubeconfig=$RUN/kubelet.kubeconfig" "--root-dir=$RUN/kubelet" \
		--hostname-override=live "--node-ip=$node"
}

start_kube_proxy() {
	# conntrack: its limits are of the whole machine, and stay as they are.
	cat >"$RUN/kube-proxy.yaml" <<-YAML
		apiVersion: kubeproxy.config.k8s.io/v1alpha1
		kind: KubeProxyConfiguration
		mode: iptables
		clientConnection: {kubeconfig: $RUN/kube-proxy.kubeconfig}
		hostnameOverride: live
		healthzBindAddress: 127.0.0.1:10256
		metricsBindAddress: 127.0.0.1:10249
		conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
	YAML
	spawn kube-proxy "$PROGRAMS/kube-proxy" "--config=$RUN/kube-proxy.yaml"
}

start_dns() {
	cat >"$RUN/Corefile" <<-FILE
		. {
		  bind $dns
		  errors
		  loadbalance
		  kubernetes cluster.local in-addr.arpa {
		    kubeconfig $RUN/admin.kubeconfig
		  }
		}
	FILE
	spawn coredns "$PROGRAMS/coredns" -conf "$RUN/Corefile"
}

# raise_shares: the first version of cgroups gives pods without requests 2 of 1024 shares of the processor, with which they starve on
# a busy machine.
raise_shares() {
	while sleep 3; do
		find /sys/fs/cgroup/cpu/kubepods/besteffort -name cpu.shares -exec sh -c 'echo 1024 >"$1"' - {} \; 2>/dev/null || true
	done
}

node_is_ready() {
	[ "$(k get node live -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints}')" = "True " ]
}

# start_redis: an empty Redis.
start_redis() { spawn redis redis-server --bind $node --protected-mode no --save "" --dir "$RUN"; }

# start_node: from nothing to a node that runs pods.
start_node() {
	prepare_mounts
	prepare_network
	prepare_certificates
	prepare_users
	start_containerd
	start_control_plane
	import_image docker.io/live/pause:1 /pause "$PROGRAMS/pause"
	start_kubelet
	start_kube_proxy
	start_dns
	start_redis
	[ ! -d /sys/fs/cgroup/cpu ] || spawn shares raise_shares
	wait_until 120 "the node is ready" node_is_ready
	say "the node is ready"
}
