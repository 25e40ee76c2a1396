//! Shows in a terminal how ToolHive's own operator and proxy runner behave without the policy and the reconciler, then the
//! same steps with both. [`cluster_tests::inputs`] lists the environment variables that it reads.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::accounts::OPERATOR;
use cluster_tests::interrupt::run_until_interrupted;
use cluster_tests::toolhive_crds::{NEWEST, WITHOUT_COUNTS};
use cluster_tests::wait::{wait_for_condition, wait_for_replicas, wait_until};
use cluster_tests::webhook::WEBHOOK_NAME;
use cluster_tests::{Ignored, Inputs, TestCluster, ToolHiveRelease};
use mcp_scaling_rules::ConditionReason;
use serde_json::{Value, json};

/// The columns of `kubectl get` for workloads.
const COUNTS: &str = "-o=custom-columns=KIND:.kind,NAME:.metadata.name,REPLICAS:.spec.replicas";
/// The columns of `kubectl get mcpservers`.
const TRANSPORTS: &str = "-o=custom-columns=NAME:.metadata.name,TRANSPORT:.spec.transport,REPLICAS:.spec.replicas";
/// The columns of `kubectl get events`.
const EVENTS: &str = "-o=custom-columns=TYPE:.type,REASON:.reason,OBJECT:.involvedObject.name,MESSAGE:.message";
/// Each condition of a server on a line.
const CONDITIONS: &str = "-o=jsonpath={range .status.conditions[*]}{.type}={.status} ({.reason}){\"\\n\"}{end}";

// One thread: the child processes end with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run_until_interrupted(run()).await
}

async fn run() -> Result<()> {
    let demo = std::env::current_exe()?;
    let inputs = Inputs::from_environment(&demo.with_file_name("policy-webhook"))?;
    say("Starting a cluster for this demo only: kube-apiserver, etcd and kube-controller-manager.");
    let mut cluster = TestCluster::start(inputs).await.context("the cluster does not start")?;
    let result = show(&mut cluster).await;
    if result.is_err() {
        eprintln!("{}", cluster.log_tails());
    }
    result
}

/// The parts of the demo.
async fn show(cluster: &mut TestCluster) -> Result<()> {
    unless_ignored(show_resets(cluster).await)?;
    cluster.stop_reconcilers().await?;
    cluster.remove_webhook().await?;
    unless_ignored(show_restarts(cluster).await)
}

/// Goes on after a part that cannot be shown on this machine, and says why.
fn unless_ignored(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.is::<Ignored>() => {
            say(&format!("LEFT OUT: {error}"));
            Ok(())
        }
        result => result,
    }
}

/// A server that can run only one replica, and one whose count the operator resets.
async fn show_resets(cluster: &mut TestCluster) -> Result<()> {
    let release = ToolHiveRelease::find(WITHOUT_COUNTS)?;
    cluster.require_release(&release).await?;
    let namespace = &cluster.create_namespace("resets").await?;
    for (name, transport) in [("github", "stdio"), ("search", "streamable-http")] {
        cluster.create_server_with_deployment(namespace, name, json!({"transport": transport})).await?;
        cluster.run_proxy_runner(&release, namespace, name).await?;
    }
    let counts = ["get", "deployments,statefulsets", COUNTS];
    let scale_github = ["scale", "statefulset", "github", "--replicas=3"];
    let scale_search = ["scale", "deployment", "search", "--replicas=4"];

    say(&format!(
        "ToolHive {WITHOUT_COUNTS} has two servers. Each one's Deployment is its proxy, and each one's StatefulSet its backend."
    ));
    kubectl(cluster, namespace, &["get", "mcpservers", TRANSPORTS]).await?;
    kubectl(cluster, namespace, &counts).await?;

    say(
        "1. Without the policy. A person scales the backend of the stdio server to 3. Its proxy uses only one of the pods.",
    );
    kubectl(cluster, namespace, &scale_github).await?;
    say("   A person scales the proxy of the other server to 4. ToolHive's operator resets it to 1 (ToolHive #3329).");
    kubectl(cluster, namespace, &scale_search).await?;
    wait_for_replicas(&cluster.admin, "deployments", namespace, "search", 1).await?;
    kubectl(cluster, namespace, &counts).await?;

    say("2. The reconciler starts. It corrects the stdio server and reports that.");
    cluster.start_reconciler().await?;
    wait_for_replicas(&cluster.admin, "statefulsets", namespace, "github", 1).await?;
    // The events and conditions follow.
    tokio::time::sleep(Duration::from_secs(1)).await;
    kubectl(cluster, namespace, &counts).await?;
    let of_servers = "--field-selector=involvedObject.kind=MCPServer";
    kubectl(cluster, namespace, &["get", "events", of_servers, EVENTS]).await?;
    kubectl(cluster, namespace, &["get", "mcpserver", "github", CONDITIONS]).await?;

    say("3. With the policy installed, the same steps:");
    cluster.install_webhook(&json!({})).await?;
    kubectl(cluster, namespace, &scale_github).await?;
    kubectl(cluster, namespace, &scale_search).await?;
    say("   The operator writes 1 again. The policy keeps the 4, because the server declares no count:");
    wait_until("the operator has tried to reset the count", || async {
        Ok(cluster.audit_log()?.iter().any(|entry| is_kept(entry, namespace, "search")))
    })
    .await?;
    kubectl(cluster, namespace, &counts).await?;
    let without_redis = ConditionReason::WorkloadReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, namespace, "search", without_redis).await?;
    say("   A condition of the reconciler's tells that the 4 proxies do not share their sessions:");
    kubectl(cluster, namespace, &["get", "mcpserver", "search", CONDITIONS]).await
}

/// Says whether an entry of the audit log is a reset of a Deployment by the operator that the policy did not let through.
fn is_kept(entry: &Value, namespace: &str, name: &str) -> bool {
    let (object, replicas) = (&entry["objectRef"], &entry["annotations"][format!("{WEBHOOK_NAME}/replicas")]);
    entry["user"]["username"] == OPERATOR
        && object["namespace"] == namespace
        && object["name"] == name
        && replicas.as_str().is_some_and(|replicas| replicas.ends_with("reason=preserved"))
}

/// What a change of a count restarts.
async fn show_restarts(cluster: &mut TestCluster) -> Result<()> {
    // It restarts every pod of a server when a count changes.
    let release = ToolHiveRelease::find(NEWEST)?;
    cluster.require_node().await?;
    cluster.require_release(&release).await?;
    let namespace = &cluster.create_namespace("restarts").await?;
    let redis = json!({"provider": "redis", "address": "redis:6379"});
    let declared =
        json!({"transport": "streamable-http", "replicas": 2, "backendReplicas": 2, "sessionStorage": redis});
    let undeclared = json!({"transport": "streamable-http", "sessionStorage": redis});
    for (name, spec) in [("fetch", declared), ("time", undeclared)] {
        cluster.create_server_with_deployment(namespace, name, spec).await?;
        cluster.complete_rollouts(&release, namespace, name).await?;
    }

    say(&format!(
        "ToolHive {NEWEST}. KWOK simulates a node, on which pods get ready but run nothing, so that the demo starts the proxy\n\
             runner of new proxies."
    ));
    kubectl(cluster, namespace, &["get", "mcpservers", TRANSPORTS]).await?;

    say(
        "4. Without the policy. The server fetch declares its count, and a person changes it from 2 to 3. That restarts\n   \
         all pods of the server: its proxies, and fetch-0 and fetch-1, its backends.",
    );
    show_change(cluster, &release, namespace, "fetch", &["patch", "mcpserver", "fetch", "--type=merge", &declare(3)])
        .await?;

    say(
        "5. With the policy installed, from 3 to 4. The backends keep running, and warnings tell that the proxies do not.",
    );
    cluster.install_webhook(&json!({})).await?;
    show_change(cluster, &release, namespace, "fetch", &["patch", "mcpserver", "fetch", "--type=merge", &declare(4)])
        .await?;

    say("6. The server time declares no count. kubectl scale adds proxies to it, and nothing restarts.");
    show_change(cluster, &release, namespace, "time", &["scale", "deployment", "time", "--replicas=3"]).await
}

/// The option of `kubectl patch` that declares a count of a server.
fn declare(replicas: u32) -> String {
    format!("--patch={}", json!({"spec": {"replicas": replicas}}))
}

/// Shows the pods of a server before and after kubectl runs with these arguments.
async fn show_change(
    cluster: &TestCluster,
    release: &ToolHiveRelease,
    namespace: &str,
    name: &str,
    arguments: &[&str],
) -> Result<()> {
    let get_pods = ["get", "pods", &format!("--selector=toolhive-name={name}")];
    // New pods differ from these in their age.
    tokio::time::sleep(Duration::from_secs(10)).await;
    kubectl(cluster, namespace, &get_pods).await?;
    let before = cluster.server_pods(namespace, name).await?;
    kubectl(cluster, namespace, arguments).await?;
    cluster.complete_rollouts(release, namespace, name).await?;
    kubectl(cluster, namespace, &get_pods).await?;
    let after = cluster.server_pods(namespace, name).await?;
    let still_run = |before: &BTreeSet<String>, after: &BTreeSet<String>| {
        format!("{} of {}", before.intersection(after).count(), before.len())
    };
    println!(
        "  Of the pods from before, {} proxies and {} backends still run (compared by UID).",
        still_run(&before.proxies, &after.proxies),
        still_run(&before.backends, &after.backends)
    );
    Ok(())
}

fn say(text: &str) {
    println!("\n{text}\n");
}

/// Runs kubectl, and prints the command (without its output format) and its output.
async fn kubectl(cluster: &TestCluster, namespace: &str, arguments: &[&str]) -> Result<()> {
    let shown = arguments.iter().filter(|argument| !argument.starts_with("-o"));
    let shown: Vec<String> = shown.map(|argument| quoted(argument)).collect();
    println!("  $ kubectl {}", shown.join(" "));
    let output = cluster.kubectl(&[&["--namespace", namespace], arguments].concat()).await?;
    for line in output.stderr.lines().chain(output.stdout.lines()) {
        println!("  {line}");
    }
    println!();
    Ok(())
}

/// An argument as a shell needs it.
fn quoted(argument: &str) -> String {
    match argument.split_once('=') {
        Some((option, value)) if value.contains('{') => format!("{option}='{value}'"),
        _ => argument.to_owned(),
    }
}
