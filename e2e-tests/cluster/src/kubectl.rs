//! kubectl as a person runs it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::ignored::Ignored;
use crate::inputs::runs;
use crate::test_cluster::TestCluster;

/// What kubectl printed.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: String,
    /// Its standard error, where it prints warnings.
    pub stderr: String,
}

impl TestCluster {
    /// Runs kubectl as an administrator.
    ///
    /// # Errors
    /// [`Ignored`] if kubectl is not installed.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Output> {
        if !runs(Path::new("kubectl"), &["version", "--client"]) {
            bail!(Ignored("kubectl is not on the PATH".to_owned()));
        }
        let mut command = tokio::process::Command::new("kubectl");
        // kubectl remembers for hours which versions the API server prefers.
        let cache = self.control_plane.folder.path(&format!("kubectl-cache-{}", self.toolhive_version()));
        command.arg("--kubeconfig").arg(&self.admin_kubeconfig).arg("--cache-dir").arg(cache).args(arguments);
        let output = command.output().await.context("cannot run kubectl")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output { stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Scales a workload with `kubectl scale`, and returns the warnings that the person sees.
    ///
    /// # Errors
    /// If kubectl fails, and as [`TestCluster::kubectl`].
    pub async fn kubectl_scale(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        replicas: u32,
    ) -> Result<Vec<String>> {
        let count = format!("--replicas={replicas}");
        let output = self.kubectl(&["--namespace", namespace, "scale", resource, name, &count]).await?;
        ensure!(
            output.stdout.contains("scaled"),
            "kubectl scale of {resource} {name} printed {:?} and {:?}",
            output.stdout,
            output.stderr
        );
        Ok(output.stderr.lines().filter_map(|line| line.strip_prefix("Warning: ")).map(str::to_owned).collect())
    }
}
