//! ToolHive's own operator and proxy runner, of several releases, as processes outside of a pod.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mcp_scaling_rules::annotations;
use serde_json::{Value, json};

use crate::components::Operator;
use crate::process::{Process, tied_to_this_thread};
use crate::requests::text;
use crate::test_cluster::TestCluster;
use crate::toolhive_crds::{ToolHiveCrds, release_folder};
use crate::wait::wait_until;

/// How long a proxy runner may take until it has applied its StatefulSet.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The namespace and the service account of ToolHive's Helm chart.
const OPERATOR_ACCOUNT: (&str, &str) = ("toolhive-system", "toolhive-operator");

/// A release of ToolHive: its programs and its custom resource definitions.
#[derive(Clone, Debug)]
pub struct ToolHiveRelease {
    /// Its definitions, which know its tag.
    pub(crate) definitions: ToolHiveCrds,
    folder: PathBuf,
}

impl ToolHiveRelease {
    /// The release of this tag. `scripts/toolhive` builds it if it was not built before.
    ///
    /// # Errors
    /// [`crate::Ignored`] if the release cannot be had on this machine.
    pub fn find(tag: &str) -> Result<Self> {
        let folder = release_folder(&[tag])?;
        Ok(Self { definitions: ToolHiveCrds::read(tag, &folder)?, folder })
    }

    /// The tag, such as `v0.44.0`.
    pub fn tag(&self) -> &str {
        self.definitions.name()
    }

    /// The modules in place of which the programs were built with a stand-in, by the last part of their names.
    ///
    /// # Errors
    /// If the file that says so cannot be read.
    pub fn stand_ins(&self) -> Result<Vec<String>> {
        let path = self.folder.join("replaced");
        match fs::read_to_string(&path) {
            Ok(replaced) => Ok(stand_ins_in(&replaced)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// The modules that lines of a `go.mod` such as `MODULE => ./FOLDER` replace by a folder, by the last part of their names.
fn stand_ins_in(replaced: &str) -> Vec<String> {
    let replacements = replaced.lines().filter_map(|line| line.split_once(" => "));
    let by_folder = replacements.filter(|(_, replacement)| replacement.starts_with("./"));
    by_folder.map(|(module, _)| module.rsplit('/').next().unwrap_or(module).to_owned()).collect()
}

impl TestCluster {
    /// Makes sure that a release's definitions are installed, and that its operator and the controllers of Kubernetes
    /// run. Custom resources of another release are removed.
    ///
    /// # Errors
    /// [`crate::Ignored`] if the control plane has no kube-controller-manager; another error if something does not
    /// start.
    pub async fn require_release(&mut self, release: &ToolHiveRelease) -> Result<()> {
        self.start_controller_manager().await?;
        self.require_crds(&release.definitions).await?;
        let is_running = match &mut self.operator {
            Some(operator) => operator.process.exit_status()?.is_none(),
            None => false,
        };
        if !is_running {
            self.start_operator(release).await?;
        }
        Ok(())
    }

    /// Makes sure that a release's definitions are installed, over those of an older release, and that its operator runs,
    /// as an upgrade of ToolHive does. Custom resources stay.
    ///
    /// # Errors
    /// If the API server does not serve the definitions or the operator does not start.
    pub async fn upgrade_to(&mut self, release: &ToolHiveRelease) -> Result<()> {
        self.stop_operator();
        self.install_crds(&release.definitions).await?;
        self.start_operator(release).await
    }

    /// Starts a release's operator, in place of the one that runs, under the service account of its chart. Returns when
    /// its controller of the kind `MCPServer` works. Every operator of one release has the same pod, so that the next one
    /// is what a restart of the container is in a cluster with nodes.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn start_operator(&mut self, release: &ToolHiveRelease) -> Result<()> {
        self.stop_operator();
        let (namespace, name) = OPERATOR_ACCOUNT;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        });
        self.apply(&account).await?;
        let kubeconfig = self.pod_kubeconfig(&self.require_operator_pod(release.tag()).await?).await?;
        let folder = &self.control_plane.folder;
        let kubeconfig = folder.write("operator.kubeconfig", &kubeconfig.to_string())?;
        let log = format!("operator-{}.log", release.tag());
        // An earlier process of the same release may have written it.
        let path = folder.write(&log, "")?;
        let mut command = tied_to_this_thread(&release.folder.join("thv-operator"));
        command.args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]).env("KUBECONFIG", kubeconfig);
        command.envs([
            ("POD_NAMESPACE", namespace),
            ("TOOLHIVE_RUNNER_IMAGE", &format!("example/proxyrunner:{}", release.tag())),
            ("VMCP_IMAGE", &format!("example/vmcp:{}", release.tag())),
            ("TOOLHIVE_PROXY_HOST", "127.0.0.1"),
            ("UNSTRUCTURED_LOGS", "false"),
        ]);
        detach_from_environment(&mut command);
        let process = Process::start(command, folder.open_log(&log)?)?;
        self.operator = Some(Operator { process, log: log.clone() });
        let is_started = || async { Ok(fs::read_to_string(&path)?.lines().any(starts_controller_of_mcp_servers)) };
        wait_until("the operator's controllers run", is_started).await.with_context(|| folder.log_tail(&log))
    }

    /// The pod of a release's operator. It never runs, since there are no nodes, but the operator's token belongs to it.
    async fn require_operator_pod(&self, tag: &str) -> Result<Value> {
        let (namespace, account) = OPERATOR_ACCOUNT;
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let name = format!("operator-{}", tag.replace('.', "-"));
        let existing = self.admin.get_path(&format!("{pods}/{name}")).await?;
        if existing.code != 404 {
            return Ok(existing.success()?.body);
        }
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
            "spec": {"serviceAccountName": account, "containers": [{"name": "manager", "image": "example/operator"}]},
        });
        Ok(self.admin.post_path(&pods, &pod).await?.success()?.body)
    }

    /// Creates an `MCPServer` as a person does, and waits until the operator has created its Deployment and the controllers
    /// of Kubernetes have seen that.
    ///
    /// # Errors
    /// If the API server rejects it, or the operator creates nothing.
    pub async fn create_server_with_deployment(&self, namespace: &str, name: &str, spec: Value) -> Result<()> {
        self.create_mcp_server(namespace, name, spec).await?;
        let has_revision = || async {
            let deployment = self.admin.get("deployments", namespace, name).await?;
            Ok(deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"].is_string())
        };
        wait_until(&format!("the Deployment {namespace}/{name} has a ReplicaSet"), has_revision).await
    }

    /// Runs the proxy runner of an `MCPServer` until it has applied its StatefulSet and the Services of it, as a new pod of
    /// the server's Deployment does at its start.
    ///
    /// # Errors
    /// If the operator has not prepared the server, or the proxy runner does not come to its write.
    pub async fn run_proxy_runner(&self, release: &ToolHiveRelease, namespace: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}-runconfig");
        let configuration = self.admin.get_path(&path).await?.success()?.body;
        let template = self.admin.get("deployments", namespace, name).await?["spec"]["template"].take();
        let container = &template["spec"]["containers"][0];
        let arguments: Vec<String> = container["args"].as_array().into_iter().flatten().map(text).collect();
        let account = format!("{name}-proxy-runner");
        let kubeconfig = self.service_account_kubeconfig(namespace, &account).await?;

        let folder = self.control_plane.folder.path(&format!("proxy-runner-{namespace}-{name}"));
        fs::create_dir_all(&folder)?;
        // It reads this file in the working directory.
        fs::write(folder.join("runconfig.json"), text(&configuration["data"]["runconfig.json"]))?;
        fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        let log = folder.join("log");
        let mut command = tied_to_this_thread(&release.folder.join("thv-proxyrunner"));
        command.args(arguments).current_dir(&folder).envs(environment(container));
        command.env("POD_NAMESPACE", namespace).env("TOOLHIVE_RUNTIME", "kubernetes");
        // The variable of the container refers to the annotation.
        if let Some(generation) = template["metadata"]["annotations"][annotations::MCPSERVER_GENERATION].as_str() {
            command.env("THV_MCPSERVER_GENERATION", generation);
        }
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env(variable, &folder);
        }
        command.env("KUBECONFIG", folder.join("kubeconfig"));
        detach_from_environment(&mut command);
        let audit_log_before = self.audit_log_length()?;
        let mut process = Process::start(command, fs::File::create(&log)?)?;
        let begun = Instant::now();
        // After its writes it watches the StatefulSet until the pods are ready.
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let watches = |entry: &Value| {
            entry["user"]["username"] == user
                && entry["verb"] == "watch"
                && entry["objectRef"]["resource"] == "statefulsets"
        };
        while !self.audit_log_from(audit_log_before)?.iter().any(watches) {
            if let Some(status) = process.exit_status()? {
                bail!("the proxy runner of {name} ended with {status}: {}", fs::read_to_string(&log)?);
            }
            ensure!(
                begun.elapsed() < WRITE_TIMEOUT,
                "the proxy runner of {name} has not applied its StatefulSet within {} s: {}",
                WRITE_TIMEOUT.as_secs(),
                fs::read_to_string(&log)?
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// The tags in the value of `TOOLHIVE_TAGS`, which commas or spaces separate.
pub fn split_tags(tags: &str) -> impl Iterator<Item = &str> {
    tags.split([',', ' ']).filter(|tag| !tag.is_empty())
}

/// Says whether a line of an operator's log tells that its controller of the kind `MCPServer` works. The log is JSON in some
/// releases and text in others.
fn starts_controller_of_mcp_servers(line: &str) -> bool {
    let names_controller = [r#""controller":"mcpserver""#, r#""controller": "mcpserver""#, "controller=mcpserver "];
    line.contains("Starting workers") && names_controller.iter().any(|name| line.contains(name))
}

/// The environment variables of a container that have a value of their own.
fn environment(container: &Value) -> BTreeMap<String, String> {
    let variables = container["env"].as_array().into_iter().flatten();
    let with_value = variables.filter(|variable| variable["value"].is_string());
    with_value.map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

/// Keeps ToolHive's programs from asking for updates, from reporting their use, from looking for OpenShift and from
/// using the cluster that this process may run in.
fn detach_from_environment(command: &mut Command) {
    command.envs([
        ("CI", "true"),
        ("TOOLHIVE_SKIP_UPDATE_CHECK", "true"),
        ("TOOLHIVE_USAGE_METRICS_ENABLED", "false"),
        ("OPERATOR_OPENSHIFT", "false"),
    ]);
    command.env_remove("KUBERNETES_SERVICE_HOST");
}
