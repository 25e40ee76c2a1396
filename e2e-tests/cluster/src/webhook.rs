//! The policy's webhook: its process (the binary `policy-webhook`) and its configuration in the API server.

use anyhow::{Context, Result};
use mcp_scaling_rules::kind::ServerKind;
use serde_json::{Value, json};

use crate::kubeconfig::encode;
use crate::manifests::read_manifest;
use crate::objects::autoscaler;
use crate::process::{Process, free_port, tied_to_this_thread};
use crate::requests::Response;
use crate::test_cluster::TestCluster;
use crate::toolhive_crds::resource_of;
use crate::wait::wait_until;

const CONFIGURATION: &str = "mcpserver-scaling-policy";

/// The webhook of a test cluster.
#[derive(Default)]
pub(crate) struct Webhook {
    process: Option<Process>,
    /// The settings of the policy, where the API server has the webhook's configuration.
    configured: Option<Value>,
}

impl Webhook {
    /// Whether the process was started and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

impl TestCluster {
    /// Installs the policy with these settings, and waits until requests reach it. The configuration is the one that
    /// Kubewarden's controller would create from `metadata.yml` and the manifest for Kubewarden.
    ///
    /// # Errors
    /// Where the webhook does not start or requests do not reach it.
    pub async fn install_webhook(&mut self, settings: &Value) -> Result<()> {
        let port = self.start_webhook_process(settings).await?;
        let mut rules = read_manifest("metadata.yml")?.remove(0)["rules"].take();
        for rule in rules.as_array_mut().context("metadata.yml has no rules")? {
            rule["scope"] = "*".into();
        }
        let policy = read_manifest("deploy/kubewarden/mcpserver-scaling.yaml")?.remove(0)["spec"].take();
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION},
            "webhooks": [{
                "name": "mcpserver-scaling-policy.kubewarden.admission", "rules": rules,
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{port}/validate/clusterwide-mcpserver-scaling-policy"),
                    "caBundle": encode(&self.control_plane.authority.certificate),
                },
                "sideEffects": "None", "admissionReviewVersions": ["v1"], "matchPolicy": "Equivalent",
                "failurePolicy": policy["failurePolicy"], "timeoutSeconds": policy["timeoutSeconds"],
                "matchConditions": policy["matchConditions"],
            }],
        });
        self.webhook.configured = Some(settings.clone());
        self.apply(&configuration).await?;
        let is_reached = || async { Ok(!self.send_probe().await?.warnings.is_empty()) };
        wait_until("requests reach the webhook", is_reached).await
    }

    /// Makes sure that the webhook is installed with the default settings.
    ///
    /// # Errors
    /// As [`TestCluster::install_webhook`].
    pub(crate) async fn require_default_webhook(&mut self) -> Result<()> {
        let defaults = json!({});
        if self.webhook.is_running() && self.webhook.configured.as_ref() == Some(&defaults) {
            return Ok(());
        }
        self.remove_webhook().await?;
        self.install_webhook(&defaults).await
    }

    /// Kills the webhook's process and leaves its configuration.
    pub fn kill_webhook(&mut self) {
        self.webhook.process = None;
    }

    /// The id of the webhook's process.
    pub fn webhook_process(&self) -> Option<u32> {
        self.webhook.process.as_ref().map(Process::id)
    }

    /// Removes the webhook, if it is installed, and waits until no request reaches it any more.
    ///
    /// # Errors
    /// Where requests still reach it.
    pub async fn remove_webhook(&mut self) -> Result<()> {
        if self.webhook.configured.is_some() {
            let path = format!("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}");
            self.admin.delete_path(&path).await?;
            // The API server learns of it a moment later; until then the webhook has to answer.
            let is_removed = || async {
                let response = self.send_probe().await?;
                Ok(response.code < 300 && response.warnings.is_empty())
            };
            wait_until("no request reaches the webhook", is_removed).await?;
            self.webhook.configured = None;
        }
        self.webhook.process = None;
        Ok(())
    }

    /// Sends a dry run of an autoscaler that the policy warns about with any of the settings that the tests use.
    async fn send_probe(&self) -> Result<Response> {
        let server = self.mcp_server("webhook-probe", json!({}));
        // The response does not matter: the server may exist already.
        self.admin.create(resource_of(ServerKind::McpServer), "toolhive-system", &server).await?;
        let path = format!("{}?dryRun=All", self.admin.path("horizontalpodautoscalers", "toolhive-system"));
        self.admin.post_path(&path, &autoscaler("webhook-probe", "webhook-probe", 2)).await
    }

    /// Starts the webhook's process, in place of the one that runs, and returns its port.
    async fn start_webhook_process(&mut self, settings: &Value) -> Result<u16> {
        let port = free_port()?;
        let certificate = self.control_plane.authority.sign("webhook", "webhook")?;
        let kubeconfig = self.service_account_kubeconfig("kubewarden", "policy-server").await?;
        let folder = &self.control_plane.folder;
        let mut command = tied_to_this_thread(&self.inputs.policy_webhook);
        command.arg("--policy").arg(&self.inputs.policy);
        for (flag, name, content) in [
            ("--settings", "webhook.settings", settings.to_string()),
            ("--kubeconfig", "webhook.kubeconfig", kubeconfig.to_string()),
            ("--certificate", "webhook.crt", certificate.certificate),
            ("--key", "webhook.key", certificate.key),
        ] {
            command.arg(flag).arg(folder.write(name, &content)?);
        }
        command.arg(format!("--listen=127.0.0.1:{port}"));
        self.webhook.process = Some(Process::start(command, folder.open_log("webhook.log")?)?);
        let listens = || async { Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()) };
        wait_until("the webhook listens", listens).await?;
        Ok(port)
    }
}
