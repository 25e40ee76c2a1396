//! The command line of the reconciler.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use kube::Client;
use kube::api::ApiResource;
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::act::driver::Reconciler;
use mcpserver_scaling_reconciler::check::{self, Report};
use mcpserver_scaling_reconciler::client;
use mcpserver_scaling_reconciler::error::with_causes;
use mcpserver_scaling_reconciler::metrics::{COMMIT, Metrics};
use mcpserver_scaling_reconciler::observe::cluster;
use mcpserver_scaling_reconciler::options::{Counts, Options, StorageSource};
use mcpserver_scaling_reconciler::run::controller::{self, End};
use mcpserver_scaling_reconciler::run::endpoints::Endpoints;
use mcpserver_scaling_reconciler::run::leader_election::LeaderElection;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long to wait before looking again for `MCPServer` on a cluster that does not serve it.
const DISCOVERY_RETRY: Duration = Duration::from_secs(10);

/// How long `check` may take before it reports its progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// The exit code of `check` if it found problems.
const PROBLEMS_FOUND: u8 = 1;

/// The exit code of a command that failed.
const FAILED: u8 = 2;

/// The exit code after a second SIGTERM or SIGINT, as shells report an interrupted command.
const INTERRUPTED: i32 = 130;

/// The name of this program's file if it is installed as a kubectl plugin. kubectl finds plugins by this prefix, and makes a
/// dash of an underscore.
const PLUGIN_FILE: &str = "kubectl-mcp_scaling";

/// The command that kubectl then has.
const PLUGIN_COMMAND: &str = "kubectl mcp-scaling";

/// Corrects what the admission policy missed of the scaling of ToolHive's MCP servers.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the controller until it is stopped.
    ///
    /// It writes the conditions StdioReplicaCapped, SessionStorageWarning and WorkloadReplicasWarning of MCPServers, sets
    /// the replicas of Deployments and StatefulSets to the declared count, limits them for transport stdio to 1, and publishes
    /// an event for each change. Beside a current ToolHive operator it rarely has to write.
    Run(Run),
    /// Reads the cluster once and prints the problems of its MCPServers.
    ///
    /// Exits with 0 if there are none, 1 if there are some, and 2 if the cluster could not be read.
    Check(Check),
}

#[derive(Args)]
struct Cluster {
    /// Only this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Log the writes instead of making them (check never writes)
    #[arg(long)]
    dry_run: bool,
    /// Session storage of an MCPServer without spec.sessionStorage, for WorkloadReplicasWarning and the findings of check
    #[arg(long, value_name = "STORAGE", default_value = "memory")]
    default_session_storage: Storage,
    /// Read the session storage of each MCPServer from ToolHive's ConfigMap <name>-runconfig, in place of the spec and the default
    ///
    /// It tells the storage that is really used: an operator may have a default Redis, which overrides even an explicit memory. It
    /// needs the right to list and watch ConfigMaps.
    #[arg(long, conflicts_with = "default_session_storage")]
    read_run_config: bool,
    /// Kubeconfig file [default: $KUBECONFIG, ~/.kube/config or the pod's service account]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long)]
    context: Option<String>,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    cluster: Cluster,
    /// Counts of workloads to set
    #[arg(long, default_value = "all")]
    counts: CountsToSet,
    /// Scale the backend of an MCPServer to 0 with its proxies, and up again with the first of them
    ///
    /// The count that the StatefulSet had is kept in its annotation mcpserver-scaling-policy/replicas-before-zero. It needs the
    /// rights to get and patch StatefulSets.
    #[arg(long)]
    couple_zero: bool,
    /// Writes a second at most, events included; misleading conditions come first
    #[arg(long, value_name = "WRITES", default_value = "20")]
    writes_per_second: NonZeroU32,
    /// Address to serve /healthz, /readyz and /metrics on
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,
    /// Namespace of the Lease for leader election [default: the pod's, or that of the kubeconfig's context]
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Disable leader election (one replica only)
    #[arg(long)]
    no_leader_election: bool,
    /// Format of the log on standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Log level, or a comma-separated list of module=level
    #[arg(long, value_name = "LEVELS", default_value = "info,kube_client=warn,kube_runtime=warn", env = "RUST_LOG")]
    log: Targets,
}

#[derive(Args)]
struct Check {
    #[command(flatten)]
    cluster: Cluster,
    /// Format of the findings
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A table for people
    Table,
    /// A JSON array with an object for each finding
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum CountsToSet {
    /// Declared counts, counts of stdio workloads above 1, and counts that an operator before v0.10.1 reset
    All,
    /// Counts of stdio workloads above 1
    Stdio,
    /// None: only write conditions and events
    None,
}

impl From<CountsToSet> for Counts {
    fn from(counts: CountsToSet) -> Self {
        match counts {
            CountsToSet::All => Self::All,
            CountsToSet::Stdio => Self::Stdio,
            CountsToSet::None => Self::None,
        }
    }
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

impl Cluster {
    fn storage_source(&self) -> StorageSource {
        match self.read_run_config {
            true => StorageSource::RunConfig,
            false => StorageSource::Spec { default: self.default_session_storage.into() },
        }
    }
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
    let result = match cli().command {
        Command::Run(arguments) => run(arguments).await.map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => run_check(arguments).await,
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {}", with_causes(error.as_ref()));
        ExitCode::from(FAILED)
    })
}

/// The arguments. As a kubectl plugin the help names the command that the user typed.
fn cli() -> Cli {
    let program = std::env::args_os().next().map(PathBuf::from);
    let is_plugin = program.as_deref().and_then(Path::file_name).is_some_and(|name| name == PLUGIN_FILE);
    let command = if is_plugin { Cli::command().bin_name(PLUGIN_COMMAND) } else { Cli::command() };
    Cli::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Prints the findings.
async fn run_check(Check { cluster: arguments, output }: Check) -> Result<ExitCode> {
    let storage = arguments.storage_source();
    let client = client::connect(arguments.kubeconfig.as_deref(), arguments.context).await?;
    let start = Instant::now();
    let is_terminal = io::stderr().is_terminal();
    let reports_progress = || is_terminal && start.elapsed() > PROGRESS_AFTER;
    let progress = |read: usize| {
        if reports_progress() {
            eprint!("\r{read} objects read");
        }
    };
    let Report { findings, servers } = check::run(&client, arguments.namespace.as_deref(), storage, progress).await?;
    if reports_progress() {
        eprintln!();
    }

    let text = match output {
        Output::Table => check::table(&findings, servers),
        Output::Json => serde_json::to_string_pretty(&findings)?,
    };
    writeln!(io::stdout(), "{text}").context("cannot print the findings")?;
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(PROBLEMS_FOUND) })
}

/// Runs the controller, whenever this process is the leader, until it is stopped.
async fn run(arguments: Run) -> Result<()> {
    start_log(&arguments);
    let Run {
        cluster: arguments,
        counts,
        couple_zero,
        writes_per_second,
        listen,
        lease_namespace,
        no_leader_election,
        ..
    } = arguments;
    let options = Options {
        session_storage: arguments.storage_source(),
        counts: counts.into(),
        couple_zero,
        writes_per_second,
        dry_run: arguments.dry_run,
    };
    if options.couple_zero && options.counts == Counts::None {
        bail!("--couple-zero sets counts, and --counts none sets none; leave out one of them");
    }
    info!(version = env!("CARGO_PKG_VERSION"), commit = COMMIT, dry_run = arguments.dry_run, "starting");
    let client = client::connect(arguments.kubeconfig.as_deref(), arguments.context.clone()).await?;
    let stop = stop_signal()?;
    let metrics = Arc::new(Metrics::new());
    let (ready, is_ready) = watch::channel(false);
    Endpoints { metrics: metrics.clone(), is_ready }.serve(listen).await?;

    // A dry run does not write the Lease either.
    let mut election = if no_leader_election || arguments.dry_run {
        None
    } else {
        let namespace = lease_namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let identity = identity();
        Some(LeaderElection::start(&client, &namespace, &identity))
    };
    while acquire_leadership(election.as_mut(), &stop, &ready).await {
        info!("leading");
        metrics.leader.set(1);
        let lead = lead(&client, arguments.namespace.as_deref(), options, &metrics, &ready, &stop);
        match &election {
            None => lead.await,
            // A process that is no longer the leader drops its reconciles. One that is stopped finishes them.
            Some(election) => tokio::select! {
                () = lead => {}
                () = election.lost() => {}
            },
        }
        metrics.leader.set(0);
        info!("no longer leading");
    }
    if let Some(election) = election
        && let Err(error) = election.release().await
    {
        warn!("{}", with_causes(&error));
    }
    info!("stopped");
    Ok(())
}

/// Waits until this process is the leader. False if it is stopped, or the election has ended.
async fn acquire_leadership(
    election: Option<&mut LeaderElection>,
    stop: &watch::Receiver<bool>,
    ready: &watch::Sender<bool>,
) -> bool {
    let Some(election) = election else { return !*stop.borrow() };
    // A process that can take over at any time is ready.
    ready.send_replace(true);
    tokio::select! {
        biased;
        () = stopped(stop.clone()) => false,
        acquired = election.acquire() => acquired.is_ok(),
    }
}

/// Runs the controller until the process is stopped. If the API server stops serving `MCPServer` at one version, it continues
/// with the version that is served then.
async fn lead(
    client: &Client,
    namespace: Option<&str>,
    options: Options,
    metrics: &Arc<Metrics>,
    ready: &watch::Sender<bool>,
    stop: &watch::Receiver<bool>,
) {
    loop {
        ready.send_replace(false);
        let resource = tokio::select! {
            resource = served_resource(client) => resource,
            () = stopped(stop.clone()) => return,
        };
        info!(version = resource.version, "watching MCPServers");
        let reconciler = Reconciler::new(client.clone(), resource, options, metrics.clone(), identity());
        match controller::run(Arc::new(reconciler), namespace, ready, stopped(stop.clone())).await {
            End::Stopped => return,
            End::NotServed => warn!("the API server no longer serves MCPServers at this version"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// `MCPServer` as the API server serves it; waits until it does.
async fn served_resource(client: &Client) -> ApiResource {
    loop {
        match cluster::served_resource(client).await {
            Ok(resource) => return resource,
            Err(error) => warn!("{}", with_causes(&error)),
        }
        tokio::time::sleep(DISCOVERY_RETRY).await;
    }
}

/// Becomes true at SIGTERM or SIGINT. A second signal ends the process at once.
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
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(INTERRUPTED);
    });
    Ok(receiver)
}

/// Completes when the process is stopped.
async fn stopped(mut stop: watch::Receiver<bool>) {
    // It cannot fail: the sender lives as long as the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A name that no other process has: the host name, which is the pod's name, and the process id.
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
