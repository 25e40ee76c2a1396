//! The reconciler's processes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::accounts::RECONCILER;
use crate::faults::FaultyApiServer;
use crate::kubeconfig::client_without_retries;
use crate::process::{Process, free_port, tied_to_this_thread};
use crate::test_cluster::TestCluster;
use crate::wait::{TIMEOUT, wait_until};

impl TestCluster {
    /// Starts another reconciler under the service account of its manifest, waits until it is ready and returns its
    /// index.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_reconciler(&mut self) -> Result<usize> {
        self.start_reconciler_with(&[]).await
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`TestCluster::start_reconciler`].
    pub async fn start_reconciler_with(&mut self, arguments: &[&str]) -> Result<usize> {
        let kubeconfig = self.service_account_kubeconfig("toolhive-system", "mcpserver-scaling-reconciler").await?;
        self.start_reconciler_at(&kubeconfig, arguments).await
    }

    /// The same behind a proxy that injects faults.
    ///
    /// # Errors
    /// As [`TestCluster::start_reconciler`], or if the proxy does not start.
    pub async fn start_reconciler_behind_faults(&mut self, arguments: &[&str]) -> Result<(usize, FaultyApiServer)> {
        let api_server = client_without_retries(&self.control_plane.anonymous()).await?;
        let faulty = FaultyApiServer::start(api_server).await?;
        let mut kubeconfig = self.service_account_kubeconfig("toolhive-system", "mcpserver-scaling-reconciler").await?;
        kubeconfig["clusters"][0]["cluster"] = json!({"server": format!("http://127.0.0.1:{}", faulty.port)});
        let index = self.start_reconciler_at(&kubeconfig, arguments).await?;
        Ok((index, faulty))
    }

    async fn start_reconciler_at(&mut self, kubeconfig: &Value, arguments: &[&str]) -> Result<usize> {
        let index = self.reconcilers.len();
        let folder = &self.control_plane.folder;
        let kubeconfig = folder.write(&format!("reconciler-{index}.kubeconfig"), &kubeconfig.to_string())?;
        let port = free_port()?;
        let mut command = tied_to_this_thread(&self.inputs.reconciler);
        command.args(["run", "--lease-namespace=toolhive-system", "--log-format=json"]).args(arguments);
        command.arg(format!("--listen=127.0.0.1:{port}")).arg("--kubeconfig").arg(kubeconfig);
        self.reconcilers.push(Process::start(command, folder.open_log(&format!("reconciler-{index}.log"))?)?);
        wait_until("the reconciler is ready", || is_ready(port)).await?;
        Ok(index)
    }

    /// Starts a reconciler with `--couple-zero`, as [`TestCluster::start_reconciler`] does, and grants its service account the
    /// right that this needs beside those of the manifest.
    ///
    /// # Errors
    /// As [`TestCluster::start_reconciler`].
    pub async fn start_coupling_reconciler(&mut self) -> Result<usize> {
        let group = "rbac.authorization.k8s.io";
        let name = "test-reconciler-couple-zero";
        let rule = json!({"apiGroups": ["apps"], "resources": ["statefulsets"], "verbs": ["get", "patch"]});
        self.apply(&json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": {"name": name}, "rules": [rule],
        }))
        .await?;
        self.apply(&json!({
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "User", "apiGroup": group, "name": RECONCILER}],
        }))
        .await?;
        self.start_reconciler_with(&["--couple-zero"]).await
    }

    /// Makes sure that exactly one reconciler runs.
    ///
    /// # Errors
    /// As [`TestCluster::start_reconciler`] and [`TestCluster::stop_reconcilers`].
    pub(crate) async fn require_one_reconciler(&mut self) -> Result<()> {
        let mut running = 0;
        for process in &mut self.reconcilers {
            running += usize::from(process.exit_status()?.is_none());
        }
        if running != 1 {
            self.stop_reconcilers().await?;
            self.start_reconciler().await?;
        }
        Ok(())
    }

    /// Kills a reconciler, so that it releases nothing.
    pub fn kill_reconciler(&mut self, index: usize) {
        if let Some(process) = self.reconcilers.get_mut(index) {
            process.kill();
        }
    }

    /// Asks every reconciler to stop, and waits until it has.
    ///
    /// # Errors
    /// If one does not stop in time or reports a failure. None runs afterwards in any case.
    pub async fn stop_reconcilers(&mut self) -> Result<()> {
        let mut results = Vec::new();
        for (index, mut process) in std::mem::take(&mut self.reconcilers).into_iter().enumerate() {
            if process.exit_status()?.is_none() {
                results.push((index, process.terminate(TIMEOUT).await));
            }
        }
        for (index, status) in results {
            let status = status.with_context(|| format!("reconciler {index}"))?;
            ensure!(status.success(), "reconciler {index} should stop with success, but ended with {status}");
        }
        Ok(())
    }

    /// The id of a reconciler's process.
    pub fn reconciler_process(&self, index: usize) -> Option<u32> {
        self.reconcilers.get(index).map(Process::id)
    }
}

/// Says whether the reconciler at this port answers that it is ready.
async fn is_ready(port: u16) -> Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response.starts_with("HTTP/1.1 200"))
}
