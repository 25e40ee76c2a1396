//! kube-apiserver and etcd on loopback, with certificates of their own, in a folder that goes with them.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

/// How long each of the two may take to begin.
const START: Duration = Duration::from_secs(120);

/// A control plane that runs until it is dropped.
pub(crate) struct ControlPlane {
    assets: PathBuf,
    folder: PathBuf,
    authority: Authority,
    api_server_port: u16,
    etcd_port: u16,
    etcd: Option<Child>,
    api_server: Option<Child>,
}

/// Signs every certificate here.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// In PEM.
    pub(crate) certificate: String,
}

/// A certificate and its key, in PEM.
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its key.
    pub(crate) key: String,
}

impl Authority {
    fn new() -> Result<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "mcpserver-scaling-e2e");
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// A certificate of a server on loopback, or of a client that is this user of this group.
    pub(crate) fn sign(&self, user: &str, group: &str) -> Result<Certificate> {
        let mut parameters = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        Ok(Certificate { certificate, key: key.serialize_pem() })
    }
}

impl ControlPlane {
    /// Starts both, from a folder that holds `kube-apiserver` and `etcd`.
    ///
    /// # Errors
    /// Where one of them does not begin; what it logged is in the error.
    pub(crate) async fn start(assets: &Path) -> Result<Self> {
        let folder = own_folder()?;
        let authority = Authority::new()?;
        let server = authority.sign("kube-apiserver", "system:masters")?;
        let accounts = KeyPair::generate()?;
        for (name, content) in [
            ("ca.crt", authority.certificate.as_str()),
            ("server.crt", &server.certificate),
            ("server.key", &server.key),
            ("accounts.key", &accounts.serialize_pem()),
            ("accounts.pub", &accounts.public_key_pem()),
            (
                "audit.yaml",
                "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
            ),
        ] {
            fs::write(folder.join(name), content)?;
        }
        let (api_server_port, etcd_port) = (free_port()?, free_port()?);
        let mut plane = Self {
            assets: assets.to_owned(),
            folder,
            authority,
            api_server_port,
            etcd_port,
            etcd: None,
            api_server: None,
        };
        plane.start_etcd()?;
        plane.start_api_server().await?;
        Ok(plane)
    }

    fn start_etcd(&mut self) -> Result<()> {
        let (clients, peers) =
            (format!("http://127.0.0.1:{}", self.etcd_port), format!("http://127.0.0.1:{}", free_port()?));
        let mut etcd = self.command("etcd");
        etcd.arg(format!("--data-dir={}", self.folder.join("etcd").display()));
        for flag in ["listen-client-urls", "advertise-client-urls"] {
            etcd.arg(format!("--{flag}={clients}"));
        }
        for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
            etcd.arg(format!("--{flag}={peers}"));
        }
        // It is thrown away afterwards: nothing has to reach the disk.
        etcd.arg(format!("--initial-cluster=default={peers}")).arg("--unsafe-no-fsync");
        self.etcd = Some(self.spawn(etcd, "etcd.log")?);
        Ok(())
    }

    /// Starts the API server, on the port and the data it had before.
    ///
    /// # Errors
    /// Where it does not begin.
    pub(crate) async fn start_api_server(&mut self) -> Result<()> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut api_server = self.command("kube-apiserver");
        api_server.args([
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.api_server_port),
            "--bind-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--cert-dir={}", file("api-server")),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--client-ca-file={}", file("ca.crt")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            format!("--service-account-key-file={}", file("accounts.pub")),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            // It waits for tokens that a controller manager would make.
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--audit-policy-file={}", file("audit.yaml")),
            format!("--audit-log-path={}", file("audit.log")),
        ]);
        self.api_server = Some(self.spawn(api_server, "kube-apiserver.log")?);
        let client = self.client(&self.user("kubernetes-admin")?).await?;
        let begun = Instant::now();
        loop {
            let ready = http::Request::get("/readyz").body(Vec::new())?;
            if client.request_text(ready).await.is_ok() {
                return Ok(());
            }
            let ended = self.api_server.as_mut().and_then(|child| child.try_wait().transpose()).transpose()?;
            if ended.is_some() || begun.elapsed() > START {
                bail!("kube-apiserver does not begin: {}", self.tail("kube-apiserver.log"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops the API server, as at an upgrade. etcd goes on.
    pub(crate) fn stop_api_server(&mut self) {
        stop(&mut self.api_server);
    }

    /// The folder for whatever belongs to this run.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What signs certificates that the API server trusts.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The kubeconfig of an administrator under this name.
    ///
    /// # Errors
    /// Where no certificate can be made.
    pub(crate) fn user(&self, name: &str) -> Result<Value> {
        let Certificate { certificate, key } = self.authority.sign(name, "system:masters")?;
        Ok(self.kubeconfig(json!({
            "client-certificate-data": base64(&certificate), "client-key-data": base64(&key),
        })))
    }

    /// The kubeconfig of whoever has this token.
    pub(crate) fn bearer(&self, token: &str) -> Value {
        self.kubeconfig(json!({"token": token}))
    }

    fn kubeconfig(&self, user: Value) -> Value {
        let server = format!("https://127.0.0.1:{}", self.api_server_port);
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{"name": "e2e", "cluster": {"server": server, "certificate-authority-data": base64(&self.authority.certificate)}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "e2e"}}],
            "users": [{"name": "e2e", "user": user}],
        })
    }

    /// A client with a kubeconfig.
    ///
    /// # Errors
    /// Where the kubeconfig is no good.
    pub(crate) async fn client(&self, kubeconfig: &Value) -> Result<Client> {
        client(kubeconfig, None).await
    }

    /// Writes a file into the folder.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The last lines of a log in the folder.
    pub(crate) fn tail(&self, name: &str) -> String {
        let log = fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines.iter().skip(lines.len().saturating_sub(15)).fold(String::new(), |text, line| text + "\n    " + line)
    }

    fn command(&self, program: &str) -> Command {
        bound_to_us(&self.assets.join(program))
    }

    /// Starts a program that logs into the folder.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn spawn(&self, mut command: Command, log: &str) -> Result<Child> {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.folder.join(log))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        stop(&mut self.api_server);
        stop(&mut self.etcd);
        // What cannot be removed now is removed at the next run.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client with a kubeconfig, that may act as somebody else: a user and the groups of theirs.
///
/// # Errors
/// Where the kubeconfig is no good.
pub(crate) async fn client(kubeconfig: &Value, acts_as: Option<(&str, &[String])>) -> Result<Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone())?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    if let Some((user, groups)) = acts_as {
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(groups.to_vec());
    }
    Ok(Client::try_from(config)?)
}

/// Ends a process, if there is one.
pub(crate) fn stop(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A program that ends when this one does, however it does, where the machine can see to that.
pub(crate) fn bound_to_us(program: &Path) -> Command {
    let can_bind = Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
    if !can_bind {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A port that nobody listens on.
///
/// # Errors
/// Where there is none.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A new folder for this run. Those of runs that were killed are removed.
fn own_folder() -> Result<PathBuf> {
    const PREFIX: &str = "mcpserver-scaling-e2e-";
    let parent = std::env::temp_dir();
    for entry in fs::read_dir(&parent)?.flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}
