//! Users, service accounts and their permissions.

use anyhow::{Context, Result};
use mcp_scaling_rules::accounts;
use serde_json::{Value, json};

use crate::kubeconfig::impersonating_client;
use crate::requests::{ApiClient, text};
use crate::test_cluster::TestCluster;

/// The user name of ToolHive's operator.
pub const OPERATOR: &str = accounts::OPERATOR;
/// The user name of the controller behind every HorizontalPodAutoscaler.
pub const AUTOSCALER: &str = fixtures::AUTOSCALER;
/// The user name of KEDA's operator, which scales a target between 0 and 1.
pub const KEDA: &str = accounts::KEDA_OPERATOR;
/// The user name of the reconciler.
pub const RECONCILER: &str = "system:serviceaccount:toolhive-system:mcpserver-scaling-reconciler";
/// The user name of the policy server.
pub const POLICY_SERVER: &str = "system:serviceaccount:kubewarden:policy-server";

impl TestCluster {
    /// A client that impersonates this service account.
    ///
    /// # Errors
    /// If no client can be created.
    pub async fn client_of(&self, user: &str) -> Result<ApiClient> {
        let groups = ["system:authenticated", "system:serviceaccounts"];
        let client = impersonating_client(&self.control_plane.administrator()?, user, &groups).await?;
        Ok(ApiClient::new(client, self.toolhive_version()))
    }

    /// Gives a user every permission. `binding` is the name of the new ClusterRoleBinding.
    ///
    /// # Errors
    /// If the API server rejects it.
    pub async fn grant_cluster_admin(&self, binding: &str, user: &str) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": binding},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        });
        self.apply(&binding).await
    }

    /// A kubeconfig with a token of a service account.
    ///
    /// # Errors
    /// If the service account does not exist.
    pub(crate) async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<Value> {
        self.kubeconfig_with_token(namespace, name, &Value::Null).await
    }

    /// A kubeconfig with the token that a pod gets for its service account. The API server reads the pod's name and UID
    /// from such a token.
    ///
    /// # Errors
    /// If the pod or its service account does not exist.
    pub(crate) async fn pod_kubeconfig(&self, pod: &Value) -> Result<Value> {
        let metadata = &pod["metadata"];
        let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]});
        let name = text(&pod["spec"]["serviceAccountName"]);
        self.kubeconfig_with_token(&text(&metadata["namespace"]), &name, &reference).await
    }

    async fn kubeconfig_with_token(&self, namespace: &str, name: &str, bound_to: &Value) -> Result<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": 7200, "boundObjectRef": bound_to},
        });
        let response = self.admin.post_path(&path, &request).await?.success()?;
        let token = response.body["status"]["token"].as_str().context("the TokenRequest has no token")?;
        Ok(self.control_plane.bearer(token))
    }
}
