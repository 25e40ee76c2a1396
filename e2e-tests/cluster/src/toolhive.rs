//! ToolHive's own operator and proxy runner, of several releases, as processes outside of a pod.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::ignored::Ignored;
use crate::inputs::workspace_root;
use crate::manifests::read_objects;
use crate::process::{Process, tied_to_this_thread};
use crate::requests::text;
use crate::test_cluster::TestCluster;
use crate::wait::wait_until;

/// How long a proxy runner may take until it has applied its StatefulSet.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The namespace and the service account of ToolHive's Helm chart.
const OPERATOR_ACCOUNT: (&str, &str) = ("toolhive-system", "toolhive-operator");

/// The annotation of a pod template that the container's environment variable `THV_MCPSERVER_GENERATION` refers to.
const GENERATION: &str = "toolhive.stacklok.dev/mcpserver-generation";

/// Exit status of `scripts/toolhive` for a release that cannot be had on this machine.
const UNAVAILABLE: i32 = 3;

/// A release of ToolHive: its programs and its custom resource definitions.
#[derive(Clone, Debug)]
pub struct ToolHiveRelease {
    /// The tag, such as `v0.44.0`.
    pub tag: String,
    /// The release's custom resource definitions.
    pub(crate) definitions: Vec<Value>,
    folder: PathBuf,
}

/// The operator that runs.
#[derive(Debug)]
pub(crate) struct Operator {
    process: Process,
    /// The name of its log.
    pub(crate) log: String,
}

impl ToolHiveRelease {
    /// The release of this tag. `scripts/toolhive` builds it where it was not built before.
    ///
    /// # Errors
    /// [`Ignored`] where the release cannot be had on this machine.
    pub fn find(tag: &str) -> Result<Self> {
        let script = workspace_root().join("scripts/toolhive");
        let mut command = Command::new(&script);
        command.arg(tag).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {}", script.display()))?;
        let mut reason = String::new();
        // A build takes minutes, so that what the script says is shown at once.
        for line in BufReader::new(child.stderr.take().context("no standard error")?).lines() {
            let line = line?;
            eprintln!("{line}");
            if let Some((_, cause)) = line.split_once("cannot be had here: ") {
                reason = cause.to_owned();
            }
        }
        let output = child.wait_with_output()?;
        if output.status.code() == Some(UNAVAILABLE) {
            bail!(Ignored(format!("ToolHive {tag} cannot be had here: {reason}")));
        }
        ensure!(output.status.success(), "scripts/toolhive {tag} failed with {}", output.status);
        let folder = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        let mut files = fs::read_dir(folder.join("crds"))
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>())
            .with_context(|| format!("cannot read {}/crds", folder.display()))?;
        files.sort();
        let mut definitions = Vec::new();
        for file in files {
            definitions.extend(read_objects(&file)?);
        }
        ensure!(!definitions.is_empty(), "{}/crds is empty", folder.display());
        Ok(Self { tag: tag.to_owned(), definitions, folder })
    }

    /// The version of ToolHive's API group that the API server prefers with these definitions.
    pub(crate) fn version(&self) -> &'static str {
        let mut servers =
            self.definitions.iter().filter(|definition| definition["spec"]["names"]["kind"] == "MCPServer");
        let versions = servers.next().and_then(|definition| definition["spec"]["versions"].as_array());
        let has_v1beta1 = versions.into_iter().flatten().any(|it| it["name"] == "v1beta1" && it["served"] == true);
        if has_v1beta1 { "v1beta1" } else { "v1alpha1" }
    }
}

impl TestCluster {
    /// Makes sure that a release's definitions are installed, and that its operator and the controllers of Kubernetes
    /// run. Custom resources of another release are removed.
    ///
    /// # Errors
    /// [`Ignored`] where the control plane has no kube-controller-manager; another error where something does not
    /// start.
    pub async fn require_release(&mut self, release: &ToolHiveRelease) -> Result<()> {
        self.start_controller_manager().await?;
        self.require_definitions_of(release).await?;
        let is_running = match &mut self.operator {
            Some(operator) => operator.process.exit_status()?.is_none(),
            None => false,
        };
        if !is_running {
            self.start_operator(release).await?;
        }
        Ok(())
    }

    /// Starts a release's operator, in place of the one that runs, under the service account of its chart. Returns when
    /// its controller of the kind `MCPServer` works.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start_operator(&mut self, release: &ToolHiveRelease) -> Result<()> {
        self.stop_operator();
        let (namespace, name) = OPERATOR_ACCOUNT;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace},
        });
        self.apply(&account).await?;
        let kubeconfig = self.service_account_kubeconfig(namespace, name).await?;
        let folder = &self.control_plane.folder;
        let kubeconfig = folder.write("operator.kubeconfig", &kubeconfig.to_string())?;
        let log = format!("operator-{}.log", release.tag);
        // An earlier process of the same release may have written it.
        let path = folder.write(&log, "")?;
        let mut command = tied_to_this_thread(&release.folder.join("thv-operator"));
        command.args(["--metrics-bind-address=0", "--health-probe-bind-address=0"]).env("KUBECONFIG", kubeconfig);
        command.envs([
            ("POD_NAMESPACE", namespace),
            ("TOOLHIVE_RUNNER_IMAGE", &format!("example/proxyrunner:{}", release.tag)),
            ("VMCP_IMAGE", &format!("example/vmcp:{}", release.tag)),
            ("TOOLHIVE_PROXY_HOST", "127.0.0.1"),
            ("UNSTRUCTURED_LOGS", "false"),
        ]);
        detach_from_environment(&mut command);
        let process = Process::start(command, folder.open_log(&log)?)?;
        self.operator = Some(Operator { process, log: log.clone() });
        let is_started = || async { Ok(fs::read_to_string(&path)?.lines().any(starts_controller_of_mcp_servers)) };
        wait_until("the operator's controllers run", is_started).await.with_context(|| folder.log_tail(&log))
    }

    /// Kills the operator, if one runs.
    pub fn stop_operator(&mut self) {
        self.operator = None;
    }

    /// Runs the proxy runner of an `MCPServer` until it has applied its StatefulSet once, as a new pod of the server's
    /// Deployment does at its start.
    ///
    /// # Errors
    /// Where the operator has not prepared the server, or the proxy runner does not come to its write.
    pub async fn run_proxy_runner(&self, release: &ToolHiveRelease, namespace: &str, name: &str) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/{name}-runconfig");
        let configuration = self.admin.get_path(&path).await?.success()?.body;
        let template = self.admin.get("deployments", namespace, name).await?["spec"]["template"].take();
        let container = &template["spec"]["containers"][0];
        let arguments: Vec<String> = container["args"].as_array().into_iter().flatten().map(text).collect();
        let kubeconfig = self.service_account_kubeconfig(namespace, &format!("{name}-proxy-runner")).await?;

        let folder = self.control_plane.folder.path(&format!("proxy-runner-{namespace}-{name}"));
        fs::create_dir_all(&folder)?;
        // It reads this file in the working directory.
        fs::write(folder.join("runconfig.json"), text(&configuration["data"]["runconfig.json"]))?;
        fs::write(folder.join("kubeconfig"), kubeconfig.to_string())?;
        let log = folder.join("log");
        let mut command = tied_to_this_thread(&release.folder.join("thv-proxyrunner"));
        command.args(arguments).current_dir(&folder).envs(environment(container));
        command.env("POD_NAMESPACE", namespace).env("TOOLHIVE_RUNTIME", "kubernetes");
        if let Some(generation) = template["metadata"]["annotations"][GENERATION].as_str() {
            command.env("THV_MCPSERVER_GENERATION", generation);
        }
        for variable in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            command.env(variable, &folder);
        }
        command.env("KUBECONFIG", folder.join("kubeconfig"));
        detach_from_environment(&mut command);
        let mut process = Process::start(command, fs::File::create(&log)?)?;
        let begun = Instant::now();
        // After its write it waits until the pods are ready, which they never are without nodes.
        while !fs::read_to_string(&log)?.contains("aiting for statefulset") {
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

/// Whether a line of an operator's log tells that its controller of the kind `MCPServer` works. The log is JSON in some
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
