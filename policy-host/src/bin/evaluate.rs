//! Evaluates one admission request with the policy module, without a cluster.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::Cluster;
use policy_host::host::{self, Host};
use policy_host::policy::Policy;
use policy_host::report::report;
use policy_host::session::Session;
use serde_json::{Value, json};

/// Evaluate an admission request with a Kubewarden policy and print the verdict.
///
/// The exit code is 0 if the request was accepted or rejected, and 1 if the input or the settings are invalid or the module
/// failed.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// File with an AdmissionRequest or an AdmissionReview in JSON; - for standard input
    #[arg(short, long, value_name = "FILE")]
    request_path: PathBuf,
    /// File with the settings of the policy, in YAML or JSON
    #[arg(short, long, value_name = "FILE", conflicts_with = "settings_json")]
    settings_path: Option<PathBuf>,
    /// Settings of the policy, in JSON
    #[arg(long, value_name = "JSON")]
    settings_json: Option<String>,
    /// File or folder with YAML or JSON manifests of the objects that exist in the cluster
    #[arg(long, value_name = "PATH", conflicts_with = "replay_host_capabilities_interactions")]
    cluster: Option<PathBuf>,
    /// Accepted for compatibility with kwctl; the policy may always read objects from the cluster
    #[arg(long)]
    allow_context_aware: bool,
    /// File with a session that `kwctl run --record-host-capabilities-interactions` recorded, to be replayed
    #[arg(long, value_name = "FILE")]
    replay_host_capabilities_interactions: Option<PathBuf>,
    /// Format of the verdict; human on a terminal, json elsewhere
    #[arg(short, long)]
    output: Option<Output>,
    /// The policy module
    #[arg(default_value = "policy.wasm")]
    policy: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// Readable lines
    Human,
    /// One line, as kwctl prints it
    Json,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(verdict) => {
            println!("{}", verdict.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Messages of libraries may contain line breaks; an error is always one line.
            let line: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
            eprintln!("error: {}", line.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String> {
    let request = AdmissionRequest::from_json(&read_request(&arguments.request_path)?)?;
    let settings = read_settings(arguments)?;
    let session =
        arguments.replay_host_capabilities_interactions.as_deref().map(Session::read).transpose()?.map(Arc::new);
    let host: Arc<dyn Host> = match (&arguments.cluster, &session) {
        (Some(path), _) => Arc::new(Cluster::read(path)?),
        (None, Some(session)) => session.clone(),
        (None, None) => host::empty(),
    };
    let policy = Policy::from_file(&arguments.policy)?;

    let validity = policy.validate_settings(&settings)?;
    if !validity.valid {
        bail!("the settings are not valid: {}", validity.message.unwrap_or_default());
    }
    let response = policy.validate(&request, &settings, host)?;
    if let Some(left @ 1..) = session.map(|session| session.left()) {
        eprintln!("warning: {left} of the recorded exchanges have not been replayed");
    }
    match arguments.output.unwrap_or_else(default_output) {
        Output::Human => report(&request, &response),
        Output::Json => Ok(serde_json::to_string(&response)?),
    }
}

fn default_output() -> Output {
    if io::stdout().is_terminal() { Output::Human } else { Output::Json }
}

fn read_request(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(text);
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn read_settings(arguments: &Arguments) -> Result<Value> {
    if let Some(json) = &arguments.settings_json {
        return serde_json::from_str(json).context("--settings-json is not JSON");
    }
    let Some(path) = &arguments.settings_path else {
        return Ok(json!({}));
    };
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let settings: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is neither YAML nor JSON", path.display()))?;
    // An empty file means default settings.
    Ok(if settings.is_null() { json!({}) } else { settings })
}
