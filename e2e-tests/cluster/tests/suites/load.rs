//! Many requests at once.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use cluster_tests::TestCluster;
use cluster_tests::accounts::OPERATOR;
use cluster_tests::objects::{deployment, statefulset};
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::NEWEST;
use cluster_tests::wait::wait_for_condition;
use futures::stream::{self, StreamExt, TryStreamExt};
use mcp_scaling_rules::ConditionReason;
use serde_json::json;

use crate::assertions::expect_equal;
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: Some(NEWEST) };

const SERVERS: usize = 500;

/// How many requests are in flight at a time.
const CONCURRENCY: usize = 25;

pub(crate) fn tests() -> Vec<Test> {
    suite!("load", SETUP, [caps_500_servers_created_at_once])
}

/// Also prints what the policy adds to the latency of a request, and how much memory the processes use.
async fn caps_500_servers_created_at_once(cluster: &mut TestCluster) -> Result<()> {
    let without = create_servers(cluster, "load-without").await?;
    cluster.install_webhook(&json!({})).await?;
    let with = create_servers(cluster, "load-with").await?;

    println!("\n  {:<28} {:>8} {:>8} {:>8}", "creating a Deployment", "median", "90 %", "99 %");
    for (name, times) in [("without the policy", &without), ("with the policy", &with)] {
        let percentile =
            |percent| times.get(times.len() * percent / 100).map_or(0.0, |time: &Duration| time.as_secs_f64() * 1e3);
        println!("  {name:<28} {:>5.1} ms {:>5.1} ms {:>5.1} ms", percentile(50), percentile(90), percentile(99));
    }

    let deployments = cluster.admin.list("deployments", "load-with").await?;
    let uncapped = deployments.iter().filter(|deployment| deployment["spec"]["replicas"] != 1).count();
    expect_equal("Deployments, and those not capped", (deployments.len(), uncapped), (SERVERS, 0))?;

    let begun = Instant::now();
    // The default rate is not for a thousand servers at once.
    let index = cluster.start_reconciler_with(&["--writes-per-second=1000"]).await?;
    for namespace in ["load-without", "load-with"] {
        for index in [0, SERVERS / 2, SERVERS - 1] {
            let name = format!("server-{index}");
            wait_for_condition(&cluster.admin, namespace, &name, ConditionReason::StdioTransportCapAt1).await?;
        }
    }
    println!(
        "  the reconciler wrote the conditions of {} servers in {:.1} s",
        2 * SERVERS,
        begun.elapsed().as_secs_f64()
    );
    print_memory("the webhook", cluster.webhook_process())?;
    print_memory("the reconciler after that", cluster.reconciler_process(index))?;
    cluster.stop_reconcilers().await?;
    let index = cluster.start_reconciler().await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    print_memory("the reconciler after a restart", cluster.reconciler_process(index))
}

/// Creates stdio servers that declare three replicas, with their Deployments and StatefulSets. Returns how long each
/// Deployment took, sorted.
async fn create_servers(cluster: &TestCluster, namespace: &str) -> Result<Vec<Duration>> {
    cluster.create_namespace(namespace).await?;
    let operator = cluster.client_of(OPERATOR).await?;
    let create = |index: usize| {
        let operator = operator.clone();
        async move {
            let name = format!("server-{index}");
            let server = cluster.create_mcp_server(namespace, &name, json!({"replicas": 3})).await?.body;
            let begun = Instant::now();
            operator.create("deployments", namespace, &deployment(&server, 3)).await?.success()?;
            let elapsed = begun.elapsed();
            operator.create("statefulsets", namespace, &statefulset(&name, "stdio", 1)).await?.success()?;
            anyhow::Ok(elapsed)
        }
    };
    let times = stream::iter((0..SERVERS).map(create)).buffer_unordered(CONCURRENCY);
    let mut times: Vec<Duration> = times.try_collect().await?;
    times.sort();
    Ok(times)
}

/// Prints the resident memory of a process.
fn print_memory(name: &str, process: Option<u32>) -> Result<()> {
    let process = process.with_context(|| format!("{name} does not run"))?;
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("the process has no VmRSS")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("VmRSS has no value")?.parse()?;
    println!("  resident memory of {name}: {:.1} MB", kibibytes * 1024.0 / 1e6);
    Ok(())
}
