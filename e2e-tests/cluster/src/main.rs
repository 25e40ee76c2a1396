//! The policy and the reconciler in a real cluster. `make e2e-tests` builds what is tested and runs it.

#![forbid(unsafe_code)]

mod control_plane;
mod crds;
mod demo;
mod scenarios;
mod webhook;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use world::{Artefacts, World, existing};

/// Plays scenarios in a real cluster: kube-apiserver and etcd, the policy behind a webhook, the reconciler's binary.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays the scenarios and tells how each one ended
    Run {
        #[command(flatten)]
        paths: Paths,
        /// Play only acts with this in their name
        #[arg(long, default_value = "")]
        act: String,
    },
    /// Tells in a terminal what goes wrong, and how it goes with the policy and the reconciler
    Demo {
        #[command(flatten)]
        paths: Paths,
    },
    /// Serves the policy as an admission webhook (what `run` starts)
    #[command(hide = true)]
    Webhook(webhook::Arguments),
}

#[derive(Args)]
struct Paths {
    /// The folder with kube-apiserver and etcd; scripts/control-plane prints it
    #[arg(long, value_name = "FOLDER")]
    assets: PathBuf,
    /// The policy module
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The reconciler's binary
    #[arg(long, value_name = "FILE")]
    reconciler: PathBuf,
    /// Helm; scripts/helm prints it
    #[arg(long, value_name = "FILE")]
    helm: Option<PathBuf>,
}

impl Paths {
    fn artefacts(&self) -> Result<Artefacts> {
        Ok(Artefacts {
            assets: existing(&self.assets)?,
            policy: existing(&self.policy)?,
            reconciler: existing(&self.reconciler)?,
            helm: self.helm.as_deref().map(existing).transpose()?,
            repository: existing(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."))?,
        })
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run { paths, act } => on_one_thread(async { until_told(play(paths.artefacts()?, &act)).await }),
        Command::Demo { paths } => on_one_thread(async { until_told(demo::tell(paths.artefacts()?)).await }),
        Command::Webhook(arguments) => on_threads(webhook::serve(arguments)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Processes end with the thread that started them, so that there must be one that lasts.
fn on_one_thread(future: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn on_threads(future: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

/// Until it is done, or somebody tells it to stop; what it has started goes with it.
async fn until_told(done: impl Future<Output = Result<()>>) -> Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        done = done => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn play(artefacts: Artefacts, only: &str) -> Result<()> {
    let begun = Instant::now();
    let mut world = World::begin(artefacts).await.context("there is no cluster")?;
    let tool = if world.has_kubectl() { "kubectl" } else { "requests like kubectl's, which is not installed" };
    println!("a cluster is there after {:.1} s; people use {tool}", begun.elapsed().as_secs_f64());
    let (mut played, mut failed) = (0, 0);
    for act in scenarios::acts() {
        if !act.name.contains(only) {
            continue;
        }
        println!("\n{}", act.name);
        world.webhook_off().await?;
        if act.has_webhook {
            world.webhook_on(&json!({})).await?;
        }
        for (told, play) in act.scenarios {
            let begun = Instant::now();
            let ended = play(&mut world).await;
            let seconds = begun.elapsed().as_secs_f64();
            played += 1;
            match ended {
                Ok(()) => println!("  ok    {told} ({seconds:.1} s)"),
                Err(error) => {
                    failed += 1;
                    println!("  FAIL  {told} ({seconds:.1} s)\n        {error:#}");
                    for log in ["webhook.log", "reconciler-0.log"] {
                        println!("        {log}:{}", world.plane.tail(log));
                    }
                }
            }
        }
    }
    println!("\n{played} scenarios, {failed} failed, in {:.0} s", begun.elapsed().as_secs_f64());
    match (played, failed) {
        (0, _) => bail!("no act has {only:?} in its name"),
        (_, 0) => Ok(()),
        _ => bail!("{failed} of {played} scenarios failed"),
    }
}
