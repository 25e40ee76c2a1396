//! The policy beside ToolHive's own operator and proxy runner, and beside the controllers of Kubernetes.
//!
//! Each test runs for every release that the environment variable `TOOLHIVE_TAGS` names (separated by commas or spaces)
//! and that the test is meant for. The default is the newest release and v0.10.0, the last one whose
//! operator resets counts.

use std::env;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::accounts::{KEDA, OPERATOR, RECONCILER};
use cluster_tests::objects::{autoscaler, runs_image};
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive::split_tags;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use cluster_tests::wait::{wait_for_condition, wait_for_replicas, wait_for_value, wait_until};
use cluster_tests::webhook::{WEBHOOK_NAME, read_policy};
use cluster_tests::{Ignored, TestCluster, ToolHiveRelease};
use futures::future::LocalBoxFuture;
use mcp_scaling_rules::ConditionReason;
use serde_json::{Value, json};

use crate::assertions::{expect_equal, expect_replicas, expect_warning};
use crate::harness::Test;
use crate::toolhive_paths::ends_the_same_on_every_path;
use crate::toolhive_releases::{
    FIRST_WITH_ADOPTION, FIRST_WITH_COUNTS, FIRST_WITH_STABLE_TEMPLATES, FIRST_WITHOUT_RESETS, Version,
    create_namespace, parse_version,
};

const SETUP: Setup = Setup { webhook: true, reconciler: false, crds: None };

const TAGS: &str = "TOOLHIVE_TAGS";

/// How long a new image may take until it is in the Deployment, at the count that was there before.
const ROLLOUT_TIME_LIMIT: Duration = Duration::from_secs(30);

/// How long the backend may take to be scaled up with its proxies: less than a proxy takes to start and to give up waiting for it.
const WAKING_TIME_LIMIT: Duration = Duration::from_secs(15);

type RunWithRelease = for<'t> fn(&'t mut TestCluster, &'t ToolHiveRelease) -> LocalBoxFuture<'t, Result<()>>;

/// A release that the tests ask for, and whether it can be had once that is known.
struct Requested {
    tag: String,
    found: OnceLock<Result<ToolHiveRelease, Ignored>>,
}

impl Requested {
    fn test_name(&self, name: &str) -> String {
        format!("toolhive::{}::{name}", self.tag.replace('.', "_"))
    }

    fn find(&self) -> Result<&ToolHiveRelease> {
        if self.found.get().is_none() {
            let found = match ToolHiveRelease::find(&self.tag) {
                Ok(release) => Ok(release),
                Err(error) => Err(error.downcast::<Ignored>()?),
            };
            let _ = self.found.set(found);
        }
        let found = self.found.get().context("the release was not looked for")?;
        Ok(found.as_ref().map_err(Ignored::clone)?)
    }
}

macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$((stringify!($test), (|cluster, release| Box::pin($test(cluster, release))) as RunWithRelease)),*]
    };
}

pub(crate) fn tests() -> Result<Vec<Test>> {
    let tags = env::var(TAGS).unwrap_or_else(|_| format!("{NEWEST},{WITHOUT_COUNTS}"));
    let mut releases = Vec::new();
    for tag in split_tags(&tags) {
        let version = parse_version(tag).with_context(|| format!("{TAGS}: {tag:?} is not a tag such as v0.63.0"))?;
        releases.push((version, Arc::new(Requested { tag: tag.to_owned(), found: OnceLock::new() })));
    }
    releases.sort_by_key(|(version, _)| *version);
    let mut tests = Vec::new();
    let mut previous = None;
    for (version, release) in releases {
        tests.extend(tests_of(version, &release));
        tests.push(test_of_paths(&release, previous.replace(release.clone())));
    }
    Ok(tests)
}

/// The tests of one release. They come one after the other, since its definitions and its operator stay meanwhile.
fn tests_of(version: Version, release: &Arc<Requested>) -> Vec<Test> {
    let mut tests = tests![
        caps_an_autoscaler_of_a_stdio_server,
        caps_a_person_who_scales_a_stdio_server,
        keeps_the_backend_count_when_the_proxy_runner_starts,
        couples_the_backend_to_its_proxies,
    ];
    if version < FIRST_WITHOUT_RESETS {
        tests.extend(tests![rolls_out_a_new_image_and_keeps_the_count, keeps_the_count_while_nothing_is_pending]);
    } else {
        tests.extend(tests![sends_the_policy_few_requests]);
    }
    if version >= FIRST_WITH_COUNTS {
        tests.extend(tests![
            sets_the_declared_count,
            admits_the_backend_of_a_stdio_server_under_reject,
            writes_nothing_beside_the_operator,
        ]);
    }
    if version >= FIRST_WITH_STABLE_TEMPLATES {
        tests.extend(tests![
            replaces_no_backend_pod_when_a_declared_count_changes,
            replaces_no_pod_when_kubectl_scales_a_server_without_a_declared_count,
        ]);
    }
    if version >= FIRST_WITH_ADOPTION {
        tests.extend(tests![leaves_the_adoption_of_statefulsets_alone, leaves_the_restart_of_proxies_alone,]);
    }
    let tests = tests.into_iter().map(|(name, run)| {
        let release = release.clone();
        Test::new(release.test_name(name), SETUP, move |cluster| Box::pin(run_with(cluster, release.clone(), run)))
    });
    tests.collect()
}

/// The test of all ways to the same spec, one of them an upgrade from the release `previous`.
fn test_of_paths(release: &Arc<Requested>, previous: Option<Arc<Requested>>) -> Test {
    let name = release.test_name("ends_the_same_on_every_path");
    let release = release.clone();
    let setup = Setup { reconciler: true, ..SETUP };
    Test::new(name, setup, move |cluster| {
        let (release, previous) = (release.clone(), previous.clone());
        Box::pin(async move {
            let previous = previous.as_ref().map(|previous| previous.find()).transpose()?;
            ends_the_same_on_every_path(cluster, release.find()?, previous).await
        })
    })
}

async fn run_with(cluster: &mut TestCluster, release: Arc<Requested>, run: RunWithRelease) -> Result<()> {
    let release = release.find()?;
    cluster.require_release(release).await?;
    run(cluster, release).await
}

/// Waits until the Deployment of a server runs this image with this count.
async fn wait_for_rollout(cluster: &TestCluster, namespace: &str, name: &str, image: &str, count: u64) -> Result<()> {
    let expected = (true, Some(count));
    let read = || async {
        let deployment = cluster.admin.get("deployments", namespace, name).await?;
        Ok((runs_image(&deployment, image), deployment["spec"]["replicas"].as_u64()))
    };
    wait_for_value(&format!("whether {image} is rolled out, and spec.replicas"), &expected, read).await
}

async fn resource_version(cluster: &TestCluster, resource: &str, namespace: &str, name: &str) -> Result<String> {
    Ok(text(&cluster.admin.get(resource, namespace, name).await?["metadata"]["resourceVersion"]))
}

/// Fails if a workload had another count at any time since this resource version.
async fn expect_replicas_since(
    cluster: &TestCluster,
    resource: &str,
    namespace: &str,
    name: &str,
    resource_version: &str,
    expected: u64,
) -> Result<()> {
    expect_replicas(&cluster.admin, resource, namespace, name, expected).await?;
    for version in cluster.admin.versions_since(resource, namespace, name, resource_version).await? {
        let what = format!("spec.replicas of {resource} {namespace}/{name} in a version in between");
        expect_equal(&what, &version["spec"]["replicas"], expected)?;
    }
    Ok(())
}

/// The requests of a user in a namespace that changed something, from the audit log.
fn writes(cluster: &TestCluster, user: &str, namespace: &str) -> Result<Vec<Value>> {
    let is_write = |entry: &Value| {
        entry["user"]["username"] == user
            && entry["objectRef"]["namespace"] == namespace
            && ["create", "update", "patch", "delete"].iter().any(|verb| entry["verb"] == *verb)
    };
    Ok(cluster.audit_log()?.into_iter().filter(is_write).collect())
}

/// A server whose operator resets the count of its Deployment gets a new image and keeps the count that a person chose.
async fn rolls_out_a_new_image_and_keeps_the_count(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "rollout").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.kubectl_scale("deployments", &namespace, "github", 3).await?;
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "github", 3).await?;

    // The second time, the policy has a record of the rollout before.
    for image in ["example/mcp:2", "example/mcp:3"] {
        let begun = Instant::now();
        let patch = json!({"spec": {"image": image}});
        cluster.admin.merge("mcpservers", &namespace, "github", &patch).await?.success()?;
        wait_for_rollout(cluster, &namespace, "github", image, 3).await?;
        let seconds = begun.elapsed().as_secs_f64();
        ensure!(begun.elapsed() <= ROLLOUT_TIME_LIMIT, "the rollout of {image} took {seconds:.0} s");
        tokio::time::sleep(Duration::from_secs(3)).await;
        expect_replicas(&cluster.admin, "deployments", &namespace, "github", 3).await?;
    }
    Ok(())
}

/// With nothing to roll out, the count that a person chose never changes, however often the operator tries. That holds
/// for a server that was never edited and for one whose last edit is rolled out.
async fn keeps_the_count_while_nothing_is_pending(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "steady").await?;
    for name in ["new", "edited"] {
        cluster.create_server_with_deployment(&namespace, name, json!({"transport": "streamable-http"})).await?;
        cluster.admin.scale("deployments", &namespace, name, 3).await?.success()?;
    }
    let patch = json!({"spec": {"image": "example/mcp:2"}});
    cluster.admin.merge("mcpservers", &namespace, "edited", &patch).await?.success()?;
    wait_for_rollout(cluster, &namespace, "edited", "example/mcp:2", 3).await?;
    let mut since = Vec::new();
    for name in ["new", "edited"] {
        since.push((name, resource_version(cluster, "deployments", &namespace, name).await?));
    }
    let writes_before = writes(cluster, OPERATOR, &namespace)?.len();
    tokio::time::sleep(Duration::from_secs(30)).await;
    // A new process tries at once, while the old one waited longer after each try.
    cluster.start_operator(release).await?;
    tokio::time::sleep(Duration::from_secs(30)).await;
    for (name, version) in since {
        expect_replicas_since(cluster, "deployments", &namespace, name, &version, 3).await?;
        let writes = writes(cluster, OPERATOR, &namespace)?.split_off(writes_before);
        let is_reset = |entry: &&Value| {
            let annotation = &entry["annotations"][format!("{WEBHOOK_NAME}/replicas")];
            entry["objectRef"]["name"] == name && *annotation == "requested=1 wanted=3 reason=preserved"
        };
        ensure!(
            writes.iter().any(|entry| is_reset(&entry)),
            "the operator never reset the count of {name}: {writes:?}"
        );
    }
    Ok(())
}

/// The operator's own way of setting a declared count stays as it is.
async fn sets_the_declared_count(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "declared").await?;
    let redis = json!({"provider": "redis", "address": "redis:6379"});
    let sse = json!({"transport": "sse", "replicas": 3, "sessionStorage": redis});
    cluster.create_server_with_deployment(&namespace, "sse", sse).await?;
    cluster.create_server_with_deployment(&namespace, "stdio", json!({"transport": "stdio", "replicas": 3})).await?;
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "sse", 3).await?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "stdio", 1).await?;
    let capped = || async { Ok(cluster.admin.condition(&namespace, "stdio", "StdioReplicaCapped").await?.0) };
    wait_for_value("the operator's condition StdioReplicaCapped", &"True".to_owned(), capped).await
}

/// An autoscaler scales a server that can run several replicas, and not one that cannot.
async fn caps_an_autoscaler_of_a_stdio_server(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "autoscaled").await?;
    for name in ["sse", "stdio"] {
        cluster.create_server_with_deployment(&namespace, name, json!({"transport": name})).await?;
    }
    let since = resource_version(cluster, "deployments", &namespace, "stdio").await?;
    for name in ["sse", "stdio"] {
        let mut autoscaler = autoscaler(name, name, 5);
        autoscaler["spec"]["minReplicas"] = 3.into();
        cluster.admin.create("horizontalpodautoscalers", &namespace, &autoscaler).await?.success()?;
    }
    for name in ["sse", "stdio"] {
        let desired = || async {
            let autoscaler = cluster.admin.get("horizontalpodautoscalers", &namespace, name).await?;
            Ok(autoscaler["status"]["desiredReplicas"].as_u64())
        };
        wait_for_value(&format!("status.desiredReplicas of the autoscaler {name}"), &Some(3), desired).await?;
    }
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "sse", 3).await?;
    let scaled = resource_version(cluster, "deployments", &namespace, "sse").await?;
    // Time for the autoscalers and the operator to try again.
    tokio::time::sleep(Duration::from_secs(5)).await;
    expect_replicas_since(cluster, "deployments", &namespace, "sse", &scaled, 3).await?;
    expect_replicas_since(cluster, "deployments", &namespace, "stdio", &since, 1).await
}

/// The match conditions recognize the Scale of both workloads as this release makes them.
async fn caps_a_person_who_scales_a_stdio_server(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "scaled").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "stdio"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    for resource in ["deployments", "statefulsets"] {
        let warnings = cluster.kubectl_scale(resource, &namespace, "github", 3).await?;
        expect_warning(&warnings, "transport stdio supports 1 replica; spec.replicas requests 3")?;
        expect_replicas(&cluster.admin, resource, &namespace, "github", 1).await?;
    }
    Ok(())
}

/// Counts the requests that reach the policy in the life of a server: with the match condition that recognizes ToolHive's
/// workloads alone, and with all of the manifest's. Prints them.
async fn sends_the_policy_few_requests(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let all = read_policy("mcpserver-scaling")?["spec"]["matchConditions"].take();
    let with_all = requests_to_policy(cluster, release, "requests", &all).await?;
    let with_one = requests_to_policy(cluster, release, "more-requests", &json!([all[0]])).await?;
    println!("\n  requests that reach the policy    with one match condition, with all");
    for ((phase, with_one), (_, with_all)) in with_one.iter().zip(&with_all) {
        println!("  {phase:<34} {with_one:>22} {with_all:>9}");
    }
    let of = |requests: &[(&str, usize)], phase: &str| {
        requests.iter().filter(|(name, _)| *name == phase).map(|(_, count)| *count).sum::<usize>()
    };
    let fewer = ["scale to 3 and back to 1", "deletion"];
    // How many are fewer varies: an operator that meets a conflict writes again.
    for phase in fewer {
        let (before, after) = (of(&with_one, phase), of(&with_all, phase));
        ensure!(
            after < before,
            "requests that reach the policy: {phase}: {after}, and {before} with one match condition"
        );
    }
    expect_equal("requests that reach the policy while an autoscaler scales", of(&with_all, fewer[0]), 1)?;
    expect_equal("requests that reach the policy after the deletion", of(&with_all, fewer[1]), 0)
}

/// The requests that reach the policy with these match conditions in each phase of a server's life.
async fn requests_to_policy(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
    namespace: &str,
    match_conditions: &Value,
) -> Result<Vec<(&'static str, usize)>> {
    cluster.remove_webhook().await?;
    cluster.install_webhook_with(&json!({}), match_conditions).await?;
    let namespace = create_namespace(cluster, release, namespace).await?;
    let settled = async |cluster: &TestCluster| {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.requests_to_policy(&namespace)
    };
    let mut counts = vec![("", 0)];
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    counts.push(("creation", settled(cluster).await?));

    let patch = json!({"spec": {"image": "example/mcp:2"}});
    cluster.admin.merge("mcpservers", &namespace, "github", &patch).await?.success()?;
    wait_for_rollout(cluster, &namespace, "github", "example/mcp:2", 1).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    counts.push(("rollout of a new image", settled(cluster).await?));

    let mut autoscaler = autoscaler("github", "github", 5);
    autoscaler["spec"]["minReplicas"] = 3.into();
    cluster.admin.create("horizontalpodautoscalers", &namespace, &autoscaler).await?.success()?;
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "github", 3).await?;
    // Above its maximum an autoscaler scales down at once.
    let down = json!({"spec": {"minReplicas": 1, "maxReplicas": 1}});
    cluster.admin.merge("horizontalpodautoscalers", &namespace, "github", &down).await?.success()?;
    wait_for_replicas(&cluster.admin, "deployments", &namespace, "github", 1).await?;
    counts.push(("scale to 3 and back to 1", settled(cluster).await?));

    cluster.admin.delete("mcpservers", &namespace, "github").await?.success()?;
    let is_deleted = || async { Ok(cluster.admin.get("deployments", &namespace, "github").await.is_err()) };
    wait_until("the Deployment is deleted", is_deleted).await?;
    counts.push(("deletion", settled(cluster).await?));
    let phases = counts.windows(2).map(|counts| (counts[1].0, counts[1].1 - counts[0].1));
    Ok(phases.collect())
}

/// A new pod of the proxy does not take away the count of the backend. Proxy runners before v0.12.5 write 1.
async fn keeps_the_backend_count_when_the_proxy_runner_starts(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
) -> Result<()> {
    let namespace = create_namespace(cluster, release, "backend").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    expect_replicas(&cluster.admin, "statefulsets", &namespace, "github", 1).await?;
    cluster.admin.scale("statefulsets", &namespace, "github", 3).await?.success()?;
    let since = resource_version(cluster, "statefulsets", &namespace, "github").await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    expect_replicas_since(cluster, "statefulsets", &namespace, "github", &since, 3).await
}

/// The backend goes to 0 with its proxies, whoever scales them, and has its count again soon after they are back, also if the
/// reconciler was restarted meanwhile.
async fn couples_the_backend_to_its_proxies(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "coupled").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    cluster.admin.scale("statefulsets", &namespace, "github", 2).await?.success()?;
    cluster.start_coupling_reconciler().await?;

    let warnings = cluster.kubectl_scale("deployments", &namespace, "github", 0).await?;
    expect_warning(&warnings, "a backend runs on without proxies")?;
    wait_for_replicas(&cluster.admin, "statefulsets", &namespace, "github", 0).await?;
    cluster.stop_reconcilers().await?;
    cluster.start_coupling_reconciler().await?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 0).await?;
    cluster.kubectl_scale("deployments", &namespace, "github", 1).await?;
    wait_for_coupled_backend(cluster, &namespace).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    expect_replicas(&cluster.admin, "statefulsets", &namespace, "github", 2).await?;

    let keda = cluster.client_of(KEDA).await?;
    keda.scale("deployments", &namespace, "github", 0).await?.success()?;
    wait_for_replicas(&cluster.admin, "statefulsets", &namespace, "github", 0).await?;
    // KEDA activates its target with 1 replica, and its HorizontalPodAutoscaler scales it further.
    keda.scale("deployments", &namespace, "github", 1).await?.success()?;
    wait_for_coupled_backend(cluster, &namespace).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    expect_replicas(&cluster.admin, "statefulsets", &namespace, "github", 2).await
}

/// Waits until the backend has 2 replicas again, which has to be earlier than a proxy gives up waiting for it.
async fn wait_for_coupled_backend(cluster: &TestCluster, namespace: &str) -> Result<()> {
    let begun = Instant::now();
    wait_for_replicas(&cluster.admin, "statefulsets", namespace, "github", 2).await?;
    ensure!(begun.elapsed() <= WAKING_TIME_LIMIT, "the backend was scaled up after {:?}", begun.elapsed());
    Ok(())
}

/// A person changes the declared count of the proxies. The proxies are replaced, of which a warning tells, and the pods of
/// the backend keep running; without the setting they are replaced as well.
async fn replaces_no_backend_pod_when_a_declared_count_changes(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
) -> Result<()> {
    cluster.require_node().await?;
    let spec = json!({"transport": "streamable-http", "replicas": 2, "backendReplicas": 2});
    let namespace = create_namespace(cluster, release, "kept").await?;
    cluster.create_server_with_deployment(&namespace, "github", spec).await?;
    cluster.complete_rollouts(release, &namespace, "github").await?;
    let before = cluster.server_pods(&namespace, "github").await?;
    expect_equal("proxies and backends before", (before.proxies.len(), before.backends.len()), (2, 2))?;

    let three = json!({"spec": {"replicas": 3}});
    let response = cluster.admin.merge("mcpservers", &namespace, "github", &three).await?.success()?;
    expect_warning(&response.warnings, "restart all proxies of an MCPServer when a declared count changes")?;
    cluster.complete_rollouts(release, &namespace, "github").await?;
    let kept = cluster.server_pods(&namespace, "github").await?;
    expect_equal("proxies", kept.proxies.len(), 3)?;
    ensure!(kept.proxies.is_disjoint(&before.proxies), "expected all proxies to be replaced: {before:?}, {kept:?}");
    expect_equal("the UIDs of the backends", &kept.backends, &before.backends)?;

    cluster.remove_webhook().await?;
    cluster.install_webhook(&json!({"keepBackendsOnScale": false})).await?;
    let two = json!({"spec": {"replicas": 2}});
    cluster.admin.merge("mcpservers", &namespace, "github", &two).await?.success()?;
    cluster.complete_rollouts(release, &namespace, "github").await?;
    let replaced = cluster.server_pods(&namespace, "github").await?.backends;
    ensure!(replaced.is_disjoint(&kept.backends), "expected all backends to be replaced: {kept:?}, {replaced:?}");
    expect_equal("backends", replaced.len(), 2)
}

/// With no count declared, `kubectl scale` adds pods and replaces none.
async fn replaces_no_pod_when_kubectl_scales_a_server_without_a_declared_count(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
) -> Result<()> {
    cluster.require_node().await?;
    let namespace = create_namespace(cluster, release, "undeclared").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.complete_rollouts(release, &namespace, "github").await?;
    let before = cluster.server_pods(&namespace, "github").await?;
    cluster.kubectl_scale("deployments", &namespace, "github", 3).await?;
    // The second time, the operator and the proxy runner have worked on what the first one left.
    for _ in 0..2 {
        cluster.complete_rollouts(release, &namespace, "github").await?;
        let after = cluster.server_pods(&namespace, "github").await?;
        ensure!(after.proxies.is_superset(&before.proxies), "a proxy was replaced: {before:?}, {after:?}");
        expect_equal("proxies", after.proxies.len(), 3)?;
        expect_equal("the UIDs of the backends", &after.backends, &before.backends)?;
    }
    Ok(())
}

/// The setting `reject` is for people: the proxy runner's own write is capped and not refused, since without it the server
/// would run nothing.
async fn admits_the_backend_of_a_stdio_server_under_reject(
    cluster: &mut TestCluster,
    release: &ToolHiveRelease,
) -> Result<()> {
    let namespace = create_namespace(cluster, release, "reject").await?;
    cluster
        .create_server_with_deployment(&namespace, "github", json!({"transport": "stdio", "backendReplicas": 3}))
        .await?;
    cluster.remove_webhook().await?;
    cluster.install_webhook(&json!({"stdioReplicas": "reject", "sessionStorage": "reject"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    expect_replicas(&cluster.admin, "statefulsets", &namespace, "github", 1).await
}

/// The operator's update that makes the `MCPServer` the owner of a StatefulSet passes, and changes no count.
async fn leaves_the_adoption_of_statefulsets_alone(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    let namespace = create_namespace(cluster, release, "adoption").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    // It would adopt the StatefulSet before that can be scaled.
    cluster.stop_operator();
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    cluster.admin.scale("statefulsets", &namespace, "github", 3).await?.success()?;
    let since = resource_version(cluster, "statefulsets", &namespace, "github").await?;
    cluster.start_operator(release).await?;
    let owner = || async {
        let statefulset = cluster.admin.get("statefulsets", &namespace, "github").await?;
        Ok(text(&statefulset["metadata"]["ownerReferences"][0]["kind"]))
    };
    wait_for_value("the owner of the StatefulSet", &"MCPServer".to_owned(), owner).await?;
    expect_replicas_since(cluster, "statefulsets", &namespace, "github", &since, 3).await
}

/// The operator restarts proxies whose StatefulSet is gone, so that they create it again. The new StatefulSet has 1 replica.
async fn leaves_the_restart_of_proxies_alone(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    cluster.start_reconciler().await?;
    let namespace = create_namespace(cluster, release, "recreated").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "streamable-http"})).await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    cluster.admin.scale("deployments", &namespace, "github", 3).await?.success()?;
    cluster.admin.scale("statefulsets", &namespace, "github", 2).await?.success()?;
    let without_redis = ConditionReason::WorkloadReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, &namespace, "github", without_redis).await?;
    // Without nodes nothing makes the pods of the proxy ready; the operator restarts no proxy that is not.
    wait_for_value("spec.replicas of the proxy's pods", &3, || async {
        Ok(proxy_pods(cluster, &namespace, "github").await?.len())
    })
    .await?;
    for pod in proxy_pods(cluster, &namespace, "github").await? {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        cluster.admin.merge_path(&path, &ready).await?.success()?;
    }
    let since = resource_version(cluster, "deployments", &namespace, "github").await?;
    cluster.admin.delete("statefulsets", &namespace, "github").await?.success()?;
    wait_until("the operator restarts the proxy", || async {
        let deployment = cluster.admin.get("deployments", &namespace, "github").await?;
        let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
        Ok(annotations["mcpserver.toolhive.stacklok.dev/restarted-at"].is_string())
    })
    .await?;
    cluster.run_proxy_runner(release, &namespace, "github").await?;
    wait_until("the proxy runner has made the StatefulSet", || async {
        Ok(!cluster.admin.list("statefulsets", &namespace).await?.is_empty())
    })
    .await?;
    expect_replicas_since(cluster, "deployments", &namespace, "github", &since, 3).await?;
    expect_replicas(&cluster.admin, "statefulsets", &namespace, "github", 1).await
}

/// The names of the pods of a server's Deployment.
async fn proxy_pods(cluster: &TestCluster, namespace: &str, server: &str) -> Result<Vec<String>> {
    let selector = format!("app.kubernetes.io/instance={server},toolhive=true");
    let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
    let pods = cluster.admin.get_path(&path).await?.success()?.body;
    Ok(pods["items"].as_array().into_iter().flatten().map(|pod| text(&pod["metadata"]["name"])).collect())
}

/// If the operator has the conditions about counts, the reconciler leaves them to it.
async fn writes_nothing_beside_the_operator(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<()> {
    cluster.start_reconciler().await?;
    let namespace = create_namespace(cluster, release, "conditions").await?;
    cluster.create_server_with_deployment(&namespace, "github", json!({"transport": "sse", "replicas": 2})).await?;
    let warns = || async { Ok(cluster.admin.condition(&namespace, "github", "SessionStorageWarning").await?.0) };
    wait_for_value("the operator's condition SessionStorageWarning", &"True".to_owned(), warns).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let writes = writes(cluster, RECONCILER, &namespace)?;
    let objects: Vec<_> = writes.iter().map(|entry| entry["objectRef"].to_string()).collect();
    expect_equal("what the reconciler wrote", objects, Vec::<String>::new())
}
