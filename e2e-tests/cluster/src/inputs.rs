//! The programs and files that are tested. They come from environment variables, in which a relative path starts at the
//! root of the workspace.
//!
//! | variable | is | default |
//! |---|---|---|
//! | `CONTROL_PLANE_ASSETS` | the folder with kube-apiserver and etcd | what `scripts/control-plane` finds |
//! | `POLICY_WASM` | the policy module | `policy.wasm` |
//! | `RECONCILER` | the reconciler's binary | `mcpserver-scaling-reconciler` in cargo's target directory |
//! | `HELM` | Helm, which only the tests of the chart need | `helm` on the `PATH` |
//! | `TOOLHIVE_TAGS` | the releases of ToolHive that the suite `toolhive` runs, by their tags | `v0.47.0,v0.10.0` |
//! | `TOOLHIVE_RELEASES` | a folder with releases of ToolHive that somebody built; see `scripts/toolhive` | none |

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::ignored::Ignored;

const CONTROL_PLANE_ASSETS: &str = "CONTROL_PLANE_ASSETS";
const POLICY_WASM: &str = "POLICY_WASM";
const RECONCILER: &str = "RECONCILER";
const HELM: &str = "HELM";

/// What a test cluster runs.
#[derive(Clone, Debug)]
pub struct Inputs {
    pub(crate) control_plane_assets: PathBuf,
    pub(crate) policy: PathBuf,
    pub(crate) policy_webhook: PathBuf,
    pub(crate) reconciler: PathBuf,
}

impl Inputs {
    /// Reads the environment variables. `policy_webhook` is this crate's binary of that name, which cargo builds.
    ///
    /// # Errors
    /// Where a file is missing; the error names its environment variable.
    pub fn from_environment(policy_webhook: &Path) -> Result<Self> {
        let target = from_root(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        ensure!(
            policy_webhook.is_file(),
            "{} does not exist; `cargo build -p cluster-tests` builds it",
            policy_webhook.display()
        );
        Ok(Self {
            control_plane_assets: control_plane_assets()?,
            policy: file(POLICY_WASM, workspace_root().join("policy.wasm"), "make policy.wasm")?,
            policy_webhook: policy_webhook.to_owned(),
            reconciler: file(RECONCILER, target.join("mcpserver-scaling-reconciler"), "scripts/reconciler FILE")?,
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
/// [`Ignored`] where Helm is not installed; another error where `HELM` names a file that does not exist.
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

/// Whether a program exists and succeeds with these arguments.
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
