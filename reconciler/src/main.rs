//! The command line of the reconciler.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::Client;
use kube::api::ApiResource;
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::controller::{self, End};
use mcpserver_scaling_reconciler::election::Election;
use mcpserver_scaling_reconciler::endpoints::Endpoints;
use mcpserver_scaling_reconciler::metrics::{COMMIT, Metrics};
use mcpserver_scaling_reconciler::reconcile::{Options, Reconciler};
use mcpserver_scaling_reconciler::{check, client, cluster};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long to wait before asking again whether ToolHive is installed.
const RETRY: Duration = Duration::from_secs(10);

/// Looks after the scaling of ToolHive's MCP servers, beside the admission policy.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Keeps the conditions and the counts of all MCPServers right, until it is stopped.
    ///
    /// Writes the conditions StdioReplicaCapped, SessionStorageWarning and LiveReplicasWarning, sets the counts of
    /// Deployments and StatefulSets that the server declares or that stdio cannot run, and says so in events. Beside a
    /// current ToolHive operator it has little to do and writes nothing.
    Run(Run),
    /// Reads the cluster once and prints what is wrong with its MCPServers.
    ///
    /// Exits with 0 where nothing is wrong, 1 where something is, and 2 where the cluster could not be read.
    Check(Check),
}

#[derive(Args)]
struct Cluster {
    /// Look at this namespace only
    #[arg(short, long)]
    namespace: Option<String>,
    /// Write nothing, only log what would be written (check never writes)
    #[arg(long)]
    dry_run: bool,
    /// What an MCPServer without spec.sessionStorage uses
    #[arg(long, value_name = "STORAGE", default_value = "memory")]
    default_session_storage: Storage,
    /// The kubeconfig file; without it, $KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig file
    #[arg(long)]
    context: Option<String>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    cluster: Cluster,
    /// Where to answer /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// The namespace of the Lease; without it, the pod's or that of the kubeconfig's context
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Do not elect a leader: no other process does the same
    #[arg(long)]
    no_leader_election: bool,
    /// How to write the log, to standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What to log: a level, or levels by module
    #[arg(long, value_name = "LEVELS", default_value = "info,kube_client=warn,kube_runtime=warn", env = "RUST_LOG")]
    log: Targets,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    cluster: Cluster,
    /// How to print what was found
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A table for people
    Table,
    /// A list of findings
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// A line of text for each entry
    Text,
    /// A JSON object for each entry
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Storage {
    Memory,
    Redis,
}

impl From<Storage> for SessionStorage {
    fn from(storage: Storage) -> Self {
        match storage {
            Storage::Memory => Self::Memory,
            Storage::Redis => Self::Redis,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(arguments) => run(arguments).await.map(|()| true),
        Command::Check(arguments) => run_check(arguments).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the findings. True where there are none.
async fn run_check(Check { cluster: arguments, output }: Check) -> Result<bool> {
    let client = client::connect(arguments.kubeconfig.as_deref(), arguments.context).await?;
    let begin = Instant::now();
    let is_watched = io::stderr().is_terminal();
    let progress = |read: usize| {
        // Nobody needs to be told of what takes a moment only.
        if is_watched && begin.elapsed() > Duration::from_secs(1) {
            eprint!("\r{read} objects read");
        }
    };
    let inventory = cluster::read(&client, arguments.namespace.as_deref(), progress).await?;
    if is_watched && begin.elapsed() > Duration::from_secs(1) {
        eprintln!();
    }

    let findings = check::findings(&inventory, arguments.default_session_storage.into());
    let text = match output {
        Output::Table => check::table(&findings, inventory.servers.len()),
        Output::Json => serde_json::to_string_pretty(&findings)?,
    };
    writeln!(io::stdout(), "{text}").context("cannot print")?;
    Ok(findings.is_empty())
}

/// Runs until it is told to stop.
async fn run(arguments: Run) -> Result<()> {
    start_log(&arguments);
    let Run { cluster: arguments, listen, lease_namespace, no_leader_election, .. } = arguments;
    info!(version = env!("CARGO_PKG_VERSION"), commit = COMMIT, dry_run = arguments.dry_run, "starting");
    let client = client::connect(arguments.kubeconfig.as_deref(), arguments.context.clone()).await?;
    let stop = stop_signal()?;
    let metrics = Arc::new(Metrics::new());
    let (ready, is_ready) = watch::channel(false);
    Endpoints { metrics: metrics.clone(), is_ready }.serve(listen).await?;

    // A dry run writes no Lease either, and disturbs nobody.
    let election = if no_leader_election || arguments.dry_run {
        None
    } else {
        let namespace = lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let identity = identity();
        tokio::select! {
            election = Election::stand(&client, &namespace, &identity) => Some(election),
            () = stopped(stop.clone()) => return Ok(()),
        }
    };
    let mut term = Term { stop, leads: election.as_ref().map(Election::leads) };
    while term.begins(&ready).await {
        info!("leading");
        metrics.leader.set(1);
        lead(&client, &arguments, &metrics, &ready, &term).await;
        metrics.leader.set(0);
        info!("no longer leading");
    }
    // The election ends when nobody asks for its result any more.
    drop(term);
    if let Some(election) = election
        && let Err(error) = election.resign().await
    {
        warn!("{error:#}");
    }
    info!("stopped");
    Ok(())
}

/// For how long this process may write: until it is told to stop, or another one leads.
#[derive(Clone)]
struct Term {
    stop: watch::Receiver<bool>,
    /// Absent where nobody is elected.
    leads: Option<watch::Receiver<bool>>,
}

impl Term {
    /// Waits until this process leads. False where it is to stop, or cannot lead any more.
    async fn begins(&mut self, ready: &watch::Sender<bool>) -> bool {
        let Some(leads) = &mut self.leads else { return !*self.stop.borrow() };
        // Whoever can take over at any time is ready.
        ready.send_replace(true);
        tokio::select! {
            biased;
            () = stopped(self.stop.clone()) => false,
            led = leads.wait_for(|leads| *leads) => led.is_ok(),
        }
    }

    async fn ends(self) {
        let lost = async {
            match self.leads {
                None => std::future::pending().await,
                Some(mut leads) => drop(leads.wait_for(|leads| !*leads).await),
            }
        };
        tokio::select! {
            () = stopped(self.stop) => {}
            () = lost => {}
        }
    }
}

/// Keeps everything right as long as the term lasts; finds `MCPServer` anew whenever the API server stops serving it.
async fn lead(client: &Client, arguments: &Cluster, metrics: &Arc<Metrics>, ready: &watch::Sender<bool>, term: &Term) {
    let options =
        Options { default_session_storage: arguments.default_session_storage.into(), dry_run: arguments.dry_run };
    loop {
        ready.send_replace(false);
        let resource = tokio::select! {
            resource = served(client) => resource,
            () = term.clone().ends() => return,
        };
        info!(version = resource.version, "watching MCPServers");
        let reconciler = Reconciler::new(client.clone(), resource, options, metrics.clone(), identity());
        let end =
            controller::run(Arc::new(reconciler), arguments.namespace.as_deref(), ready, term.clone().ends()).await;
        match end {
            End::Stopped => return,
            End::NotServed => warn!("the API server no longer serves MCPServers at this version"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// `MCPServer` as it is served, once it is.
async fn served(client: &Client) -> ApiResource {
    loop {
        match cluster::served_resource(client).await {
            Ok(resource) => return resource,
            Err(error) => warn!("{error:#}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Becomes true when the process is told to stop.
fn stop_signal() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
        sender.send_replace(true);
        // Whoever asks a second time does not want to wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A name that no other process has: the pod's, which is its host name, and the process's.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), std::process::id())
}

fn start_log(arguments: &Run) {
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let registry = tracing_subscriber::registry().with(arguments.log.clone());
    match arguments.log_format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).init(),
    }
}
