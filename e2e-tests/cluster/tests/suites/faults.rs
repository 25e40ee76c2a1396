//! The reconciler on a bad day: counts that change all the time, and an API server that restarts, throttles, drops watches, expires
//! lists, loses answers and refuses single rights.
//!
//! `FAULTS_SECONDS=600` makes it last ten minutes, with 2,000 servers.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cluster_tests::faults::{Fault, FaultyApiServer, Write};
use cluster_tests::objects::{deployment, statefulset};
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::NEWEST;
use cluster_tests::{ApiClient, TestCluster};
use futures::stream::{self, StreamExt, TryStreamExt};
use mcp_scaling_rules::{Scaling, SessionStorage, Transport, spec_conditions};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::assertions::expect_equal;
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: false, reconciler: false, crds: Some(NEWEST) };

const NAMESPACE: &str = "faults";

/// Between two changes of the load.
const INTERVAL: Duration = Duration::from_millis(40);

/// How long the corrections may take after the faults, and the first contact with 2,000 servers before them.
const RECOVERY: Duration = Duration::from_secs(180);

/// How much the resident memory may grow, in MB, from a quarter of the time to the end.
const GROWTH: f64 = 1.5;

pub(crate) fn tests() -> Vec<Test> {
    suite!("faults", SETUP, [corrects_everything_once_on_a_bad_day])
}

/// What goes wrong next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Inject(Fault),
    DropWatches,
    RestartApiServer,
}

/// In turn, each followed by some time without a fault.
const STEPS: [Step; 12] = [
    Step::Inject(Fault::Throttles),
    Step::Inject(Fault::Expires),
    Step::Inject(Fault::LosesAnswers),
    Step::Inject(Fault::Forbids("PATCH", "/scale")),
    Step::DropWatches,
    Step::RestartApiServer,
    Step::Inject(Fault::Forbids("PATCH", "/status")),
    Step::Inject(Fault::Forbids("GET", "/scale")),
    Step::Inject(Fault::Forbids("LIST", "/statefulsets")),
    Step::Inject(Fault::Forbids("WATCH", "/mcpservers")),
    Step::Inject(Fault::Forbids("LIST", "/mcpservers")),
    Step::Inject(Fault::Forbids("POST", "/events")),
];

/// How often each object was given a reason for a write, by the end of its path.
type Causes = HashMap<String, usize>;

/// Changes counts as people, operators and autoscalers do.
struct Load {
    admin: ApiClient,
    servers: usize,
    /// The changes of each server since its spec was last changed. The reconciler backs off from a fourth one.
    since_spec: Vec<u32>,
    causes: Causes,
    changes: usize,
}

async fn corrects_everything_once_on_a_bad_day(cluster: &mut TestCluster) -> Result<()> {
    let seconds = std::env::var("FAULTS_SECONDS").map_or(Ok(45), |seconds| seconds.parse())?;
    let duration = Duration::from_secs(seconds);
    let servers = if seconds < 300 { 200 } else { 2000 };
    let step = duration / 12;
    // In ten minutes each step comes more than once.
    let step = step.min(Duration::from_secs(10));
    cluster.create_namespace(NAMESPACE).await?;
    create_servers(cluster, servers).await?;
    // The default rate is not for a load of counts that change all the time.
    let (index, api_server) = cluster.start_reconciler_behind_faults(&["--writes-per-second=1000"]).await?;
    let admin = cluster.admin.clone();
    wait_for_corrections(&admin).await.context("before the faults")?;
    let process = cluster.reconciler_process(index).context("the reconciler does not run")?;

    let mut load =
        Load { admin: admin.clone(), servers, since_spec: vec![0; servers], causes: Causes::new(), changes: 0 };
    for write in api_server.writes() {
        *load.causes.entry(end_of(&write.path)).or_default() += 1;
    }
    let begun = Instant::now();
    let mut memory = Vec::new();
    let faults = async {
        for fault in STEPS.iter().cycle() {
            if begun.elapsed() + step > duration {
                return anyhow::Ok(());
            }
            memory.push((begun.elapsed(), resident(process)?));
            match *fault {
                Step::Inject(fault) => {
                    api_server.inject(Some(fault));
                    // A right to list or watch is only used where a watch begins.
                    api_server.drop_watches();
                    sleep(step * 2 / 3).await;
                    api_server.inject(None);
                }
                Step::DropWatches => {
                    for _ in 0..5 {
                        api_server.drop_watches();
                        sleep(step / 8).await;
                    }
                }
                Step::RestartApiServer => {
                    cluster.stop_api_server();
                    sleep(step / 3).await;
                    cluster.start_api_server().await?;
                }
            }
            sleep(step / 3).await;
        }
        Ok(())
    };
    tokio::select! {
        result = faults => result?,
        result = load.run() => result?,
    }

    let recovery = wait_for_corrections(&admin).await.context("after the faults")?;
    sleep(Duration::from_secs(3)).await;
    let at_end = resident(process)?;
    report(&load, &api_server, &memory, at_end);
    println!("  the last server was corrected {:.0} s after the last fault", recovery.as_secs_f64());
    expect_equal("the reconciler's process", cluster.reconciler_process(index), Some(process))?;
    check_writes(&load.causes, &api_server.writes())?;
    let warm = memory.iter().find(|(at, _)| *at >= duration / 4).map_or(at_end, |(_, memory)| *memory);
    ensure!(at_end <= warm + GROWTH, "the reconciler took {warm:.1} MB, and {at_end:.1} MB at the end");
    cluster.stop_reconcilers().await?;
    cluster.admin.delete_path(&format!("/api/v1/namespaces/{NAMESPACE}")).await?.success()?;
    Ok(())
}

fn name(index: usize) -> String {
    format!("server-{index}")
}

/// Every other server uses `stdio`, the others declare both counts.
fn spec(index: usize, count: u32) -> Value {
    match index % 2 {
        0 => json!({"transport": "stdio", "replicas": count}),
        _ => json!({
            "transport": "streamable-http", "replicas": count, "backendReplicas": count,
            "sessionStorage": {"provider": "redis", "address": "redis:6379"},
        }),
    }
}

async fn create_servers(cluster: &TestCluster, servers: usize) -> Result<()> {
    let create = |index: usize| async move {
        let name = name(index);
        let server = cluster.create_mcp_server(NAMESPACE, &name, spec(index, 1)).await?.body;
        cluster.admin.create("deployments", NAMESPACE, &deployment(&server, 1)).await?.success()?;
        let transport = if index.is_multiple_of(2) { "stdio" } else { "streamable-http" };
        cluster.admin.create("statefulsets", NAMESPACE, &statefulset(&name, transport, 1)).await?.success()?;
        anyhow::Ok(())
    };
    stream::iter((0..servers).map(create)).buffer_unordered(25).try_collect().await
}

impl Load {
    /// Changes something all the time. What fails may have been executed.
    async fn run(&mut self) -> Result<()> {
        loop {
            sleep(INTERVAL).await;
            // A step that has no divisor in common with the number of servers comes to each of them.
            let index = self.changes * 7919 % self.servers;
            let round = self.changes / self.servers;
            self.changes += 1;
            let is_spec = self.since_spec[index] >= 2 || (index + round).is_multiple_of(3);
            let name = name(index);
            let causes: &[&str] = if is_spec {
                self.since_spec[index] = 0;
                let count = 1 + u32::try_from(round)? % 3;
                let _ = self.admin.merge("mcpservers", NAMESPACE, &name, &json!({"spec": spec(index, count)})).await;
                &["mcpservers/NAME/status", "deployments/NAME/scale", "statefulsets/NAME/scale"]
            } else {
                self.since_spec[index] += 1;
                let (resource, count) =
                    if (index / 2 + round).is_multiple_of(2) { ("deployments", 5) } else { ("statefulsets", 6) };
                let patch = json!({"spec": {"replicas": count}});
                let _ = self.admin.merge(resource, NAMESPACE, &format!("{name}/scale"), &patch).await;
                match resource {
                    "deployments" => &["mcpservers/NAME/status", "deployments/NAME/scale"],
                    _ => &["mcpservers/NAME/status", "statefulsets/NAME/scale"],
                }
            };
            for cause in causes {
                *self.causes.entry(cause.replace("NAME", &name)).or_default() += 1;
            }
        }
    }
}

/// Waits until all servers are as their spec demands, and returns how long that took.
async fn wait_for_corrections(admin: &ApiClient) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        // The API server may still be starting.
        let seen = wrong(admin).await;
        match seen {
            Ok(0) => return Ok(begun.elapsed()),
            _ if begun.elapsed() < RECOVERY => sleep(Duration::from_secs(1)).await,
            Ok(lost) => bail!("{lost} servers are not corrected after {} s", RECOVERY.as_secs()),
            Err(error) => return Err(error),
        }
    }
}

/// How many servers are not as their spec demands: a count, or a condition.
async fn wrong(admin: &ApiClient) -> Result<usize> {
    let mut counts = HashMap::new();
    for resource in ["deployments", "statefulsets"] {
        for object in admin.list(resource, NAMESPACE).await? {
            counts.insert((resource, text(&object["metadata"]["name"])), object["spec"]["replicas"].as_u64());
        }
    }
    let servers = admin.list("mcpservers", NAMESPACE).await?;
    let is_wrong = |server: &&Value| {
        let name = text(&server["metadata"]["name"]);
        let is_stdio = server["spec"]["transport"] == "stdio";
        let replicas = server["spec"]["replicas"].as_u64();
        let expected = if is_stdio { Some(1) } else { replicas };
        let scaling = Scaling {
            transport: if is_stdio { Transport::Stdio } else { Transport::StreamableHttp },
            replicas: replicas.and_then(|replicas| replicas.try_into().ok()),
            backend_replicas: None,
            session_storage: (!is_stdio).then_some(SessionStorage::Redis),
        };
        let present = server["status"]["conditions"].as_array();
        let has_condition = |expected: &mcp_scaling_rules::Condition| {
            present.into_iter().flatten().any(|present| {
                present["type"] == expected.type_.name()
                    && present["status"] == expected.status.name()
                    && present["reason"] == expected.reason.name()
            })
        };
        ["deployments", "statefulsets"].iter().any(|resource| counts.get(&(resource, name.clone())) != Some(&expected))
            || !spec_conditions(&scaling).iter().all(has_condition)
    };
    Ok(servers.iter().filter(is_wrong).count())
}

/// A path without the group and the namespace.
fn end_of(path: &str) -> String {
    path.split_once(&format!("/{NAMESPACE}/")).map_or(path, |(_, end)| end).to_owned()
}

/// Nothing is written twice for one cause: each write changed something, and there are not more of them than causes.
fn check_writes(causes: &Causes, writes: &[Write]) -> Result<()> {
    let mut written = Causes::new();
    for write in writes.iter().filter(|write| write.path.contains(NAMESPACE)) {
        ensure!(write.has_changed, "a write to {} changed nothing: {}", write.path, write.patch);
        *written.entry(end_of(&write.path)).or_default() += 1;
    }
    let caused = |object: &String| causes.get(object).copied().unwrap_or_default();
    let excess: Vec<_> = written.iter().filter(|(object, count)| **count > caused(object)).collect();
    ensure!(excess.is_empty(), "more writes than causes: {excess:?}");
    Ok(())
}

fn report(load: &Load, api_server: &FaultyApiServer, memory: &[(Duration, f64)], at_end: f64) {
    let (requests, injected) = api_server.requests();
    let writes = api_server.writes();
    let of = |end: &str| writes.iter().filter(|write| write.path.ends_with(end)).count();
    println!("\n  {} servers, {} changes of them", load.servers, load.changes);
    println!(
        "  {requests} requests of the reconciler, a fault in {injected} of them, {} steps of faults",
        memory.len()
    );
    println!("  {} writes of counts, {} of statuses", of("/scale"), of("/status"));
    let series: Vec<String> = memory.iter().map(|(_, memory)| format!("{memory:.1}")).collect();
    println!("  resident memory at each step: {} and {at_end:.1} MB at the end", series.join(", "));
}

/// The resident memory of a process, in MB. It fails if the process has ended.
fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("the process has ended")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("VmRSS has no value")?.parse()?;
    Ok(kibibytes * 1024.0 / 1e6)
}
