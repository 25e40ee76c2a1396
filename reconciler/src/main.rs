//! The command line of the reconciler.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::{check, cluster};

/// How long the API server may take to answer before the command gives up.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Looks after the scaling of ToolHive's MCP servers, beside the admission policy.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reads the cluster once and prints what is wrong with its MCPServers.
    ///
    /// Exits with 0 where nothing is wrong, 1 where something is, and 2 where the cluster could not be read.
    Check(Check),
}

#[derive(Args)]
struct Check {
    /// Look at this namespace only
    #[arg(short, long)]
    namespace: Option<String>,
    /// How to print what was found
    #[arg(short, long, default_value = "table")]
    output: Output,
    /// What an MCPServer without spec.sessionStorage uses
    #[arg(long, default_value = "memory")]
    default_session_storage: Storage,
    /// The kubeconfig file; without it, $KUBECONFIG, ~/.kube/config or the pod's service account
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context in the kubeconfig file
    #[arg(long)]
    context: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// A table for people
    Table,
    /// A list of findings
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Storage {
    Memory,
    Redis,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Cli { command: Command::Check(arguments) } = Cli::parse();
    match run_check(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints the findings. True where there are none.
async fn run_check(arguments: &Check) -> Result<bool> {
    let client = client(arguments.kubeconfig.as_deref(), arguments.context.clone()).await?;
    let storage = match arguments.default_session_storage {
        Storage::Memory => SessionStorage::Memory,
        Storage::Redis => SessionStorage::Redis,
    };
    let begin = Instant::now();
    let is_watched = io::stderr().is_terminal();
    let progress = |read: usize| {
        // Nobody needs to be told of what takes a moment only.
        if is_watched && begin.elapsed() > Duration::from_secs(1) {
            eprint!("\r{read} objects read");
        }
    };
    let inventory = cluster::read(&client, arguments.namespace.as_deref(), storage, progress).await?;
    if is_watched && begin.elapsed() > Duration::from_secs(1) {
        eprintln!();
    }

    let findings = check::findings(&inventory);
    let servers = inventory.servers.len() + inventory.unreadable.len();
    let text = match arguments.output {
        Output::Table => check::table(&findings, servers),
        Output::Json => serde_json::to_string_pretty(&findings)?,
    };
    writeln!(io::stdout(), "{text}").context("cannot print")?;
    Ok(findings.is_empty())
}

async fn client(kubeconfig: Option<&std::path::Path>, context: Option<String>) -> Result<Client> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await.context("no cluster to talk to: give --kubeconfig")?,
    };
    config.connect_timeout = Some(TIMEOUT);
    config.read_timeout = Some(TIMEOUT);
    Ok(Client::try_from(config)?)
}
