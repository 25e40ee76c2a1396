//! The service accounts that write to a server's workloads.

/// The user name of ToolHive's operator as its chart installs it. Namespace and name are configurable there.
pub const OPERATOR: &str = "system:serviceaccount:toolhive-system:toolhive-operator";

/// The user name of KEDA's operator as its chart installs it.
pub const KEDA_OPERATOR: &str = "system:serviceaccount:keda:keda-operator";

/// Returns whether this is the user name of a ToolHive operator that its chart installed in some namespace.
pub fn is_operator_by_name(username: &str) -> bool {
    service_account(username).is_some_and(|(_, name)| name == "toolhive-operator")
}

/// Returns whether this is the user name of the service account that the operator makes for a server's proxy runner
/// (`<server>-proxy-runner` in the server's namespace).
///
/// Source: `cmd/thv-operator/controllers/mcpserver_controller.go`.
pub fn is_proxy_runner(username: &str, namespace: &str, server: &str) -> bool {
    service_account(username).is_some_and(|(of_namespace, name)| {
        of_namespace == namespace && name.strip_suffix("-proxy-runner") == Some(server)
    })
}

/// Returns whether this is the user name of KEDA's operator in some namespace.
///
/// Source: `serviceAccount` in `keda/values.yaml` of KEDA's chart. OpenShift's and Azure's KEDA have the same name elsewhere.
pub fn is_keda_by_name(username: &str) -> bool {
    service_account(username).is_some_and(|(_, name)| name == "keda-operator")
}

/// The service accounts in `kube-system` of the controllers of Kubernetes that write workloads, their Scales, or any object.
/// Everybody else in that namespace is a person or acts for one.
///
/// Source: `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/controller_policy.go` in Kubernetes v1.36, and the in-tree
/// storage version migrator.
const KUBERNETES_CONTROLLERS: [&str; 7] = [
    "deployment-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "namespace-controller",
    "replicaset-controller",
    "statefulset-controller",
    "storage-version-migrator-controller",
];

/// Returns whether this is the user name of a controller of Kubernetes itself that writes workloads or Scales. These
/// controllers run under service accounts of `kube-system` or, without `--use-service-account-credentials`, under one user.
pub fn is_kubernetes_controller(username: &str) -> bool {
    username == "system:kube-controller-manager"
        || service_account(username)
            .is_some_and(|(namespace, name)| namespace == "kube-system" && KUBERNETES_CONTROLLERS.contains(&name))
}

/// Namespace and name of the service account with this user name.
fn service_account(username: &str) -> Option<(&str, &str)> {
    username.strip_prefix("system:serviceaccount:")?.split_once(':')
}
