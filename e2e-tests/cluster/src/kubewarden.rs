//! Kubewarden's own controller and audit scanner, as processes outside of a pod.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::components::Controller;
use crate::inputs::path_from_script;
use crate::kubeconfig::encode;
use crate::manifests::{read_manifest, read_objects};
use crate::process::{Process, free_port, tied_to_this_thread};
use crate::requests::text;
use crate::test_cluster::TestCluster;
use crate::wait::wait_until;
use crate::webhook::{KUBEWARDEN_NAMESPACE, configuration_path, webhook_configuration};

/// The name of the controller's log.
pub(crate) const CONTROLLER_LOG: &str = "kubewarden-controller.log";

const SCANNER_LOG: &str = "audit-scanner.log";

/// The name of the Deployment, the ConfigMap and the Secret that the controller makes for the PolicyServer `default`.
const POLICY_SERVER: &str = "policy-server-default";

const POLICIES: &str = "/apis/policies.kubewarden.io/v1/clusteradmissionpolicies";

/// How long the audit scanner may take for a namespace.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);

/// Kubewarden's programs, and what its charts install beside them.
#[derive(Clone, Debug)]
pub struct Kubewarden {
    /// The custom resource definitions of Kubewarden and of policy reports.
    definitions: Vec<Value>,
    /// The configurations of the webhooks with which the controller validates policies.
    webhooks: Vec<Value>,
    folder: PathBuf,
}

/// What a report of the audit scanner says about an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AuditResult {
    /// The kind of the object.
    pub kind: String,
    /// The name of the object.
    pub name: String,
    /// The name of the policy, without the prefix of Kubewarden.
    pub policy: String,
    /// `pass`, `fail` or `error`.
    pub result: String,
    /// The message of the policy.
    pub message: String,
}

impl Kubewarden {
    /// The release that `e2e-tests/kubewarden` pins. `scripts/kubewarden` builds it if it was not built before.
    ///
    /// # Errors
    /// [`crate::Ignored`] if it cannot be had on this machine.
    pub fn find() -> Result<Self> {
        let folder = path_from_script("kubewarden", &[])?;
        let mut definitions = Vec::new();
        for entry in fs::read_dir(folder.join("crds"))? {
            definitions.extend(read_objects(&entry?.path())?);
        }
        let webhooks = read_objects(&folder.join("webhooks.yaml"))?;
        ensure!(!definitions.is_empty(), "{}/crds is empty", folder.display());
        Ok(Self { definitions, webhooks, folder })
    }
}

impl TestCluster {
    /// Makes sure that Kubewarden is installed, and that its controller and the controllers of Kubernetes run.
    ///
    /// # Errors
    /// [`crate::Ignored`] if the control plane has no kube-controller-manager; another error if something does not
    /// start.
    pub async fn require_kubewarden(&mut self, kubewarden: &Kubewarden) -> Result<()> {
        if let Some(controller) = &mut self.kubewarden
            && controller.process.exit_status()?.is_none()
        {
            return Ok(());
        }
        self.start_controller_manager().await?;
        for definition in &kubewarden.definitions {
            self.install_crd(definition).await?;
        }
        self.create_secrets().await?;
        let port = self.start_kubewarden_controller(kubewarden).await?;
        let webhooks: Vec<Value> = kubewarden.webhooks.iter().map(|it| self.with_address(it.clone(), port)).collect();
        if let Some(controller) = &mut self.kubewarden {
            controller.webhooks.clone_from(&webhooks);
        }
        for webhook in &webhooks {
            self.apply(webhook).await?;
        }
        let server = json!({
            "apiVersion": "policies.kubewarden.io/v1", "kind": "PolicyServer", "metadata": {"name": "default"},
            "spec": {"image": "example/policy-server", "replicas": 1, "serviceAccountName": "policy-server"},
        });
        self.apply(&server).await
    }

    /// Stops the controller, if it runs, and removes all policies and every webhook. The definitions and the PolicyServer
    /// stay.
    ///
    /// # Errors
    /// If the API server does not remove them.
    pub(crate) async fn remove_kubewarden(&mut self) -> Result<()> {
        let Some(controller) = self.kubewarden.take() else { return Ok(()) };
        let Controller { process, webhooks } = controller;
        drop(process);
        for webhook in webhooks {
            self.admin.delete_path(&configuration_path(&webhook)).await?;
        }
        for kind in ["mutating", "validating"] {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations");
            let selected = format!("{path}?labelSelector=app.kubernetes.io/part-of%3Dkubewarden");
            self.admin.delete_path(&selected).await?.success()?;
        }
        // Without the controller nobody removes its finalizers.
        for policy in self.admin.get_path(POLICIES).await?.success()?.body["items"].as_array().into_iter().flatten() {
            let path = format!("{POLICIES}/{}", text(&policy["metadata"]["name"]));
            self.admin.merge_path(&path, &json!({"metadata": {"finalizers": null}})).await?.success()?;
            self.admin.delete_path(&path).await?.success()?;
        }
        Ok(())
    }

    /// Applies ClusterAdmissionPolicies, with strict validation of their fields and by the controller's webhooks, and waits
    /// until the controller has activated them. Returns the webhook configurations that it made, without `clientConfig`.
    ///
    /// The controller waits until all pods of the policy server are of the newest ReplicaSet and ready. There are no nodes
    /// here that could run them, so that this status is written here; everything else is the work of the real controllers.
    ///
    /// # Errors
    /// If a policy is refused or does not become active.
    pub async fn activate_policies(&self, policies: &[Value]) -> Result<Vec<Value>> {
        for policy in policies {
            let path = format!(
                "{POLICIES}/{}?fieldManager=cluster-tests&force=true&fieldValidation=Strict",
                text(&policy["metadata"]["name"])
            );
            let response = self.admin.send("PATCH", &path, crate::requests::APPLY_PATCH, policy).await?;
            response.success().with_context(|| format!("the policy {}", policy["metadata"]["name"]))?;
        }
        let are_active = || async {
            self.set_pods_of_policy_server_ready().await?;
            let active = self.admin.get_path(POLICIES).await?.success()?.body["items"].take();
            let is_active = |policy: &Value| {
                let mut policies = active.as_array().into_iter().flatten();
                let stored = policies.find(|stored| stored["metadata"]["name"] == policy["metadata"]["name"]);
                stored.is_some_and(|stored| stored["status"]["policyStatus"] == "active")
            };
            Ok(policies.iter().all(is_active))
        };
        wait_until("the policies are active", are_active).await?;
        let mut configurations = Vec::new();
        for policy in policies {
            let path = configuration_path(&webhook_configuration(policy));
            let mut configuration = self.admin.get_path(&path).await?.success()?.body;
            for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
                webhook.as_object_mut().and_then(|webhook| webhook.remove("clientConfig"));
            }
            configurations.push(configuration);
        }
        Ok(configurations)
    }

    /// Serves the active policies with the configuration that the controller wrote for the policy server, lets the audit
    /// scanner evaluate a namespace, and returns the results in its reports, sorted. The scanner runs under the account of
    /// Kubewarden's chart, with the rights of that chart and of `deploy/audit-scanner-rbac.yaml`.
    ///
    /// # Errors
    /// If the scanner fails.
    pub async fn audit(&mut self, kubewarden: &Kubewarden, namespace: &str) -> Result<Vec<AuditResult>> {
        let path = format!("/api/v1/namespaces/{KUBEWARDEN_NAMESPACE}/configmaps/{POLICY_SERVER}");
        let configuration = self.admin.get_path(&path).await?.success()?.body;
        let configuration: BTreeMap<String, Value> =
            serde_json::from_str(&text(&configuration["data"]["policies.yml"]))?;
        let port = self.serve_policies(configuration).await?;
        self.grant_scanner_the_rights_of_its_chart().await?;
        for object in read_manifest("deploy/audit-scanner-rbac.yaml")? {
            self.apply(&object).await?;
        }
        let kubeconfig = self.service_account_kubeconfig(KUBEWARDEN_NAMESPACE, "audit-scanner").await?;
        let folder = &self.control_plane.folder;
        let mut command = tied_to_this_thread(&kubewarden.folder.join("audit-scanner"));
        command.args(["--namespace", namespace, "--kubewarden-namespace", KUBEWARDEN_NAMESPACE, "--loglevel", "info"]);
        command.arg(format!("--policy-server-url=https://127.0.0.1:{port}"));
        command.arg("--extra-ca").arg(folder.path("ca.crt"));
        command.env("KUBECONFIG", folder.write("audit-scanner.kubeconfig", &kubeconfig.to_string())?);
        command.env_remove("KUBERNETES_SERVICE_HOST");
        folder.write(SCANNER_LOG, "")?;
        let mut scanner = Process::start(command, folder.open_log(SCANNER_LOG)?)?;
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = scanner.exit_status()? {
                break status;
            }
            ensure!(begun.elapsed() < SCAN_TIMEOUT, "the audit scanner still runs; {}", folder.log_tail(SCANNER_LOG));
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let log = fs::read_to_string(folder.path(SCANNER_LOG))?;
        // It goes on if it may not list a resource.
        let failure = log.lines().find(|line| line.contains("Failed to list resources"));
        ensure!(failure.is_none(), "the audit scanner may not list something: {failure:?}");
        ensure!(status.success(), "the audit scanner ended with {status}; {}", folder.log_tail(SCANNER_LOG));
        let path = format!("/apis/wgpolicyk8s.io/v1alpha2/namespaces/{namespace}/policyreports");
        let reports = self.admin.get_path(&path).await?.success()?.body;
        let mut results: Vec<AuditResult> = Vec::new();
        for report in reports["items"].as_array().into_iter().flatten() {
            let of_object = |result: &Value| AuditResult {
                kind: text(&report["scope"]["kind"]),
                name: text(&report["scope"]["name"]),
                policy: text(&result["policy"]).trim_start_matches("clusterwide-").to_owned(),
                result: text(&result["result"]),
                message: text(&result["message"]),
            };
            results.extend(report["results"].as_array().into_iter().flatten().map(of_object));
        }
        results.sort();
        Ok(results)
    }

    /// The Secrets that Kubewarden's chart makes. The controller does not have to sign the policy server's certificate, for
    /// which it needs the authority's key in a form that is not at hand here.
    async fn create_secrets(&self) -> Result<()> {
        let authority = &self.control_plane.authority;
        let server = authority.sign(POLICY_SERVER, POLICY_SERVER)?;
        for (name, data) in [
            ("kubewarden-ca", json!({"ca.crt": authority.certificate, "ca.key": "unused"})),
            (POLICY_SERVER, json!({"tls.crt": server.certificate, "tls.key": server.key})),
        ] {
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "stringData": data,
                "metadata": {
                    "name": name, "namespace": KUBEWARDEN_NAMESPACE,
                    "annotations": {"kubewarden.io/cert-format-version": "1"},
                },
            });
            self.apply(&secret).await?;
        }
        Ok(())
    }

    /// Starts the controller and returns the port of its webhooks.
    async fn start_kubewarden_controller(&mut self, kubewarden: &Kubewarden) -> Result<u16> {
        let account = "kubewarden-controller";
        self.create_service_account(account).await?;
        let user = format!("system:serviceaccount:{KUBEWARDEN_NAMESPACE}:{account}");
        self.grant_cluster_admin("test-kubewarden-controller", &user).await?;
        let kubeconfig = self.service_account_kubeconfig(KUBEWARDEN_NAMESPACE, account).await?;
        let port = free_port()?;
        let folder = &self.control_plane.folder;
        // It finds its certificate in the folder for temporary files.
        let temporary = folder.path("kubewarden");
        let certificates = temporary.join("k8s-webhook-server/serving-certs");
        fs::create_dir_all(&certificates)?;
        let certificate = self.control_plane.authority.sign(account, account)?;
        fs::write(certificates.join("tls.crt"), certificate.certificate)?;
        fs::write(certificates.join("tls.key"), certificate.key)?;
        let mut command = tied_to_this_thread(&kubewarden.folder.join("controller"));
        command.args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]);
        command
            .args([format!("--deployments-namespace={KUBEWARDEN_NAMESPACE}"), format!("--webhook-server-port={port}")]);
        command.env("TMPDIR", temporary);
        command.env("KUBECONFIG", folder.write("kubewarden-controller.kubeconfig", &kubeconfig.to_string())?);
        command.env_remove("KUBERNETES_SERVICE_HOST");
        let process = Process::start(command, folder.open_log(CONTROLLER_LOG)?)?;
        self.kubewarden = Some(Controller { process, webhooks: Vec::new() });
        let listens = || async { Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()) };
        wait_until("Kubewarden's controller listens", listens).await?;
        Ok(port)
    }

    /// A configuration whose webhooks are those of the controller on this port, in place of those of its Service.
    fn with_address(&self, mut configuration: Value, port: u16) -> Value {
        configuration["metadata"] = json!({"name": format!("kubewarden-{}", text(&configuration["metadata"]["name"]))});
        for webhook in configuration["webhooks"].as_array_mut().into_iter().flatten() {
            let path = text(&webhook["clientConfig"]["service"]["path"]);
            webhook["clientConfig"] = json!({
                "url": format!("https://127.0.0.1:{port}{path}"),
                "caBundle": encode(&self.control_plane.authority.certificate),
            });
        }
        configuration
    }

    async fn set_pods_of_policy_server_ready(&self) -> Result<()> {
        let path = format!("/api/v1/namespaces/{KUBEWARDEN_NAMESPACE}/pods");
        let selected = format!("{path}?labelSelector=kubewarden/policy-server%3Ddefault");
        let pods = self.admin.get_path(&selected).await?.success()?.body;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
            if !conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
                let ready = json!({"status": {
                    "phase": "Running",
                    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
                }});
                // It may have been deleted in the meantime.
                self.admin.merge_path(&format!("{path}/{}/status", text(&pod["metadata"]["name"])), &ready).await?;
            }
        }
        Ok(())
    }

    async fn create_service_account(&self, name: &str) -> Result<()> {
        let metadata = json!({"name": name, "namespace": KUBEWARDEN_NAMESPACE});
        self.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await
    }

    /// Source: `charts/kubewarden-controller/templates/audit-scanner-role.yaml` and `audit-scanner-rolebinding.yaml`.
    async fn grant_scanner_the_rights_of_its_chart(&self) -> Result<()> {
        let name = "audit-scanner";
        self.create_service_account(name).await?;
        let policies = [
            "clusteradmissionpolicies",
            "clusteradmissionpolicygroups",
            "admissionpolicies",
            "admissionpolicygroups",
            "policyservers",
        ];
        let verbs = ["create", "deletecollection", "get", "list", "patch", "update", "watch"];
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [
                {"apiGroups": ["policies.kubewarden.io"], "resources": policies, "verbs": ["get", "list", "watch"]},
                {
                    "apiGroups": ["wgpolicyk8s.io"], "resources": ["policyreports", "clusterpolicyreports"],
                    "verbs": verbs,
                },
            ],
        }))
        .await?;
        for role in ["view", name] {
            self.apply(&json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": format!("test-{name}-{role}")},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": KUBEWARDEN_NAMESPACE}],
            }))
            .await?;
        }
        Ok(())
    }
}
