//! `check` against an API server with fixed responses: the requests that it makes, and the findings.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::check::{Finding, findings, table};
use mcpserver_scaling_reconciler::cluster::{self, Inventory};
use mcpserver_scaling_reconciler::error::with_causes;
use serde_json::{Value, json};

type StatusAndBody = (u16, Value);

/// A client whose API server responds by method, path and query, and the requests that it received.
fn client(respond: impl Fn(&str) -> StatusAndBody + Send + Sync + 'static) -> (Client, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    let respond = Arc::new(respond);
    let service = tower::service_fn(move |request: Request<Body>| {
        let target = format!("{} {}", request.method(), request.uri());
        seen.lock().expect("no thread panicked while it held the lock").push(target.clone());
        let (code, body) = respond(&target);
        async move {
            let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes()));
            Ok::<_, Infallible>(response.expect("is a response"))
        }
    });
    (Client::new(service, "default"), requests)
}

fn list(items: &[Value]) -> StatusAndBody {
    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}))
}

fn failure(code: u16, reason: &str) -> StatusAndBody {
    let message = format!("the request failed: {reason}");
    (code, json!({"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": code}))
}

/// The discovery responses of an API server with ToolHive.
fn discovery(target: &str) -> Option<StatusAndBody> {
    let version =
        |version: &str| json!({"groupVersion": format!("toolhive.stacklok.dev/{version}"), "version": version});
    if target == "GET /apis" {
        let group = json!({
            "name": "toolhive.stacklok.dev",
            "versions": [version("v1beta1"), version("v1alpha1")],
            "preferredVersion": version("v1beta1")
        });
        return Some((200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]})));
    }
    let version = target.strip_prefix("GET /apis/toolhive.stacklok.dev/")?;
    matches!(version, "v1beta1" | "v1alpha1").then(|| {
        let resource = json!({"name": "mcpservers", "singularName": "mcpserver", "namespaced": true, "kind": "MCPServer",
                              "verbs": ["get", "list", "watch"]});
        let group_version = format!("toolhive.stacklok.dev/{version}");
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version,
                          "resources": [resource]});
        (200, list)
    })
}

fn mcpserver(name: &str, spec: Value, conditions: Value) -> Value {
    json!({
        "apiVersion": "toolhive.stacklok.dev/v1beta1", "kind": "MCPServer",
        "metadata": {"namespace": "default", "name": name, "generation": 1},
        "spec": spec, "status": {"conditions": conditions}
    })
}

fn workload(kind: &str, name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": kind,
        "metadata": {"namespace": "default", "name": name, "labels": {"toolhive": "true", "toolhive-name": name}},
        "spec": {"replicas": replicas}
    })
}

/// The cluster of most tests: a server without problems, and one for each kind of problem.
fn respond(target: &str) -> StatusAndBody {
    if let Some(response) = discovery(target) {
        return response;
    }
    if target.contains("/mcpservers?") {
        let redis = json!({"provider": "redis"});
        return list(&[
            mcpserver(
                "fine",
                json!({"transport": "sse", "replicas": 2, "sessionStorage": redis}),
                json!([
                    {"type": "StdioReplicaCapped", "status": "False", "reason": "StdioReplicaCapNotActive", "observedGeneration": 1},
                    {"type": "SessionStorageWarning", "status": "False", "reason": "SessionStorageConfigured", "observedGeneration": 1}
                ]),
            ),
            mcpserver("capped", json!({"replicas": 3, "sessionStorage": redis}), json!([])),
            mcpserver("unshared", json!({"transport": "streamable-http"}), json!([])),
            mcpserver(
                "drifted",
                json!({"transport": "sse", "replicas": 1, "backendReplicas": 2, "sessionStorage": redis}),
                json!([]),
            ),
            mcpserver("invalid", json!({"transport": "pigeon"}), json!([])),
            mcpserver("large", json!({"replicas": 3_000_000_000_u64}), json!([])),
        ]);
    }
    if target.contains("/deployments?") {
        return list(&[
            workload("Deployment", "fine", 2),
            workload("Deployment", "capped", 1),
            workload("Deployment", "unshared", 4),
            workload("Deployment", "drifted", 5),
            workload("Deployment", "without-server", 9),
        ]);
    }
    list(&[workload("StatefulSet", "fine", 1), workload("StatefulSet", "drifted", 2)])
}

async fn read(client: &Client, namespace: Option<&str>) -> Result<Inventory, String> {
    let inventory = cluster::read(client, namespace, |_| {}).await;
    inventory.map_err(|error| with_causes(&error))
}

/// Name, finding and remedy of each finding.
fn texts(findings: &[Finding]) -> Vec<(&str, &str, &str)> {
    findings.iter().map(|one| (one.name.as_str(), one.finding.as_str(), one.remedy.as_str())).collect()
}

#[tokio::test]
async fn finds_each_kind_of_problem() {
    let (client, _) = client(respond);
    let inventory = read(&client, None).await.expect("can be read");
    let findings = findings(&inventory, SessionStorage::Memory);
    assert_eq!(
        texts(&findings),
        [
            (
                "capped",
                "spec.replicas is 3; transport stdio supports 1",
                "set spec.replicas to 1, or use another transport"
            ),
            (
                "capped",
                "status.conditions are missing or stale",
                "have ToolHive's operator (v0.13 or newer) or this reconciler write them"
            ),
            (
                "drifted",
                "Deployment is set to 5 replicas instead of 1",
                "kubectl scale deployment drifted --replicas=1"
            ),
            ("invalid", "spec.transport has a value that ToolHive's CRD does not allow", "correct the field"),
            ("large", "spec.replicas has a value that ToolHive's CRD does not allow", "correct the field"),
            ("unshared", "4 replicas do not share sessions", "set spec.sessionStorage.provider to redis"),
        ]
    );
    let drifted = &findings[2];
    assert_eq!((drifted.declared.as_str(), drifted.live.as_str()), ("1/2", "5/2"));
    assert_eq!((drifted.transport.as_str(), drifted.storage.as_str()), ("sse", "redis"));
    assert_eq!(findings[5].live, "4/-");
}

#[tokio::test]
async fn applies_the_default_storage_to_findings_but_not_to_conditions_of_toolhive() {
    let (client, _) = client(|target| {
        if let Some(response) = discovery(target) {
            return response;
        }
        if target.contains("/mcpservers?") {
            let conditions = json!([
                {"type": "StdioReplicaCapped", "status": "False", "reason": "StdioReplicaCapNotActive"},
                {"type": "SessionStorageWarning", "status": "True", "reason": "SessionStorageMissingForReplicas"}
            ]);
            return list(&[mcpserver("default", json!({"transport": "sse", "replicas": 3}), conditions)]);
        }
        list(&[workload("Deployment", "default", 3)])
    });
    let inventory = read(&client, None).await.expect("can be read");
    assert_eq!(findings(&inventory, SessionStorage::Redis), [], "the conditions are those that operators write");
    let with_memory = findings(&inventory, SessionStorage::Memory);
    let remedy = "set spec.sessionStorage.provider to redis";
    assert_eq!(texts(&with_memory), [("default", "3 replicas do not share sessions", remedy)]);
    assert_eq!(with_memory[0].storage, "memory");
}

#[tokio::test]
async fn reads_only_what_it_needs_and_writes_nothing() {
    let (client, requests) = client(respond);
    read(&client, Some("default")).await.expect("can be read");
    let requests = requests.lock().expect("no thread panicked while it held the lock").clone();
    let reads: Vec<&str> = requests.iter().map(String::as_str).filter(|request| request.contains('?')).collect();
    assert_eq!(
        reads,
        [
            "GET /apis/toolhive.stacklok.dev/v1beta1/namespaces/default/mcpservers?&limit=100",
            "GET /apis/apps/v1/namespaces/default/deployments?&labelSelector=app.kubernetes.io%2Fname%3Dmcpserver%2Ctoolhive%3Dtrue&limit=100",
            "GET /apis/apps/v1/namespaces/default/statefulsets?&labelSelector=toolhive%3Dtrue&limit=100",
        ]
    );
    assert!(requests.iter().all(|request| request.starts_with("GET ")), "{requests:?}");
}

#[tokio::test]
async fn reads_all_pages_of_a_cluster() {
    let (client, requests) = client(|target| {
        if let Some(response) = discovery(target) {
            return response;
        }
        if !target.contains("/mcpservers?") {
            return list(&[]);
        }
        let page: usize = target.split_once("continue=p").map_or(0, |(_, page)| page.parse().expect("is a number"));
        let items: Vec<Value> = (0..100)
            .map(|index| mcpserver(&format!("s{page}-{index}"), json!({"transport": "sse"}), json!([])))
            .collect();
        let next = if page < 2 { format!("p{}", page + 1) } else { String::new() };
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}))
    });
    let mut progress = Vec::new();
    let inventory = cluster::read(&client, None, |read| progress.push(read)).await;
    assert_eq!(inventory.expect("can be read").server_count(), 300);
    assert_eq!(progress, [100, 200, 300, 300, 300]);
    assert_eq!(
        requests
            .lock()
            .expect("no thread panicked while it held the lock")
            .iter()
            .filter(|it| it.contains("mcpservers?"))
            .count(),
        3
    );
}

#[tokio::test]
async fn names_the_cause_where_the_cluster_cannot_be_read() {
    let (client_without_toolhive, _) =
        client(|_| (200, json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})));
    let error = read(&client_without_toolhive, None).await.expect_err("has no ToolHive");
    assert!(error.contains("is ToolHive installed?"), "{error}");

    let (forbidden, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target.contains("/mcpservers?") => list(&[]),
        None => failure(403, "Forbidden"),
    });
    let error = read(&forbidden, None).await.expect_err("may not be read");
    assert!(error.contains("cannot list deployments") && error.contains("Forbidden"), "{error}");
}

#[test]
fn aligns_the_columns_of_the_table() {
    let finding = |name: &str, finding: &str| Finding {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        transport: "stdio".to_owned(),
        declared: "3/-".to_owned(),
        live: "1/1".to_owned(),
        storage: "memory".to_owned(),
        finding: finding.to_owned(),
        remedy: "correct it".to_owned(),
    };
    assert_eq!(
        table(&[finding("a", "wrong"), finding("longer", "ü")], 2),
        "NAMESPACE   NAME     TRANSPORT   DECLARED   LIVE   STORAGE   FINDING   REMEDY\n\
         default     a        stdio       3/-        1/1    memory    wrong     correct it\n\
         default     longer   stdio       3/-        1/1    memory    ü         correct it"
    );
    assert_eq!(table(&[], 7), "No problems found in 7 MCPServers.");
}
