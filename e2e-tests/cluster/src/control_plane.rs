//! kube-apiserver, etcd and, if a test needs it, kube-controller-manager, on the loopback interface.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kube::Client;
use rcgen::KeyPair;
use serde_json::Value;

use crate::certificates::Authority;
use crate::ignored::Ignored;
use crate::kubeconfig::{client, kubeconfig, user_with_certificate, user_with_token};
use crate::process::{Process, free_port, tied_to_this_thread};
use crate::run_folder::RunFolder;

/// How long each program may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);

const AUDIT_POLICY: &str =
    "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";

/// The user name and the group of the administrator.
const ADMINISTRATOR: (&str, &str) = ("kubernetes-admin", "system:masters");

/// A control plane that runs until it is dropped.
pub(crate) struct ControlPlane {
    // Dropped in this order: the programs before their folder.
    controller_manager: Option<Process>,
    api_server: Option<Process>,
    etcd: Option<Process>,
    /// The files and logs of this run, also those of the webhook and the reconcilers.
    pub(crate) folder: RunFolder,
    /// Signs certificates that the API server trusts.
    pub(crate) authority: Authority,
    assets: PathBuf,
    api_server_port: u16,
    etcd_port: u16,
}

impl ControlPlane {
    /// Starts etcd and the API server, from a folder that holds `kube-apiserver` and `etcd`.
    ///
    /// # Errors
    /// If one of them does not start; the last lines of its log are in the error.
    pub(crate) async fn start(assets: PathBuf) -> Result<Self> {
        let folder = RunFolder::create()?;
        let authority = Authority::create()?;
        let server = authority.sign("kube-apiserver", "system:masters")?;
        let service_accounts = KeyPair::generate()?;
        for (name, content) in [
            ("ca.crt", authority.certificate.as_str()),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("service-accounts.key", &service_accounts.serialize_pem()),
            ("service-accounts.pub", &service_accounts.public_key_pem()),
            ("audit.yaml", AUDIT_POLICY),
        ] {
            folder.write(name, content)?;
        }
        let (api_server_port, etcd_port) = (free_port()?, free_port()?);
        let mut control_plane = Self {
            controller_manager: None,
            api_server: None,
            etcd: None,
            folder,
            authority,
            assets,
            api_server_port,
            etcd_port,
        };
        control_plane.start_etcd()?;
        control_plane.start_api_server().await?;
        Ok(control_plane)
    }

    fn start_etcd(&mut self) -> Result<()> {
        let clients = format!("http://127.0.0.1:{}", self.etcd_port);
        let peers = format!("http://127.0.0.1:{}", free_port()?);
        let mut command = self.command("etcd");
        command.arg(format!("--data-dir={}", self.file("etcd")));
        for flag in ["listen-client-urls", "advertise-client-urls"] {
            command.arg(format!("--{flag}={clients}"));
        }
        for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
            command.arg(format!("--{flag}={peers}"));
        }
        // The data is deleted at the end, so that it need not survive a crash.
        command.arg(format!("--initial-cluster=default={peers}")).arg("--unsafe-no-fsync");
        self.etcd = Some(Process::start(command, self.folder.open_log("etcd.log")?)?);
        Ok(())
    }

    /// Starts the API server if it does not run, on the same port and with the same data as before.
    ///
    /// # Errors
    /// If it does not become ready; the last lines of its log are in the error.
    pub(crate) async fn start_api_server(&mut self) -> Result<()> {
        if self.api_server.is_some() {
            return Ok(());
        }
        let mut command = self.command("kube-apiserver");
        command.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.api_server_port),
            "--bind-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", self.file("api-server")),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
            format!("--client-ca-file={}", self.file("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", self.file("service-accounts.key")),
            format!("--service-account-key-file={}", self.file("service-accounts.pub")),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // It rejects pods as long as no controller manager has created their namespace's default service account.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", self.file("audit.yaml")),
            format!("--audit-log-path={}", self.file("audit.log")),
        ]);
        let log = "kube-apiserver.log";
        self.api_server = Some(Process::start(command, self.folder.open_log(log)?)?);
        let client = client(&self.administrator()?).await?;
        wait_until_ready(&client, "/readyz", self.api_server.as_mut(), &self.folder, log).await
    }

    /// Stops the API server, as an upgrade of the control plane does. etcd goes on.
    pub(crate) fn stop_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts kube-controller-manager with its default controllers, each under its own service account, if it does
    /// not run.
    ///
    /// # Errors
    /// [`Ignored`] if the control plane has no kube-controller-manager; another error if it does not become
    /// ready.
    pub(crate) async fn start_controller_manager(&mut self) -> Result<()> {
        if self.controller_manager.is_some() {
            return Ok(());
        }
        if !self.assets.join("kube-controller-manager").is_file() {
            bail!(Ignored(format!(
                "kube-controller-manager is missing in {}; scripts/control-plane builds it",
                self.assets.display()
            )));
        }
        let port = free_port()?;
        let user = self.authority.sign("system:kube-controller-manager", "system:kube-controller-manager")?;
        let kubeconfig = self.kubeconfig(self.api_server_port, user_with_certificate(&user));
        let kubeconfig = self.folder.write("controller-manager.kubeconfig", &kubeconfig.to_string())?;
        let mut command = self.command("kube-controller-manager");
        command.args([
            format!("--kubeconfig={}", kubeconfig.display()),
            "--use-service-account-credentials".to_owned(),
            format!("--service-account-private-key-file={}", self.file("service-accounts.key")),
            format!("--root-ca-file={}", self.file("ca.crt")),
            "--leader-elect=false".to_owned(),
            // The default of 15 s is also the time until the first look at a new autoscaler.
            "--horizontal-pod-autoscaler-sync-period=2s".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", self.file("server.crt")),
            format!("--tls-private-key-file={}", self.file("server.key")),
        ]);
        let log = "kube-controller-manager.log";
        self.controller_manager = Some(Process::start(command, self.folder.open_log(log)?)?);
        let client = client(&self.kubeconfig(port, Value::Object(Default::default()))).await?;
        wait_until_ready(&client, "/healthz", self.controller_manager.as_mut(), &self.folder, log).await
    }

    /// Stops kube-controller-manager.
    pub(crate) fn stop_controller_manager(&mut self) {
        self.controller_manager = None;
    }

    /// The kubeconfig of an administrator.
    ///
    /// # Errors
    /// If no certificate can be signed.
    pub(crate) fn administrator(&self) -> Result<Value> {
        let (user, group) = ADMINISTRATOR;
        let certificate = self.authority.sign(user, group)?;
        Ok(self.kubeconfig(self.api_server_port, user_with_certificate(&certificate)))
    }

    /// A kubeconfig with a bearer token.
    pub(crate) fn bearer(&self, token: &str) -> Value {
        self.kubeconfig(self.api_server_port, user_with_token(token))
    }

    /// A kubeconfig without credentials.
    pub(crate) fn anonymous(&self) -> Value {
        self.kubeconfig(self.api_server_port, Value::Object(Default::default()))
    }

    fn kubeconfig(&self, port: u16, user: Value) -> Value {
        kubeconfig(&format!("https://127.0.0.1:{port}"), &self.authority.certificate, user)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = tied_to_this_thread(&self.assets.join(program));
        // Less frequent garbage collection takes a sixth off the processor time of the tests, which is mostly the API server's.
        command.env("GOGC", "400");
        command
    }

    fn file(&self, name: &str) -> String {
        self.folder.path(name).display().to_string()
    }
}

/// Waits until a program of the control plane answers at this path with success.
async fn wait_until_ready(
    client: &Client,
    path: &str,
    mut process: Option<&mut Process>,
    folder: &RunFolder,
    log: &str,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        if client.request_text(http::Request::get(path).body(Vec::new())?).await.is_ok() {
            return Ok(());
        }
        let status = process.as_mut().map_or(Ok(None), |process| process.exit_status())?;
        if let Some(status) = status {
            bail!("the process ended with {status}; {}", folder.log_tail(log));
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("{path} did not succeed within {} s; {}", START_TIMEOUT.as_secs(), folder.log_tail(log));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
