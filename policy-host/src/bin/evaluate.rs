//! Evaluates admission requests with the policy module, without a cluster.

use std::fs;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Error, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::{Cluster, files};
use policy_host::host::{self, Host};
use policy_host::policy::Policy;
use policy_host::report::report;
use policy_host::session::Session;
use serde_json::{Value, json};

/// Evaluate admission requests with a Kubewarden policy and print the verdicts.
///
/// The exit code is 0 if each request was accepted or rejected, and 1 if an input or the settings are invalid or the module
/// failed. The other requests are evaluated all the same.
#[derive(Parser)]
#[command(
    version,
    override_usage = "evaluate [OPTIONS] <REQUEST>...\n       evaluate [OPTIONS] --request-path <FILE> [POLICY]"
)]
struct Arguments {
    /// Files with an AdmissionRequest or an AdmissionReview in JSON, folders of such files, or - for standard input; with
    /// --request-path, the policy module
    #[arg(value_name = "REQUEST", required_unless_present = "request_path")]
    paths: Vec<PathBuf>,
    /// File with one request, as kwctl takes it; - for standard input
    #[arg(short, long, value_name = "FILE")]
    request_path: Option<PathBuf>,
    /// The policy module
    #[arg(short, long, value_name = "FILE", default_value = "policy.wasm")]
    policy: PathBuf,
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
    /// File with a session that `kwctl run --record-host-capabilities-interactions` recorded, to be replayed in the order of the
    /// requests
    #[arg(long, value_name = "FILE")]
    replay_host_capabilities_interactions: Option<PathBuf>,
    /// Format of the verdicts; human on a terminal, json elsewhere
    #[arg(short, long)]
    output: Option<Output>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// Readable lines
    Human,
    /// One line for each request, as kwctl prints it
    Json,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn print_error(error: &Error) {
    // Messages of libraries may contain line breaks; an error is always one line.
    let line: Vec<String> = error.chain().map(|cause| cause.to_string().replace('\n', " ")).collect();
    eprintln!("error: {}", line.join(": "));
}

/// Evaluates the requests, and returns how many could not be evaluated.
fn run(arguments: &Arguments) -> Result<usize> {
    let (requests, policy) = match (&arguments.request_path, &arguments.paths[..]) {
        (Some(request), []) => (vec![Ok(request.clone())], &arguments.policy),
        (Some(request), [policy]) => (vec![Ok(request.clone())], policy),
        (Some(_), _) => bail!("with --request-path, the only other path is that of the policy module"),
        (None, paths) => (paths.iter().flat_map(|path| requests_at(path)).collect(), &arguments.policy),
    };
    let settings = read_settings(arguments)?;
    let session =
        arguments.replay_host_capabilities_interactions.as_deref().map(Session::read).transpose()?.map(Arc::new);
    let host: Arc<dyn Host> = match (&arguments.cluster, &session) {
        (Some(path), _) => Arc::new(Cluster::read(path)?),
        (None, Some(session)) => session.clone(),
        (None, None) => host::empty(),
    };
    let policy = Policy::from_file(policy)?;
    let validity = policy.validate_settings(&settings)?;
    if !validity.valid {
        bail!("the settings are not valid: {}", validity.message.unwrap_or_default());
    }

    let output = arguments.output.unwrap_or_else(default_output);
    let names_each = matches!(output, Output::Human) && requests.len() > 1;
    let mut failures = 0;
    for request in requests {
        let evaluate = |path: PathBuf| {
            let verdict = verdict(&path, &policy, &settings, host.clone(), output);
            verdict.map(|verdict| (path.clone(), verdict)).with_context(|| name(&path))
        };
        match request.and_then(evaluate) {
            Ok((path, verdict)) => {
                let heading = if names_each { format!("\n{}\n", name(&path)) } else { String::new() };
                writeln!(io::stdout(), "{heading}{}", verdict.trim_end()).context("cannot write the verdict")?;
            }
            Err(error) => {
                print_error(&error);
                failures += 1;
            }
        }
    }
    if let Some(left @ 1..) = session.map(|session| session.left()) {
        eprintln!("warning: {left} of the recorded exchanges have not been replayed");
    }
    Ok(failures)
}

/// The requests at a path: the path itself, or the JSON files in the folder.
fn requests_at(path: &Path) -> Vec<Result<PathBuf>> {
    if !path.is_dir() {
        return vec![Ok(path.to_owned())];
    }
    let in_folder = || {
        let mut files = files(path)?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        ensure!(!files.is_empty(), "{} does not contain a request: it has no file that ends in .json", path.display());
        Ok(files)
    };
    in_folder().map_or_else(|error| vec![Err(error)], |files| files.into_iter().map(Ok).collect())
}

/// The name of a request in messages.
fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Evaluates the request in a file.
fn verdict(path: &Path, policy: &Policy, settings: &Value, host: Arc<dyn Host>, output: Output) -> Result<String> {
    let request = AdmissionRequest::from_json(&read_request(path)?)?;
    let response = policy.validate(&request, settings, host)?;
    match output {
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
        io::stdin().read_to_string(&mut text).context("cannot be read")?;
        return Ok(text);
    }
    fs::read_to_string(path).context("cannot be read")
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
