//! What the scenarios act in: the control plane, the webhook, the reconcilers, and people and programs that write.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use crate::control_plane::{self, ControlPlane, bound_to_us, free_port, stop};
use crate::crds::Shape;

/// The operator's account, with the names that ToolHive's chart gives.
pub(crate) const OPERATOR: &str = "system:serviceaccount:toolhive-system:toolhive-operator";
/// The account of the controller behind every HorizontalPodAutoscaler.
pub(crate) const AUTOSCALER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// How long to wait for what is to happen soon: a Lease that nobody gave back ends after 15 seconds, and a machine may be slow.
const SOON: Duration = Duration::from_secs(60);

/// What is tested.
pub(crate) struct Artefacts {
    /// The folder with `kube-apiserver` and `etcd`.
    pub(crate) assets: PathBuf,
    /// The policy module.
    pub(crate) policy: PathBuf,
    /// The reconciler's binary.
    pub(crate) reconciler: PathBuf,
    /// Helm, which only the chart needs.
    pub(crate) helm: Option<PathBuf>,
    /// The repository, for metadata and manifests.
    pub(crate) repository: PathBuf,
}

/// A cluster in which scenarios play.
pub(crate) struct World {
    /// The control plane.
    pub(crate) plane: ControlPlane,
    /// What is tested.
    pub(crate) artefacts: Artefacts,
    /// A person who may do everything.
    pub(crate) admin: Actor,
    shape: Shape,
    kubectl: Option<PathBuf>,
    webhook: Option<Child>,
    reconcilers: Vec<Child>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The HTTP code.
    pub(crate) code: u16,
    /// What the API server sent.
    pub(crate) body: Value,
    /// The warnings with it.
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    /// The answer, where the request was carried out.
    ///
    /// # Errors
    /// Where it was not; the API server's message is in it.
    pub(crate) fn done(self) -> Result<Self> {
        ensure!(self.code < 300, "the API server says {}: {}", self.code, self.body["message"]);
        Ok(self)
    }
}

/// Somebody who makes requests.
#[derive(Clone)]
pub(crate) struct Actor {
    client: Client,
    version: &'static str,
}

impl Actor {
    /// Makes a request.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub(crate) async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Result<Answer> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path);
        let request = request.header(http::header::CONTENT_TYPE, content_type).body(Body::from(body))?;
        let response = self.client.send(request).await?;
        let warnings = response.headers().get_all(http::header::WARNING).iter();
        // `299 - "text"`
        let text = |value: &http::HeaderValue| {
            let text = value.to_str().unwrap_or_default().splitn(3, ' ').nth(2).unwrap_or_default();
            text.trim_matches('"').replace("\\\"", "\"")
        };
        let warnings = warnings.map(text).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&bytes)}));
        Ok(Answer { code, body, warnings })
    }

    /// The path of a resource in a namespace.
    pub(crate) fn path(&self, resource: &str, namespace: &str) -> String {
        let group = match resource {
            "mcpservers" | "virtualmcpservers" | "mcpremoteproxies" => {
                format!("toolhive.stacklok.dev/{}", self.version)
            }
            "horizontalpodautoscalers" => "autoscaling/v2".to_owned(),
            "events" => "events.k8s.io/v1".to_owned(),
            "leases" => "coordination.k8s.io/v1".to_owned(),
            _ => "apps/v1".to_owned(),
        };
        format!("/apis/{group}/namespaces/{namespace}/{resource}")
    }

    /// Makes an object.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn create(&self, resource: &str, namespace: &str, object: &Value) -> Result<Answer> {
        self.send("POST", &self.path(resource, namespace), "application/json", object).await
    }

    /// Reads an object, or a subresource of it (`name/scale`).
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) async fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        let path = format!("{}/{name}", self.path(resource, namespace));
        let answer = self.send("GET", &path, "application/json", &Value::Null).await?;
        Ok(answer.done().with_context(|| format!("{resource} {name}"))?.body)
    }

    /// Reads an object, changes it and writes it back, as programs do; again where somebody else wrote first.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn update(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        change: impl Fn(&mut Value),
    ) -> Result<Answer> {
        let path = format!("{}/{name}", self.path(resource, namespace));
        loop {
            let mut object = self.get(resource, namespace, name).await?;
            change(&mut object);
            let answer = self.send("PUT", &path, "application/json", &object).await?;
            if answer.code != 409 {
                return Ok(answer);
            }
        }
    }

    /// Merges a patch into an object.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn merge(&self, resource: &str, namespace: &str, name: &str, patch: &Value) -> Result<Answer> {
        let path = format!("{}/{name}", self.path(resource, namespace));
        self.send("PATCH", &path, "application/merge-patch+json", patch).await
    }

    /// Server-side apply.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn apply(
        &self,
        resource: &str,
        namespace: &str,
        manager: &str,
        force: bool,
        object: &Value,
    ) -> Result<Answer> {
        let name = object["metadata"]["name"].as_str().context("has a name")?;
        let path = self.path(resource, namespace);
        let path = format!("{path}/{name}?fieldManager={manager}&force={force}");
        self.send("PATCH", &path, "application/apply-patch+yaml", object).await
    }

    /// Sets a count as autoscalers do: reads the Scale and writes it back.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn scale(&self, resource: &str, namespace: &str, name: &str, replicas: u32) -> Result<Answer> {
        let name = format!("{name}/scale");
        self.update(resource, namespace, &name, |scale| scale["spec"] = json!({"replicas": replicas})).await
    }

    /// Removes an object.
    ///
    /// # Errors
    /// As [`Actor::send`].
    pub(crate) async fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<Answer> {
        let path = format!("{}/{name}", self.path(resource, namespace));
        self.send("DELETE", &path, "application/json", &Value::Null).await
    }

    /// `spec.replicas` of a workload.
    ///
    /// # Errors
    /// Where it is not there.
    pub(crate) async fn replicas(&self, resource: &str, namespace: &str, name: &str) -> Result<u64> {
        self.get(resource, namespace, name).await?["spec"]["replicas"].as_u64().context("has a count")
    }

    /// Status and reason of a condition; empty where there is none.
    ///
    /// # Errors
    /// Where there is no such server.
    pub(crate) async fn condition(&self, namespace: &str, name: &str, type_: &str) -> Result<(String, String)> {
        let server = self.get("mcpservers", namespace, name).await?;
        let list = server["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let found = list.into_iter().find(|condition| condition["type"] == type_).unwrap_or_default();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Ok((text("status"), text("reason")))
    }
}

impl World {
    /// A cluster with ToolHive's definitions, and with our manifests applied.
    ///
    /// # Errors
    /// Where the control plane does not begin.
    pub(crate) async fn begin(artefacts: Artefacts) -> Result<Self> {
        let plane = ControlPlane::start(&artefacts.assets).await?;
        let admin = Actor { client: plane.client(&plane.user("kubernetes-admin")?).await?, version: "v1beta1" };
        let kubectl =
            Command::new("kubectl").args(["version", "--client"]).output().is_ok_and(|output| output.status.success());
        let kubectl = if kubectl {
            Some(plane.write("admin.kubeconfig", &plane.user("kubernetes-admin")?.to_string())?)
        } else {
            None
        };
        let mut world =
            Self { plane, artefacts, admin, shape: Shape::Present, kubectl, webhook: None, reconcilers: Vec::new() };
        for namespace in ["toolhive-system", "kubewarden"] {
            world.make_namespace(namespace).await?;
        }
        // Where the scenarios impersonate, what is tested is what is done, not whether it may be.
        for (index, user) in [OPERATOR, AUTOSCALER].into_iter().enumerate() {
            world.allow_everything(&format!("e2e-{index}"), user).await?;
        }
        for manifest in ["deploy/reconciler.yaml", "deploy/policy-server-rbac.yaml"] {
            // The rights; there is nobody here who would run a Deployment.
            for object in world.manifest(manifest)?.iter().filter(|object| object["kind"] != "Deployment") {
                world.apply_any(object).await?;
            }
        }
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "policy-server", "namespace": "kubewarden"}});
        world.apply_any(&account).await?;
        world.install(Shape::Present).await?;
        Ok(world)
    }

    /// Whether there is a kubectl, which then is what people use here.
    pub(crate) fn has_kubectl(&self) -> bool {
        self.kubectl.is_some()
    }

    /// The objects of a file of the repository.
    ///
    /// # Errors
    /// Where it is no YAML.
    pub(crate) fn manifest(&self, path: &str) -> Result<Vec<Value>> {
        let text = std::fs::read_to_string(self.artefacts.repository.join(path))
            .with_context(|| format!("cannot read {path}"))?;
        serde_saphyr::from_multiple(&text).with_context(|| format!("{path} is no YAML"))
    }

    async fn make_namespace(&self, name: &str) -> Result<()> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.admin.send("POST", "/api/v1/namespaces", "application/json", &namespace).await?.done()?;
        Ok(())
    }

    /// A namespace of its own for a scenario.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(crate) async fn namespace(&self, name: &str) -> Result<String> {
        self.make_namespace(name).await?;
        Ok(name.to_owned())
    }

    /// Applies an object of one of the kinds that our manifests have.
    async fn apply_any(&self, object: &Value) -> Result<()> {
        self.apply_with(object, "").await
    }

    /// Has the API server say what applying an object would do, where an unknown field is an error.
    ///
    /// # Errors
    /// Where it would not take it.
    pub(crate) async fn dry_apply(&self, object: &Value) -> Result<()> {
        self.apply_with(object, "&dryRun=All&fieldValidation=Strict").await
    }

    async fn apply_with(&self, object: &Value, options: &str) -> Result<()> {
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let root = if version.contains('/') { "apis" } else { "api" };
        let namespace = match object["metadata"]["namespace"].as_str() {
            Some(namespace) => format!("namespaces/{namespace}/"),
            None => String::new(),
        };
        let (name, singular) = (text(&object["metadata"]["name"]), kind.to_lowercase());
        let plural = singular.strip_suffix('y').map_or_else(|| format!("{singular}s"), |stem| format!("{stem}ies"));
        let path = format!("/{root}/{version}/{namespace}{plural}/{name}?fieldManager=e2e&force=true{options}");
        let answer = self.admin.send("PATCH", &path, "application/apply-patch+yaml", object).await?;
        answer.done().with_context(|| format!("cannot apply {kind} {name}"))?;
        Ok(())
    }

    /// Installs a definition and waits until it is served.
    ///
    /// # Errors
    /// Where it is not.
    pub(crate) async fn define(&self, definition: &Value) -> Result<()> {
        self.apply_any(definition).await?;
        let spec = &definition["spec"];
        let version = text(&spec["versions"][0]["name"]);
        let path = format!("/apis/{}/{version}/{}", text(&spec["group"]), text(&spec["names"]["plural"]));
        eventually("a definition is served", || async {
            Ok(self.admin.send("GET", &path, "application/json", &Value::Null).await?.code == 200)
        })
        .await
    }

    /// Makes a user an administrator.
    ///
    /// # Errors
    /// Where that fails.
    pub(crate) async fn allow_everything(&self, name: &str, user: &str) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
        });
        self.apply_any(&binding).await
    }

    /// Somebody who acts under this name.
    ///
    /// # Errors
    /// Where no client can be made.
    pub(crate) async fn actor(&self, user: &str) -> Result<Actor> {
        let groups = ["system:authenticated".to_owned(), "system:serviceaccounts".to_owned()];
        let client = control_plane::client(&self.plane.user("kubernetes-admin")?, Some((user, &groups))).await?;
        Ok(Actor { client, version: self.shape.version() })
    }

    /// Runs kubectl as a person does; what it printed to standard output and to standard error. `None` where there is none.
    ///
    /// # Errors
    /// Where it cannot be run.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<Option<(String, String)>> {
        let Some(kubeconfig) = &self.kubectl else { return Ok(None) };
        let output = tokio::process::Command::new("kubectl")
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(arguments)
            .output()
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Some((text(&output.stdout), text(&output.stderr))))
    }

    /// Scales as a person does: with kubectl where there is one. The warnings that the person sees.
    ///
    /// # Errors
    /// Where it does not work.
    pub(crate) async fn person_scales(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        replicas: u32,
    ) -> Result<Vec<String>> {
        let count = format!("--replicas={replicas}");
        match self.kubectl(&["-n", namespace, "scale", resource, name, &count]).await? {
            Some((output, error)) => {
                ensure!(output.contains("scaled"), "kubectl says: {output}{error}");
                Ok(error.lines().filter_map(|line| line.strip_prefix("Warning: ")).map(str::to_owned).collect())
            }
            None => Ok(self.admin.scale(resource, namespace, name, replicas).await?.done()?.warnings),
        }
    }

    /// Which shape ToolHive's definitions have.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Installs ToolHive's definitions over those that are there.
    ///
    /// # Errors
    /// Where the API server does not serve them.
    pub(crate) async fn install(&mut self, shape: Shape) -> Result<()> {
        self.shape = shape;
        self.admin.version = shape.version();
        for definition in shape.definitions() {
            self.define(&definition).await?;
        }
        self.servers_can_be_made().await
    }

    /// Waits until servers can be made: what serves a definition changes a moment after the definition.
    ///
    /// # Errors
    /// Where they cannot.
    pub(crate) async fn servers_can_be_made(&self) -> Result<()> {
        let path = format!("{}?dryRun=All", self.admin.path("mcpservers", "toolhive-system"));
        let server = self.server("probe", json!({}));
        eventually("servers can be made", || async {
            Ok(self.admin.send("POST", &path, "application/json", &server).await?.code < 300)
        })
        .await
    }

    /// Removes ToolHive's definitions, and with them every server.
    ///
    /// # Errors
    /// Where they stay.
    pub(crate) async fn uninstall(&self) -> Result<()> {
        for definition in self.shape.definitions() {
            let name = definition["metadata"]["name"].as_str().context("has a name")?.to_owned();
            let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
            self.admin.send("DELETE", &path, "application/json", &Value::Null).await?.done()?;
            eventually("a definition is gone", || async {
                Ok(self.admin.send("GET", &path, "application/json", &Value::Null).await?.code == 404)
            })
            .await?;
        }
        Ok(())
    }

    /// A kubeconfig with the token of a service account, as its pod would have it.
    async fn account(&self, namespace: &str, name: &str) -> Result<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let answer = self.admin.send("POST", &path, "application/json", &request).await?.done()?;
        let token = answer.body["status"]["token"].as_str().context("no token")?;
        Ok(self.plane.bearer(token))
    }

    /// Puts the policy, with these settings, behind a webhook configuration made from metadata.yml.
    ///
    /// # Errors
    /// Where it does not take effect.
    pub(crate) async fn webhook_on(&mut self, settings: &Value) -> Result<()> {
        let port = self.start_webhook(settings).await?;
        let metadata: Value = self.manifest("metadata.yml")?.remove(0);
        let mut rules = metadata["rules"].clone();
        for rule in rules.as_array_mut().context("metadata.yml has rules")? {
            rule["scope"] = "*".into();
        }
        // Of the rest, what we tell Kubewarden to put there.
        let manifest = self.manifest("deploy/kubewarden/mcpserver-scaling.yaml")?.remove(0);
        use base64::Engine;
        let authority = base64::engine::general_purpose::STANDARD.encode(&self.plane.authority().certificate);
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "mcpserver-scaling-policy"},
            "webhooks": [{
                "name": "mcpserver-scaling-policy.kubewarden.admission", "rules": rules,
                "clientConfig": {"url": format!("https://127.0.0.1:{port}/validate/clusterwide-mcpserver-scaling-policy"), "caBundle": authority},
                "sideEffects": "None", "admissionReviewVersions": ["v1"], "matchPolicy": "Equivalent",
                "failurePolicy": manifest["spec"]["failurePolicy"], "timeoutSeconds": manifest["spec"]["timeoutSeconds"],
                "matchConditions": manifest["spec"]["matchConditions"],
            }],
        });
        self.apply_any(&configuration).await?;
        self.webhook_answers().await
    }

    /// Waits until requests come through the webhook.
    ///
    /// # Errors
    /// Where they do not.
    pub(crate) async fn webhook_answers(&self) -> Result<()> {
        eventually("the webhook answers", || async { Ok(!self.probe().await?.warnings.is_empty()) }).await
    }

    /// Asks for something that the policy warns of with any of the settings here, and that nobody keeps.
    async fn probe(&self) -> Result<Answer> {
        let server = self.server("webhook-probe", json!({}));
        // It is there already, or is made now.
        let _ = self.admin.create("mcpservers", "toolhive-system", &server).await?;
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "probe"},
            "spec": {"maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "webhook-probe"}},
        });
        let path = format!("{}?dryRun=All", self.admin.path("horizontalpodautoscalers", "toolhive-system"));
        self.admin.send("POST", &path, "application/json", &autoscaler).await
    }

    /// Starts the webhook's process, in the place of one that runs. Its port.
    ///
    /// # Errors
    /// Where it does not begin.
    async fn start_webhook(&mut self, settings: &Value) -> Result<u16> {
        stop(&mut self.webhook);
        let port = free_port()?;
        let certificate = self.plane.authority().sign("webhook", "webhook")?;
        let kubeconfig = self.account("kubewarden", "policy-server").await?;
        let mut command = bound_to_us(&std::env::current_exe()?);
        command.arg("webhook").arg("--policy").arg(&self.artefacts.policy);
        for (flag, name, content) in [
            ("--settings", "webhook.settings", settings.to_string()),
            ("--kubeconfig", "webhook.kubeconfig", kubeconfig.to_string()),
            ("--certificate", "webhook.crt", certificate.certificate),
            ("--key", "webhook.key", certificate.key),
        ] {
            command.arg(flag).arg(self.plane.write(name, &content)?);
        }
        command.arg("--listen").arg(format!("127.0.0.1:{port}"));
        self.webhook = Some(self.plane.spawn(command, "webhook.log")?);
        eventually("the webhook listens", || async {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
        })
        .await
        .with_context(|| self.plane.tail("webhook.log"))?;
        Ok(port)
    }

    /// Ends the webhook's process and leaves its configuration.
    pub(crate) fn webhook_dies(&mut self) {
        stop(&mut self.webhook);
    }

    /// The id of the webhook's process.
    pub(crate) fn webhook_process(&self) -> Option<u32> {
        self.webhook.as_ref().map(Child::id)
    }

    /// Removes the webhook and its configuration.
    ///
    /// # Errors
    /// Where that fails.
    pub(crate) async fn webhook_off(&mut self) -> Result<()> {
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/mcpserver-scaling-policy";
        self.admin.send("DELETE", path, "application/json", &Value::Null).await?;
        // The API server hears of it a moment later; until then the webhook has to answer.
        let is_off = || async {
            let answer = self.probe().await?;
            Ok(answer.code < 300 && answer.warnings.is_empty())
        };
        eventually("no request comes through the webhook", is_off).await?;
        stop(&mut self.webhook);
        Ok(())
    }

    /// Starts a reconciler under its own account. Which one it is.
    ///
    /// # Errors
    /// Where it does not begin.
    pub(crate) async fn start_reconciler(&mut self, arguments: &[&str]) -> Result<usize> {
        let kubeconfig = self.account("toolhive-system", "mcpserver-scaling-reconciler").await?;
        let index = self.reconcilers.len();
        let kubeconfig = self.plane.write(&format!("reconciler-{index}.kubeconfig"), &kubeconfig.to_string())?;
        let port = free_port()?;
        let mut command = bound_to_us(&self.artefacts.reconciler);
        command.args(["run", "--lease-namespace=toolhive-system", "--log-format=json"]).args(arguments);
        command.arg(format!("--listen=127.0.0.1:{port}")).arg("--kubeconfig").arg(kubeconfig);
        let process = self.plane.spawn(command, &format!("reconciler-{index}.log"))?;
        self.reconcilers.push(process);
        eventually("the reconciler is ready", || async { is_ready(port).await })
            .await
            .with_context(|| self.plane.tail(&format!("reconciler-{index}.log")))?;
        Ok(index)
    }

    /// Kills a reconciler where it stands.
    pub(crate) fn kill_reconciler(&mut self, index: usize) {
        if let Some(process) = self.reconcilers.get_mut(index) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Tells every reconciler to stop, and waits until they have.
    ///
    /// # Errors
    /// Where one does not stop, or not well.
    pub(crate) async fn stop_reconcilers(&mut self) -> Result<()> {
        for (index, mut process) in std::mem::take(&mut self.reconcilers).into_iter().enumerate() {
            if process.try_wait()?.is_some() {
                continue;
            }
            Command::new("kill").arg(process.id().to_string()).status()?;
            let told = Instant::now();
            loop {
                if let Some(status) = process.try_wait()? {
                    ensure!(status.success(), "reconciler {index} ended with {status}");
                    break;
                }
                if told.elapsed() > SOON {
                    let _ = process.kill();
                    bail!("reconciler {index} does not stop");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// The id of a reconciler's process.
    pub(crate) fn reconciler_process(&self, index: usize) -> Option<u32> {
        self.reconcilers.get(index).map(Child::id)
    }

    /// An MCPServer, at the version that the API server prefers.
    pub(crate) fn server(&self, name: &str, mut spec: Value) -> Value {
        spec["image"] = "example/mcp".into();
        json!({
            "apiVersion": format!("toolhive.stacklok.dev/{}", self.shape.version()), "kind": "MCPServer",
            "metadata": {"name": name}, "spec": spec,
        })
    }

    /// Makes an MCPServer, as a person does. What the API server answered; the server is its body.
    ///
    /// # Errors
    /// Where it is refused.
    pub(crate) async fn make_server(&self, namespace: &str, name: &str, spec: Value) -> Result<Answer> {
        self.admin.create("mcpservers", namespace, &self.server(name, spec)).await?.done()
    }

    /// Every entry of the API server's audit log so far.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn audit(&self) -> Result<Vec<Value>> {
        let log = std::fs::read_to_string(self.plane.folder().join("audit.log"))?;
        Ok(log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        stop(&mut self.webhook);
        for process in &mut self.reconcilers {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// The Deployment that the operator makes for a server: a proxy runner.
pub(crate) fn deployment(server: &Value, replicas: u32) -> Value {
    let name = server["metadata"]["name"].as_str().unwrap_or_default();
    let labels = json!({
        "app": "mcpserver", "app.kubernetes.io/name": "mcpserver", "app.kubernetes.io/instance": name,
        "toolhive": "true", "toolhive-name": name,
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [{
            "apiVersion": server["apiVersion"], "kind": "MCPServer", "name": name, "uid": server["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }]},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "toolhive", "image": "example/proxyrunner"}]}},
        },
    })
}

/// The StatefulSet that a proxy runner makes for its server: the backend.
pub(crate) fn statefulset(name: &str, transport: &str, replicas: u32) -> Value {
    let labels = json!({
        "app": name, "toolhive": "true", "toolhive-name": name, "toolhive-basename": name, "toolhive-port": "8080",
        "toolhive-transport": transport,
    });
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas, "serviceName": name, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "mcp", "image": "example/mcp"}]}},
        },
    })
}

/// The text of a JSON value; none where it is no text.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Waits until it is so.
///
/// # Errors
/// Where it is not so within a minute, or cannot be found out.
pub(crate) async fn eventually<F: Future<Output = Result<bool>>>(what: &str, is_so: impl Fn() -> F) -> Result<()> {
    let begun = Instant::now();
    loop {
        let last = is_so().await;
        if matches!(last, Ok(true)) {
            return Ok(());
        }
        if begun.elapsed() > SOON {
            last.with_context(|| format!("waiting for this: {what}"))?;
            bail!("it never came to this: {what}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn is_ready(port: u16) -> Result<bool> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// The path of a file that a run needs, where it is there.
///
/// # Errors
/// Where it is not.
pub(crate) fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("there is no {}", path.display()))
}
