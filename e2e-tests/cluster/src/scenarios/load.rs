//! Many requests at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::reconciling::{CAPPED, says};
use crate::world::{OPERATOR, World, deployment, statefulset};

const SERVERS: usize = 500;

/// Requests that are under way at a time.
const AT_ONCE: usize = 25;

pub(super) async fn many_at_once(world: &mut World) -> Result<()> {
    world.stop_reconcilers().await?;
    let without = create_all(world, "load-without").await?;
    world.webhook_on(&json!({})).await?;
    let with = create_all(world, "load-with").await?;

    println!("      {:<28} {:>8} {:>8} {:>8}", "creating a Deployment", "median", "90 %", "99 %");
    for (name, times) in [("without the policy", &without), ("with it", &with)] {
        let of = |percent: usize| times.get(times.len() * percent / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        println!("      {name:<28} {:>5.1} ms {:>5.1} ms {:>5.1} ms", of(50), of(90), of(99));
    }

    let path = world.admin.path("deployments", "load-with");
    let list = world.admin.send("GET", &path, "application/json", &Value::Null).await?.done()?.body;
    let deployments = list["items"].as_array().context("is a list")?;
    let unpatched = deployments.iter().filter(|deployment| deployment["spec"]["replicas"] != 1).count();
    ensure!(
        (deployments.len(), unpatched) == (SERVERS, 0),
        "{} are there, {unpatched} are unpatched",
        deployments.len()
    );

    let begun = Instant::now();
    let index = world.start_reconciler(&[]).await?;
    for namespace in ["load-without", "load-with"] {
        for index in [0, SERVERS / 2, SERVERS - 1] {
            says(&world.admin, namespace, &format!("server-{index}"), "StdioReplicaCapped", CAPPED).await?;
        }
    }
    println!("      the reconciler has made {} right after {:.1} s", 2 * SERVERS, begun.elapsed().as_secs_f64());
    let memory = |name: &str, process: Option<u32>| -> Result<()> {
        println!("      memory of the {name}, resident: {:.1} MB", resident(process.context("is running")?)?);
        Ok(())
    };
    memory("webhook", world.webhook_process())?;
    memory("reconciler after that", world.reconciler_process(index))?;
    world.stop_reconcilers().await?;
    let index = world.start_reconciler(&[]).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    memory("reconciler after a restart", world.reconciler_process(index))
}

/// Makes 500 servers with three replicas each, their Deployments and StatefulSets; how long the Deployments took, in order.
async fn create_all(world: &World, namespace: &str) -> Result<Vec<Duration>> {
    world.namespace(namespace).await?;
    let operator = world.actor(OPERATOR).await?;
    let create = |index: usize| {
        let operator = operator.clone();
        async move {
            let name = format!("server-{index}");
            let server = world.server(&name, json!({"replicas": 3}));
            let server = world.admin.create("mcpservers", namespace, &server).await?.done()?.body;
            let begun = Instant::now();
            operator.create("deployments", namespace, &deployment(&server, 3)).await?.done()?;
            let elapsed = begun.elapsed();
            operator.create("statefulsets", namespace, &statefulset(&name, "stdio", 1)).await?.done()?;
            anyhow::Ok(elapsed)
        }
    };
    let mut times: Vec<Duration> =
        stream::iter((0..SERVERS).map(create)).buffer_unordered(AT_ONCE).try_collect().await?;
    times.sort();
    Ok(times)
}

/// In MB.
fn resident(process: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("has a resident size")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("has a figure")?.parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
