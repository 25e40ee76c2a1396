//! The size of the reconciler's binary, its memory and its writes, with 1,000, 10,000 and 50,000 MCPServers and their workloads. The
//! binary as it ships connects over HTTP to the fake API server of the tests.
//!
//! `cargo bench --bench memory -- <binary> [servers...]`; fails if a budget is exceeded. With numbers it measures only these clusters.

#[path = "../tests/fake_api_server/mod.rs"]
mod fake_api_server;

use std::fs;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use fake_api_server::{ApiServer, ListType, kubeconfig};
use serde_json::{Value, json};
use tokio::time::sleep;

/// In bytes.
const BINARY_BUDGET: u64 = 8_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(binary) = arguments.next() else {
        eprintln!("usage: cargo bench --bench memory -- <binary> [servers...]");
        return ExitCode::FAILURE;
    };
    let size = fs::metadata(&binary).expect("the binary exists").len();
    let mut is_within = report("binary", size as f64 / 1e6, BINARY_BUDGET as f64 / 1e6, "MB");
    let chosen: Vec<usize> = arguments.map(|servers| servers.parse().expect("is a number of servers")).collect();
    for (servers, budget) in [(1_000, 11.0), (10_000, 18.5), (50_000, 54.0)] {
        if !chosen.is_empty() && !chosen.contains(&servers) {
            continue;
        }
        is_within &= measure(&binary, servers, budget).await;
    }
    if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(binary: &str, servers: usize, budget: f64) -> bool {
    let api_server = ApiServer::new(ListType::Map);
    // The objects of the largest cluster are smaller, because the fake API server keeps each of them several times.
    let variables = if servers > 10_000 { 1 } else { 20 };
    for index in 0..servers {
        let name = format!("mcp-server-{index}");
        api_server.create("mcpservers", mcpserver(&name, variables));
        api_server.create("deployments", workload(&name, "Deployment", 2 * variables));
        api_server.create("statefulsets", workload(&name, "StatefulSet", 2 * variables));
    }
    let port = api_server.listen().await;
    println!("\n{servers} MCPServers, each with a Deployment and a StatefulSet");

    let mut reconciler = start(binary, port);
    let started = Instant::now();
    let mut writes = 0;
    while writes < servers && started.elapsed() < Duration::from_secs(180) {
        sleep(Duration::from_millis(100)).await;
        writes += api_server.take_writes().len();
    }
    let seconds = started.elapsed().as_secs_f64();
    sleep(Duration::from_secs(3)).await;
    writes += api_server.take_writes().len();
    let mut is_within = report("writes to reconcile all of them", writes as f64, servers as f64, "");
    println!("  {:<44} {seconds:>9.1} s", "duration of these writes");
    is_within &= report("resident memory", resident(&reconciler, "VmRSS"), budget, "MB");
    is_within &= report("peak of the resident memory", resident(&reconciler, "VmHWM"), budget, "MB");

    api_server.take_calls();
    let mut times = Vec::new();
    for index in 0..10 {
        let changed = Instant::now();
        api_server.change("mcpservers", &format!("mcp-server-{index}"), |object| object["spec"]["replicas"] = 3.into());
        while api_server.take_writes().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        times.push(changed.elapsed().as_secs_f64());
        sleep(Duration::from_millis(100)).await;
    }
    times.sort_by(f64::total_cmp);
    // The fake API server takes longer with many objects.
    let longest = if servers > 10_000 { 3.0 } else { 2.0 };
    is_within &= report("time from a change to its write, slowest of 10", *times.last().expect("ten"), longest, "s");
    // Lets the reconciler finish the writes for the last changes.
    sleep(Duration::from_secs(3)).await;
    api_server.take_calls();
    reconciler.kill().expect("is running");
    reconciler.wait().expect("ends");

    let mut restarted = start(binary, port);
    sleep(Duration::from_secs(10)).await;
    is_within &= report("writes after a restart", api_server.take_writes().len() as f64, 0.0, "");
    is_within &= report("resident memory after a restart", resident(&restarted, "VmRSS"), budget, "MB");
    is_within &= report("its peak", resident(&restarted, "VmHWM"), budget, "MB");
    restarted.kill().expect("is running");
    restarted.wait().expect("ends");
    is_within
}

fn report(what: &str, measured: f64, budget: f64, unit: &str) -> bool {
    let is_within = measured <= budget;
    let verdict = if is_within { "" } else { "  EXCEEDED" };
    println!("  {what:<44} {measured:>9.1} {unit:<3} (budget {budget}){verdict}");
    is_within
}

fn start(binary: &str, port: u16) -> Child {
    let path = std::env::temp_dir().join(format!("mcpserver-scaling-bench-{port}.yaml"));
    fs::write(&path, kubeconfig(port)).expect("can be written");
    let mut command = Command::new(binary);
    command.args(["run", "--no-leader-election", "--listen", "127.0.0.1:0", "--log", "warn"]);
    command.args(["--writes-per-second", "1000000", "--kubeconfig"]).arg(path);
    command.stdout(Stdio::null()).spawn().expect("runs")
}

/// A field of /proc/<pid>/status, in MB.
fn resident(process: &Child, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).expect("is running");
    let line = status.lines().find(|line| line.starts_with(field)).expect("has the field");
    let kibibytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
    kibibytes.expect("is a number") * 1024.0 / 1e6
}

/// An MCPServer without the two conditions; of about 5 kB with 20 variables.
fn mcpserver(name: &str, variables: usize) -> Value {
    let environment: Vec<Value> =
        (0..variables).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "x".repeat(40)})).collect();
    json!({
        "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": {"a": "x".repeat(500)}, "managedFields": managed_fields()},
        "spec": {"image": "ghcr.io/example/server:1.2.3", "transport": "sse", "proxyPort": 8080, "env": environment,
                 "podTemplateSpec": {"spec": {"containers": [{"name": "mcp", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]}}},
        "status": {"phase": "Running", "url": format!("http://mcp-{name}-proxy.default.svc.cluster.local:8080"), "conditions": [
            {"type": "Ready", "status": "True", "reason": "Running", "message": "x".repeat(80), "lastTransitionTime": "2026-01-01T00:00:00Z"},
            {"type": "ImageValidated", "status": "True", "reason": "Validated", "message": "x".repeat(80), "lastTransitionTime": "2026-01-01T00:00:00Z"},
        ]},
    })
}

/// A Deployment or StatefulSet; of about 8 kB with 40 variables.
fn workload(name: &str, kind: &str, variables: usize) -> Value {
    let environment: Vec<Value> =
        (0..variables).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "x".repeat(60)})).collect();
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {
            "name": name, "managedFields": managed_fields(),
            "labels": {"app": "mcpserver", "app.kubernetes.io/name": "mcpserver", "toolhive": "true", "toolhive-name": name},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "toolhive", "env": environment, "args": vec!["x".repeat(30); 20]}]}}},
        "status": {"replicas": 1, "readyReplicas": 1},
    })
}

fn managed_fields() -> Value {
    json!([{"manager": "thv-operator", "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": "x".repeat(1500)}}])
}
