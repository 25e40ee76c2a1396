//! The policies' webhook: its process (the binary `policy-webhook`, or policy-server) and its configuration in the API
//! server.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use mcp_scaling_rules::kind::ServerKind;
use serde_json::{Value, json};

use crate::inputs::PolicyHost;
use crate::kubeconfig::encode;
use crate::manifests::read_manifest;
use crate::objects::{autoscaler, deployment};
use crate::process::{Process, free_port, tied_to_this_thread};
use crate::requests::{Response, text};
use crate::test_cluster::TestCluster;
use crate::wait::wait_until;

/// The namespace of Kubewarden's chart.
pub(crate) const KUBEWARDEN_NAMESPACE: &str = "kubewarden";

/// The name of the webhook of the policy that corrects counts, which is the prefix of its audit annotations.
pub const WEBHOOK_NAME: &str = "clusterwide-mcpserver-scaling.kubewarden.admission";

/// The policies that most tests install: the one that corrects counts, and the one that warns about autoscalers.
const POLICIES: [&str; 2] = ["mcpserver-scaling", "mcpserver-scaling-autoscalers"];

/// Reads the manifest of a policy in `deploy/kubewarden/`, by its name.
///
/// # Errors
/// As [`read_manifest`].
pub fn read_policy(name: &str) -> Result<Value> {
    Ok(read_manifest(&format!("deploy/kubewarden/{name}.yaml"))?.remove(0))
}

/// The webhook configuration that Kubewarden's controller makes of a ClusterAdmissionPolicy, without `clientConfig`. The
/// suite `kubewarden` compares it with what the controller makes.
///
/// Source: `internal/controller/policy_subreconciler_webhook.go` of Kubewarden's adm-controller.
pub fn webhook_configuration(policy: &Value) -> Value {
    let spec = &policy["spec"];
    let name = unique_name(policy);
    let is_mutating = spec["mutating"] == true;
    let own_namespace =
        json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [KUBEWARDEN_NAMESPACE]});
    let mut namespaces = vec![own_namespace];
    // Of the policy's selector only these are copied.
    namespaces.extend(spec["namespaceSelector"]["matchExpressions"].as_array().cloned().unwrap_or_default());
    let mut webhook = json!({
        "name": format!("{name}.kubewarden.admission"), "rules": spec["rules"], "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "failurePolicy": spec["failurePolicy"],
        "timeoutSeconds": spec["timeoutSeconds"], "namespaceSelector": {"matchExpressions": namespaces},
    });
    if spec["matchConditions"].is_array() {
        webhook["matchConditions"] = spec["matchConditions"].clone();
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": if is_mutating { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" },
        "metadata": {"name": name}, "webhooks": [webhook],
    })
}

/// The webhook configuration of a policy with the server that the API server calls, at this URL and with a certificate of this
/// authority (in PEM).
pub fn called_at(mut configuration: Value, policy: &Value, url: &str, authority: &str) -> Value {
    configuration["webhooks"][0]["clientConfig"] =
        json!({"url": format!("{url}/validate/{}", unique_name(policy)), "caBundle": encode(authority)});
    configuration
}

/// The path of a webhook configuration.
pub fn configuration_path(configuration: &Value) -> String {
    let resource = text(&configuration["kind"]).to_lowercase();
    format!("/apis/admissionregistration.k8s.io/v1/{resource}s/{}", text(&configuration["metadata"]["name"]))
}

/// The name of a ClusterAdmissionPolicy in paths of the policy server.
fn unique_name(policy: &Value) -> String {
    format!("clusterwide-{}", text(&policy["metadata"]["name"]))
}

/// The configuration file that Kubewarden's controller writes for the policy server, with these policies.
///
/// Source: `internal/controller/policyserver_controller_configmap.go` of Kubewarden's adm-controller.
pub fn policy_server_configuration(policies: &[Value]) -> BTreeMap<String, Value> {
    let entry = |policy: &Value| {
        let spec = &policy["spec"];
        json!({
            "namespacedName": {"Namespace": "", "Name": policy["metadata"]["name"]}, "policyMode": spec["mode"],
            "allowedToMutate": spec["mutating"], "settings": spec["settings"],
            "contextAwareResources": spec["contextAwareResources"], "timeoutEvalSeconds": spec["timeoutEvalSeconds"],
            // Every policy of the cluster may use what the host offers.
            "hostCapabilities": ["*"],
        })
    };
    policies.iter().map(|policy| (unique_name(policy), entry(policy))).collect()
}

impl TestCluster {
    /// Installs the policies with these settings, and waits until requests reach them. The configuration is the one that
    /// Kubewarden's controller would create from their manifests.
    ///
    /// # Errors
    /// If the webhook does not start or requests do not reach it.
    pub async fn install_webhook(&mut self, settings: &Value) -> Result<()> {
        self.install_webhook_with(settings, &Value::Null).await
    }

    /// Installs the policies with other match conditions than those of the manifest for the policy that corrects counts.
    ///
    /// # Errors
    /// As [`TestCluster::install_webhook`].
    pub async fn install_webhook_with(&mut self, settings: &Value, match_conditions: &Value) -> Result<()> {
        let mut policies = POLICIES.map(read_policy).into_iter().collect::<Result<Vec<_>>>()?;
        for policy in &mut policies {
            policy["spec"]["settings"] = settings.clone();
        }
        if !match_conditions.is_null() {
            policies[0]["spec"]["matchConditions"] = match_conditions.clone();
        }
        let port = self.serve_policies(policy_server_configuration(&policies)).await?;
        self.webhook.configured = Some(json!({"settings": settings, "matchConditions": match_conditions}));
        for policy in &policies {
            let url = format!("https://127.0.0.1:{port}");
            let authority = &self.control_plane.authority.certificate;
            self.apply(&called_at(webhook_configuration(policy), policy, &url, authority)).await?;
        }
        let reaches_all = || async {
            let responses = self.send_probes().await?;
            Ok(responses.iter().all(|response| response.code == 422 || !response.warnings.is_empty()))
        };
        wait_until("requests reach the webhook", reaches_all).await
    }

    /// Makes sure that the webhook is installed with the default settings.
    ///
    /// # Errors
    /// As [`TestCluster::install_webhook`].
    pub(crate) async fn require_default_webhook(&mut self) -> Result<()> {
        let defaults = json!({"settings": {}, "matchConditions": null});
        if self.webhook.is_running() && self.webhook.configured.as_ref() == Some(&defaults) {
            return Ok(());
        }
        self.remove_webhook().await?;
        self.install_webhook(&json!({})).await
    }

    /// How many requests in a namespace the API server has sent to the policy that corrects counts, from the audit log. The
    /// last one may be missing for a moment.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn requests_to_policy(&self, namespace: &str) -> Result<usize> {
        let is_sent = |entry: &Value| {
            let annotations = entry["annotations"].as_object().into_iter().flatten();
            // The API server notes each mutating webhook that it calls.
            entry["objectRef"]["namespace"] == namespace
                && annotations
                    .filter(|(key, _)| key.starts_with("mutation.webhook.admission.k8s.io/"))
                    .any(|(_, webhook)| webhook.as_str().is_some_and(|webhook| webhook.contains(WEBHOOK_NAME)))
        };
        Ok(self.audit_log()?.iter().filter(|entry| is_sent(entry)).count())
    }

    /// Kills the webhook's process and leaves its configuration.
    pub fn kill_webhook(&mut self) {
        self.webhook.process = None;
    }

    /// The id of the webhook's process.
    pub fn webhook_process(&self) -> Option<u32> {
        self.webhook.process.as_ref().map(Process::id)
    }

    /// Removes the webhook's configuration, if it is installed, and waits until no request reaches it any more. Its process
    /// waits for the next one.
    ///
    /// # Errors
    /// If requests still reach it.
    pub async fn remove_webhook(&mut self) -> Result<()> {
        if self.webhook.configured.is_some() {
            for name in POLICIES {
                self.admin.delete_path(&configuration_path(&webhook_configuration(&read_policy(name)?))).await?;
            }
            // The API server learns of it a moment later; until then the webhook has to answer.
            let is_removed = || async {
                let responses = self.send_probes().await?;
                let is_created = |code| code < 300 || code == 409;
                Ok(responses.iter().all(|response| is_created(response.code) && response.warnings.is_empty()))
            };
            wait_until("no request reaches the webhook", is_removed).await?;
            self.webhook.configured = None;
        }
        Ok(())
    }

    /// Sends a dry run of an autoscaler and one of a Deployment, which the policies refuse or warn about with any of the
    /// settings that the tests use.
    async fn send_probes(&self) -> Result<[Response; 2]> {
        let (namespace, name) = ("toolhive-system", "webhook-probe");
        // The response does not matter: the server may exist already.
        let servers = ServerKind::McpServer.resource();
        self.admin.create(servers, namespace, &self.mcp_server(name, json!({}))).await?;
        let server = self.admin.get(servers, namespace, name).await?;
        // If an operator runs, it has created the Deployment: the API server says so after it has asked the webhook.
        let deployment = deployment(&server, 2);
        let dry_run = |resource: &str| format!("{}?dryRun=All", self.admin.path(resource, namespace));
        Ok([
            self.admin.post_path(&dry_run("horizontalpodautoscalers"), &autoscaler(name, name, 2)).await?,
            self.admin.post_path(&dry_run("deployments"), &deployment).await?,
        ])
    }

    /// Serves this configuration, whose module it replaces by the one that is tested, and returns the port. The webhook of this
    /// repository reads it anew if it runs already: in a debug build it would take seconds to compile the module once more.
    /// policy-server is started again.
    pub(crate) async fn serve_policies(&mut self, mut configuration: BTreeMap<String, Value>) -> Result<u16> {
        let module = fs::canonicalize(&self.inputs.policy).context("the module does not exist")?;
        for policy in configuration.values_mut() {
            policy["module"] = format!("file://{}", module.display()).into();
        }
        let kubeconfig = self.service_account_kubeconfig(KUBEWARDEN_NAMESPACE, "policy-server").await?;
        let folder = &self.control_plane.folder;
        let kubeconfig = folder.replace("webhook.kubeconfig", &kubeconfig.to_string())?;
        let policies = folder.replace("webhook.policies", &serde_json::to_string(&configuration)?)?;
        let can_reload = matches!(self.inputs.policy_host, PolicyHost::Own(_));
        if let Some(process) = self.webhook.process.as_mut().filter(|_| can_reload)
            && process.exit_status()?.is_none()
        {
            return Ok(self.webhook.port);
        }
        self.webhook.process = None;
        let port = free_port()?;
        let certificate = self.control_plane.authority.sign("webhook", "webhook")?;
        let mut command = match &self.inputs.policy_host {
            PolicyHost::Own(program) => tied_to_this_thread(program),
            PolicyHost::PolicyServer(program) => {
                let mut command = tied_to_this_thread(program);
                command.arg("--policies-download-dir").arg(folder.path("policies"));
                command.arg(format!("--readiness-probe-port={}", free_port()?));
                command.current_dir(folder.path(""));
                command
            }
        };
        command.args(["--addr=127.0.0.1".to_owned(), format!("--port={port}")]);
        command.arg("--policies").arg(policies);
        command.arg("--cert-file").arg(folder.write("webhook.crt", &certificate.certificate)?);
        command.arg("--key-file").arg(folder.write("webhook.key", &certificate.key)?);
        command.env("KUBECONFIG", kubeconfig);
        command.env_remove("KUBERNETES_SERVICE_HOST");
        self.webhook.process = Some(Process::start(command, folder.open_log("webhook.log")?)?);
        let listens = || async { Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()) };
        wait_until("the webhook listens", listens).await?;
        self.webhook.port = port;
        Ok(port)
    }
}
