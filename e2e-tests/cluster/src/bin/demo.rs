//! Shows in a terminal how a cluster behaves without the policy and the reconciler, then the same steps with both.
//! [`cluster_tests::inputs`] lists the environment variables that it reads.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use cluster_tests::accounts::OPERATOR;
use cluster_tests::interrupt::run_until_interrupted;
use cluster_tests::objects::deployment;
use cluster_tests::wait::{wait_for_condition, wait_for_replicas};
use cluster_tests::{Inputs, TestCluster};
use mcp_scaling_rules::ConditionReason;
use serde_json::json;

const NAMESPACE: &str = "demo";

/// The columns of `kubectl get deployments`.
const COUNTS: &str = "-o=custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas";
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
    say("Starting a cluster with ToolHive's CRDs: kube-apiserver and etcd, for this demo only.");
    let mut cluster = TestCluster::start(inputs).await.context("the cluster does not start")?;
    let result = show(&mut cluster).await;
    if result.is_err() {
        eprintln!("{}", cluster.log_tails());
    }
    result
}

/// The steps of the demo.
async fn show(cluster: &mut TestCluster) -> Result<()> {
    cluster.create_namespace(NAMESPACE).await?;
    let operator = cluster.client_of(OPERATOR).await?;
    for (name, transport) in [("github", "stdio"), ("search", "streamable-http")] {
        let server = cluster.create_mcp_server(NAMESPACE, name, json!({"transport": transport})).await?.body;
        operator.create("deployments", NAMESPACE, &deployment(&server, 1)).await?.success()?;
    }
    let reset_search = || operator.update("deployments", NAMESPACE, "search", |it| it["spec"]["replicas"] = 1.into());
    kubectl(cluster, &["get", "mcpservers", TRANSPORTS]).await?;

    say("1. Without the policy. A person scales the stdio server to 3; its client will reach only one of the pods.");
    kubectl(cluster, &["scale", "deployment", "github", "--replicas=3"]).await?;
    kubectl(cluster, &["get", "deployments", COUNTS]).await?;
    say("   A person scales the other server to 4, and an old operator resets it to 1 (ToolHive #3329).");
    kubectl(cluster, &["scale", "deployment", "search", "--replicas=4"]).await?;
    reset_search().await?.success()?;
    kubectl(cluster, &["get", "deployments", COUNTS]).await?;

    say("2. The reconciler starts. It corrects what is wrong already.");
    cluster.start_reconciler().await?;
    wait_for_replicas(&cluster.admin, "deployments", NAMESPACE, "github", 1).await?;
    // The events and conditions follow.
    tokio::time::sleep(Duration::from_secs(1)).await;
    kubectl(cluster, &["get", "deployments", COUNTS]).await?;
    kubectl(cluster, &["get", "events", EVENTS]).await?;
    kubectl(cluster, &["get", "mcpserver", "github", CONDITIONS]).await?;

    say("3. With the policy installed, the same steps:");
    cluster.install_webhook(&json!({})).await?;
    kubectl(cluster, &["scale", "deployment", "github", "--replicas=3"]).await?;
    kubectl(cluster, &["scale", "deployment", "search", "--replicas=4"]).await?;
    say("   The old operator writes 1 again:");
    reset_search().await?.success()?;
    kubectl(cluster, &["get", "deployments", COUNTS]).await?;
    let without_redis = ConditionReason::LiveReplicasWithoutSessionStorage;
    wait_for_condition(&cluster.admin, NAMESPACE, "search", without_redis).await?;
    say("   No field declares a count for it, so the 4 stays; a condition tells that its pods do not share sessions:");
    kubectl(cluster, &["get", "mcpserver", "search", CONDITIONS]).await?;
    cluster.stop_reconcilers().await
}

fn say(text: &str) {
    println!("\n{text}\n");
}

/// Runs kubectl, and prints the command (without its output format) and its output.
async fn kubectl(cluster: &TestCluster, arguments: &[&str]) -> Result<()> {
    let shown: Vec<&str> = arguments.iter().copied().filter(|argument| !argument.starts_with("-o")).collect();
    println!("  $ kubectl {}", shown.join(" "));
    let output = cluster.kubectl(&[&["--namespace", NAMESPACE], arguments].concat()).await?;
    for line in output.stderr.lines().chain(output.stdout.lines()) {
        println!("  {line}");
    }
    println!();
    Ok(())
}
