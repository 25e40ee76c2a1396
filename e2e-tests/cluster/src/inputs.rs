//! The programs and files that are tested. They come from environment variables, in which a relative path starts at the
//! root of the workspace.
//!
//! | variable | is | default |
//! |---|---|---|
//! | `CONTROL_PLANE_ASSETS` | the folder with kube-apiserver and etcd | what `scripts/control-plane` finds |
//! | `POLICY_WASM` | the policy module | `policy.wasm` |
//! | `RECONCILER` | the reconciler's binary | `debug/mcpserver-scaling-reconciler` in cargo's target directory |
//! | `HELM` | Helm, which only the tests of the chart need | `helm` on the `PATH` |
//! | `POLICY_SERVER` | Kubewarden's policy-server, which then runs the policy in place of the binary `policy-webhook` | none |
//! | `ANNOTATED_POLICY` | the annotated policy module, which `POLICY_SERVER` needs in place of `POLICY_WASM` | `annotated-policy.wasm` |
//! | `TOOLHIVE_TAGS` | the releases of ToolHive that the suite `toolhive` runs, by their tags | `v0.63.0,v0.10.0` |
//! | `TOOLHIVE_RELEASES` | a folder with releases of ToolHive that somebody built; see `scripts/toolhive` | none |

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::ignored::Ignored;

const CONTROL_PLANE_ASSETS: &str = "CONTROL_PLANE_ASSETS";
const POLICY_WASM: &str = "POLICY_WASM";
const RECONCILER: &str = "RECONCILER";
const HELM: &str = "HELM";
const POLICY_SERVER: &str = "POLICY_SERVER";
const ANNOTATED_POLICY: &str = "ANNOTATED_POLICY";

/// Exit status of a script in `scripts/` for programs that cannot be had on this machine.
const UNAVAILABLE: i32 = 3;

/// What a test cluster runs.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(crate) control_plane_assets: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) policy_host: PolicyHost,
    pub(crate) reconciler: PathBuf,
}

/// The program that runs the policy as an admission webhook.
#[derive(Clone, Debug)]
pub(crate) enum PolicyHost {
    /// This crate's binary `policy-webhook`.
    Own(PathBuf),
    /// Kubewarden's policy-server.
    PolicyServer(PathBuf),
}

impl Inputs {
    /// Reads the environment variables. `policy_webhook` is this crate's binary of that name, which cargo builds.
    ///
    /// # Errors
    /// If a file is missing; the error names its environment variable.
    pub fn from_environment(policy_webhook: &Path) -> Result<Self> {
        let target = from_root(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        ensure!(
            policy_webhook.is_file(),
            "{} does not exist; `cargo build -p cluster-tests` builds it",
            policy_webhook.display()
        );
        let root = workspace_root();
        let (policy_host, policy) = match env::var_os(POLICY_SERVER).filter(|program| !program.is_empty()) {
            None => (
                PolicyHost::Own(policy_webhook.to_owned()),
                file(POLICY_WASM, root.join("policy.wasm"), "make policy.wasm")?,
            ),
            Some(program) => {
                let program = from_root(program);
                ensure!(program.is_file(), "{POLICY_SERVER}: {} does not exist", program.display());
                let policy = root.join("annotated-policy.wasm");
                (PolicyHost::PolicyServer(program), file(ANNOTATED_POLICY, policy, "make annotated-policy.wasm")?)
            }
        };
        Ok(Self {
            control_plane_assets: control_plane_assets()?,
            policy,
            policy_host,
            reconciler: file(
                RECONCILER,
                target.join("debug/mcpserver-scaling-reconciler"),
                "cargo build --bin mcpserver-scaling-reconciler",
            )?,
        })
    }
}

/// The root of the workspace, with the manifests and the documentation.
pub fn workspace_root() -> &'static Path {
    // This crate is two folders below.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/"))
}

/// The path of Helm.
///
/// # Errors
/// [`Ignored`] if Helm is not installed; another error if `HELM` names a file that does not exist.
pub fn helm() -> Result<PathBuf> {
    if let Some(helm) = env::var_os(HELM) {
        return existing_file(HELM, from_root(helm), "scripts/helm");
    }
    if !runs(Path::new("helm"), &["version"]) {
        bail!(Ignored(format!(
            "Helm is missing: {HELM} is not set and helm is not on the PATH; scripts/helm builds it"
        )));
    }
    Ok("helm".into())
}

/// The path that a script in `scripts/` prints with these arguments: of a program, or of a folder with several.
///
/// # Errors
/// [`Ignored`] if it cannot be had on this machine; another error if the script fails.
pub(crate) fn path_from_script(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let path = workspace_root().join("scripts").join(script);
    let mut command = Command::new(&path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {}", path.display()))?;
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
    let command = [&[script], arguments].concat().join(" ");
    if output.status.code() == Some(UNAVAILABLE) {
        bail!(Ignored(format!("scripts/{command}: it cannot be had here: {reason}")));
    }
    ensure!(output.status.success(), "scripts/{command} failed with {}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

/// Says whether a program exists and succeeds with these arguments.
pub(crate) fn runs(program: &Path, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn control_plane_assets() -> Result<PathBuf> {
    let folder = match env::var_os(CONTROL_PLANE_ASSETS) {
        Some(folder) => from_root(folder),
        None => installed_control_plane()?,
    };
    for program in ["kube-apiserver", "etcd"] {
        ensure!(
            folder.join(program).is_file(),
            "{CONTROL_PLANE_ASSETS}: {program} is missing in {}; `scripts/control-plane` prints a folder that has it",
            folder.display()
        );
    }
    Ok(folder)
}

fn installed_control_plane() -> Result<PathBuf> {
    let script = workspace_root().join("scripts/control-plane");
    let output = Command::new(&script).env("CONTROL_PLANE", "found").output();
    let output = output.with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "{CONTROL_PLANE_ASSETS} is not set, and scripts/control-plane finds no kube-apiserver and etcd; run \
         scripts/control-plane once to build them"
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().into())
}

fn file(variable: &str, default: PathBuf, built_by: &str) -> Result<PathBuf> {
    existing_file(variable, env::var_os(variable).map_or(default, from_root), built_by)
}

fn existing_file(variable: &str, path: PathBuf, built_by: &str) -> Result<PathBuf> {
    ensure!(path.is_file(), "{variable}: {} does not exist; `{built_by}` builds it", path.display());
    Ok(path)
}

fn from_root(path: impl AsRef<Path>) -> PathBuf {
    workspace_root().join(path)
}
