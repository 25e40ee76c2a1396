//! A server ends the same whatever happened to it before: its counts, grace periods and conditions follow from its spec
//! and from the counts that people chose, and not from the order of events.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::objects::runs_image;
use cluster_tests::requests::text;
use cluster_tests::wait::{wait_for_value, wait_until};
use cluster_tests::{TestCluster, ToolHiveRelease};
use futures::{StreamExt, TryStreamExt};
use mcp_scaling_rules::ConditionType;
use serde_json::{Value, json};

use crate::toolhive_releases::{FIRST_WITH_COUNTS, create_namespace, parse_version};

/// The image of every server at the end.
const IMAGE: &str = "example/mcp:2";
/// The image of servers that still have to be edited.
const OLD_IMAGE: &str = "example/mcp:1";
/// How many servers are worked on at a time. Each runs a process.
const CONCURRENCY: usize = 4;

/// How a server is in the end.
struct Case {
    name: &'static str,
    spec: Value,
    /// The counts of the Deployment and of the StatefulSet.
    counts: (u32, u32),
    /// Says whether a person chooses these counts with `kubectl scale`.
    is_chosen: bool,
    /// The conditions that are `True`.
    warnings: &'static [ConditionType],
}

/// How a server gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// It is created so.
    Created,
    /// It has another transport first and higher counts, and a person shortens the grace period of its Deployment.
    Edited,
    /// The operator starts again, and then the image changes.
    Restarted,
    /// A person stops it, with both counts at 0, and starts it again.
    Stopped,
    /// Its spec declares the counts first, and then not any more.
    Undeclared,
    /// It comes from an older release of ToolHive.
    Upgraded,
}

/// What is compared.
#[derive(Debug, PartialEq)]
struct Outcome {
    counts: (Value, Value),
    grace_periods: (Value, Value),
    warnings: BTreeSet<String>,
}

/// Servers that reach the same spec in different ways, one of them through an upgrade from the release `previous`, end
/// with the same counts, grace periods and conditions.
pub(crate) async fn ends_the_same_on_every_path(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
    previous: Option<&ToolHiveRelease>,
) -> Result<()> {
    cluster.require_release(previous.unwrap_or(release)).await?;
    let namespace = &create_namespace(cluster, release, "paths").await?;
    let mut servers = Vec::new();
    if let Some(previous) = previous {
        servers = servers_of(previous, &[Path::Upgraded])?;
        each(&servers, |(case, path)| prepare(cluster, previous, namespace, case, *path)).await?;
        cluster.upgrade_to(release).await?;
    }
    let others = servers_of(release, &[Path::Created, Path::Edited, Path::Restarted, Path::Stopped, Path::Undeclared])?;
    each(&others, |(case, path)| prepare(cluster, release, namespace, case, *path)).await?;
    cluster.start_operator(release).await?;
    servers.extend(others);
    each(&servers, |(case, path)| finish(cluster, release, namespace, case, *path)).await?;

    for (case, path) in &servers {
        let what = format!("the outcome of {}", server_name(case, *path));
        wait_for_value(&what, &case.outcome(), || outcome(cluster, namespace, case, *path)).await?;
    }
    // Nobody changes that any more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    for (case, path) in &servers {
        let seen = outcome(cluster, namespace, case, *path).await?;
        let what = format!("the outcome of {} after a while", server_name(case, *path));
        crate::assertions::expect_equal(&what, seen, case.outcome())?;
    }
    Ok(())
}

/// The cases that a release has, each on each of these paths.
fn servers_of(release: &ToolHiveRelease, paths: &[Path]) -> Result<Vec<(Case, Path)>> {
    use ConditionType::{SessionStorageWarning, StdioReplicaCapped, WorkloadReplicasWarning};
    let has_counts = parse_version(release.tag()).context("the tag")? >= FIRST_WITH_COUNTS;
    let redis = json!({"provider": "redis", "address": "redis:6379"});
    let case = |name, spec, counts, is_chosen, warnings| Case { name, spec, counts, is_chosen, warnings };
    let stdio = json!({"transport": "stdio"});
    let stdio_declared = json!({"transport": "stdio", "replicas": 3, "backendReplicas": 3});
    let declared = json!({"transport": "sse", "replicas": 2, "backendReplicas": 2, "sessionStorage": redis});
    let mut servers = Vec::new();
    for path in paths {
        servers.push((case("stdio", stdio.clone(), (1, 1), false, &[]), *path));
        servers.push((case("single", json!({"transport": "sse"}), (1, 1), false, &[]), *path));
        let spec = json!({"transport": "streamable-http"});
        servers.push((case("scaled", spec, (3, 2), true, &[WorkloadReplicasWarning]), *path));
        if has_counts {
            let both = &[StdioReplicaCapped, SessionStorageWarning];
            servers.push((case("stdio-declared", stdio_declared.clone(), (1, 1), false, both), *path));
            servers.push((case("declared", declared.clone(), (2, 2), false, &[]), *path));
            let spec = json!({"transport": "sse", "replicas": 2});
            servers.push((case("memory", spec, (2, 1), false, &[SessionStorageWarning]), *path));
        }
    }
    servers.retain(|(case, path)| *path != Path::Undeclared || (has_counts && case.is_chosen));
    Ok(servers)
}

/// Runs `work` for each server, some at a time.
async fn each<'a, F: Future<Output = Result<()>>>(
    servers: &'a [(Case, Path)],
    work: impl Fn(&'a (Case, Path)) -> F,
) -> Result<()> {
    let work = servers.iter().map(|server| {
        let work = work(server);
        async move { work.await.with_context(|| server_name(&server.0, server.1)) }
    });
    futures::stream::iter(work).buffer_unordered(CONCURRENCY).try_collect().await
}

fn server_name(case: &Case, path: Path) -> String {
    format!("{}-{}", case.name, format!("{path:?}").to_lowercase())
}

impl Case {
    /// The spec that the server has in the end.
    fn spec(&self, image: &str) -> Value {
        let mut spec = self.spec.clone();
        spec["image"] = image.into();
        spec
    }

    /// The spec that the server has first on a path; `None` if it does not exist then.
    fn first_spec(&self, path: Path) -> Option<Value> {
        let mut spec = self.spec(if path == Path::Upgraded || path == Path::Stopped { IMAGE } else { OLD_IMAGE });
        match path {
            Path::Created => return None,
            Path::Edited => {
                let transport = if self.spec["transport"] == "stdio" { "sse" } else { "stdio" };
                spec = json!({"transport": transport, "image": OLD_IMAGE});
            }
            Path::Undeclared => {
                spec["replicas"] = self.counts.0.into();
                spec["backendReplicas"] = self.counts.1.into();
            }
            Path::Restarted | Path::Stopped | Path::Upgraded => {}
        }
        Some(spec)
    }

    fn outcome(&self) -> Outcome {
        Outcome {
            counts: (self.counts.0.into(), self.counts.1.into()),
            grace_periods: (35.into(), 30.into()),
            warnings: self.warnings.iter().map(|type_| type_.name().to_owned()).collect(),
        }
    }
}

/// What happens before the operator starts again.
async fn prepare(
    cluster: &TestCluster,
    release: &ToolHiveRelease,
    namespace: &str,
    case: &Case,
    path: Path,
) -> Result<()> {
    let Some(spec) = case.first_spec(path) else {
        return Ok(());
    };
    let name = server_name(case, path);
    cluster.create_server_with_deployment(namespace, &name, spec).await?;
    cluster.run_proxy_runner(release, namespace, &name).await?;
    match path {
        Path::Edited => {
            scale(cluster, namespace, &name, (3, 3)).await?;
            let short = json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 5}}}});
            cluster.admin.merge("deployments", namespace, &name, &short).await?.success()?;
        }
        Path::Stopped => {
            scale(cluster, namespace, &name, (0, 0)).await?;
            // An operator before v0.10.1 that was stopped between its reset to 1 and its next write would leave a Deployment that is
            // owed the 0. A person who then scales it to 1 changes nothing, and cannot be told from the reset.
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Path::Restarted | Path::Upgraded if case.is_chosen => scale(cluster, namespace, &name, case.counts).await?,
        Path::Created | Path::Restarted | Path::Undeclared | Path::Upgraded => {}
    }
    Ok(())
}

/// What happens after the operator started again.
async fn finish(
    cluster: &TestCluster,
    release: &ToolHiveRelease,
    namespace: &str,
    case: &Case,
    path: Path,
) -> Result<()> {
    let name = server_name(case, path);
    match path {
        Path::Created => cluster.create_server_with_deployment(namespace, &name, case.spec(IMAGE)).await?,
        Path::Edited | Path::Restarted | Path::Undeclared => {
            let edit = |server: &mut Value| server["spec"] = case.spec(IMAGE);
            cluster.admin.update("mcpservers", namespace, &name, edit).await?.success()?;
        }
        Path::Stopped => return scale(cluster, namespace, &name, case.counts).await,
        Path::Upgraded => {}
    }
    // A new pod of the proxy runs as soon as the operator has changed the Deployment.
    let proxy_image = format!("example/proxyrunner:{}", release.tag());
    let is_rolled_out = || async {
        let deployment = cluster.admin.get("deployments", namespace, &name).await?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        Ok(runs_image(&deployment, IMAGE) && container["image"] == proxy_image)
    };
    wait_until(&format!("{IMAGE} and {proxy_image} are rolled out"), is_rolled_out).await?;
    cluster.run_proxy_runner(release, namespace, &name).await?;
    match path {
        Path::Created | Path::Edited if case.is_chosen => scale(cluster, namespace, &name, case.counts).await,
        _ => Ok(()),
    }
}

async fn scale(cluster: &TestCluster, namespace: &str, name: &str, counts: (u32, u32)) -> Result<()> {
    cluster.admin.scale("deployments", namespace, name, counts.0).await?.success()?;
    cluster.admin.scale("statefulsets", namespace, name, counts.1).await?.success()?;
    Ok(())
}

async fn outcome(cluster: &TestCluster, namespace: &str, case: &Case, path: Path) -> Result<Outcome> {
    let name = server_name(case, path);
    let server = cluster.admin.get("mcpservers", namespace, &name).await?;
    let deployment = &cluster.admin.get("deployments", namespace, &name).await?["spec"];
    let statefulset = &cluster.admin.get("statefulsets", namespace, &name).await?["spec"];
    let conditions = server["status"]["conditions"].as_array().into_iter().flatten();
    let warnings = conditions.filter(|condition| condition["status"] == "True").filter_map(|condition| {
        ConditionType::from_name(&text(&condition["type"]))
            // This one stays for ten minutes after its cause, so that it tells of the path as well.
            .filter(|type_| *type_ != ConditionType::WorkloadReplicasWarning || case.warnings.contains(type_))
            .map(|type_| type_.name().to_owned())
    });
    let grace_period = |spec: &Value| spec["template"]["spec"]["terminationGracePeriodSeconds"].clone();
    Ok(Outcome {
        counts: (deployment["replicas"].clone(), statefulset["replicas"].clone()),
        grace_periods: (grace_period(deployment), grace_period(statefulset)),
        warnings: warnings.collect(),
    })
}
