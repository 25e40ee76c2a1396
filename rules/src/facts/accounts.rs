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

/// Returns whether this is the user name of a controller of Kubernetes itself, the one of HorizontalPodAutoscalers among them.
/// They run under service accounts of `kube-system` or, without `--use-service-account-credentials`, under one user.
pub fn is_kubernetes_controller(username: &str) -> bool {
    username.starts_with("system:serviceaccount:kube-system:") || username == "system:kube-controller-manager"
}

/// Namespace and name of the service account with this user name.
fn service_account(username: &str) -> Option<(&str, &str)> {
    username.strip_prefix("system:serviceaccount:")?.split_once(':')
}
