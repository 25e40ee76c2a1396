//! Measures what admission adds to the time of a write of a Scale, as `kubectl scale` and autoscalers make it: without a
//! policy, with this policy, and with a MutatingAdmissionPolicy that has the same rule for `stdio` in CEL.
//!
//! [`cluster_tests::inputs`] lists the environment variables that it reads.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster_tests::interrupt::run_until_interrupted;
use cluster_tests::objects::deployment;
use cluster_tests::wait::wait_for_value;
use cluster_tests::{Inputs, TestCluster};
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Value, json};

/// How many `MCPServer`s the namespace has.
const SERVERS: [usize; 4] = [1, 50, 200, 1000];
/// How many writes are measured.
const WRITES: usize = 400;
/// How many writes are in flight at a time, each of another Deployment if there are so many.
const CONCURRENCY: usize = 4;

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings";

/// The namespace with a `stdio` server.
const STDIO: &str = "stdio";

/// What decides on a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    None,
    ThisPolicy,
    MutatingAdmissionPolicy,
}

// One thread: the child processes end with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run_until_interrupted(run()).await
}

async fn run() -> Result<()> {
    let inputs = Inputs::from_environment(&std::env::current_exe()?.with_file_name("policy-webhook"))?;
    let mut cluster = TestCluster::start(inputs).await.context("the cluster does not start")?;
    create_servers(&cluster, &cluster.create_namespace(STDIO).await?, "stdio", 1).await?;
    println!("{WRITES} writes of a Scale, {CONCURRENCY} at a time; median and 99 %\n");
    println!("| servers in the namespace | no policy | this policy | MutatingAdmissionPolicy |\n|---|---|---|---|");
    for servers in SERVERS {
        let namespace = cluster.create_namespace(&format!("servers-{servers}")).await?;
        create_servers(&cluster, &namespace, "streamable-http", servers).await?;
        let mut row = format!("| {servers} |");
        for admission in [Admission::None, Admission::ThisPolicy, Admission::MutatingAdmissionPolicy] {
            install(&mut cluster, admission).await?;
            let count = if admission == Admission::None { 3 } else { 1 };
            wait_for_stdio_count(&cluster, count).await.with_context(|| format!("{admission:?}"))?;
            let times = measure(&cluster, &namespace, servers).await?;
            row.push_str(&format!(" {} ms, {} ms |", milliseconds(&times, 50), milliseconds(&times, 99)));
            remove(&mut cluster, admission).await?;
        }
        println!("{row}");
    }
    Ok(())
}

/// Creates servers with this transport, and a Deployment for each of the first ones, which are scaled.
async fn create_servers(cluster: &TestCluster, namespace: &str, transport: &str, count: usize) -> Result<()> {
    let create = |index: usize| async move {
        let redis = json!({"provider": "redis", "address": "redis:6379"});
        let spec = json!({"transport": transport, "sessionStorage": redis});
        let server = cluster.create_mcp_server(namespace, &server_name(index), spec).await?.body;
        if index < CONCURRENCY {
            cluster.admin.create("deployments", namespace, &deployment(&server, 1)).await?.success()?;
        }
        anyhow::Ok(())
    };
    stream::iter((0..count).map(create)).buffer_unordered(8).try_collect().await
}

fn server_name(index: usize) -> String {
    format!("server-{index}")
}

async fn install(cluster: &mut TestCluster, admission: Admission) -> Result<()> {
    match admission {
        Admission::None => Ok(()),
        Admission::ThisPolicy => cluster.install_webhook(&json!({})).await,
        Admission::MutatingAdmissionPolicy => {
            let [policy, binding] = native_policy(cluster.toolhive_version());
            cluster.admin.post_path(POLICIES, &policy).await?.success()?;
            cluster.admin.post_path(BINDINGS, &binding).await?.success()?;
            Ok(())
        }
    }
}

async fn remove(cluster: &mut TestCluster, admission: Admission) -> Result<()> {
    match admission {
        Admission::None => Ok(()),
        Admission::ThisPolicy => cluster.remove_webhook().await,
        Admission::MutatingAdmissionPolicy => {
            cluster.admin.delete_path(&format!("{BINDINGS}/stdio")).await?.success()?;
            cluster.admin.delete_path(&format!("{POLICIES}/stdio")).await?.success()?;
            Ok(())
        }
    }
}

/// A policy of the API server that limits the Deployments of `stdio` servers to 1 replica. It is evaluated once for each
/// `MCPServer` of the namespace.
fn native_policy(toolhive_version: &str) -> [Value; 2] {
    let replace = r#"[JSONPatch{op: "replace", path: "/spec/replicas", value: 1}]"#;
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy",
        "metadata": {"name": "stdio"},
        "spec": {
            "paramKind": {"apiVersion": format!("toolhive.stacklok.dev/{toolhive_version}"), "kind": "MCPServer"},
            "matchConstraints": {"resourceRules": [{
                "apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["UPDATE"],
                "resources": ["deployments/scale"],
            }]},
            "matchConditions": [
                {"name": "several-replicas", "expression": "object.spec.?replicas.orValue(0) > 1"},
                {"name": "stdio", "expression":
                    "params.metadata.name == request.name && params.spec.?transport.orValue('stdio') == 'stdio'"},
            ],
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": replace}}],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicyBinding",
        "metadata": {"name": "stdio"},
        "spec": {"policyName": "stdio", "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"}},
    });
    [policy, binding]
}

/// Waits until a `stdio` server that is scaled to 3 replicas gets this count, since the API server learns of a policy a
/// moment after it accepts it.
async fn wait_for_stdio_count(cluster: &TestCluster, expected: u64) -> Result<()> {
    let name = &server_name(0);
    wait_for_value("the count of a stdio server after it was scaled to 3", &expected, || async move {
        cluster.admin.scale("deployments", STDIO, name, 1).await?.success()?;
        cluster.admin.scale("deployments", STDIO, name, 3).await?.success()?;
        cluster.admin.replicas("deployments", STDIO, name).await
    })
    .await
}

/// How long each write took, sorted.
async fn measure(cluster: &TestCluster, namespace: &str, servers: usize) -> Result<Vec<Duration>> {
    let scale = |worker: usize| async move {
        let mut times = Vec::with_capacity(WRITES / CONCURRENCY);
        for index in 0..WRITES / CONCURRENCY {
            let patch = json!({"spec": {"replicas": 2 + index % 2}});
            let name = format!("{}/scale", server_name(worker % servers));
            let begun = Instant::now();
            let response = cluster.admin.merge("deployments", namespace, &name, &patch).await?.success()?;
            times.push(begun.elapsed());
            ensure!(response.body["spec"]["replicas"] == 2 + index % 2, "the write was changed: {}", response.body);
        }
        anyhow::Ok(times)
    };
    let times: Vec<Vec<Duration>> =
        stream::iter((0..CONCURRENCY).map(scale)).buffer_unordered(CONCURRENCY).try_collect().await?;
    let mut times = times.concat();
    times.sort();
    Ok(times)
}

fn milliseconds(times: &[Duration], percent: usize) -> String {
    let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("{:.1}", time.as_secs_f64() * 1e3)
}
