//! `check` against an API server with fixed responses: the requests that it makes, and the findings.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use mcp_scaling_rules::SessionStorage;
use mcpserver_scaling_reconciler::check::{self, Finding, Report, table};
use mcpserver_scaling_reconciler::error::with_causes;
use mcpserver_scaling_reconciler::options::StorageSource;
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
    if target.contains("/statefulsets?") {
        return list(&[workload("StatefulSet", "fine", 1), workload("StatefulSet", "drifted", 2)]);
    }
    rest(target)
}

/// The responses of an API server without autoscalers, to a caller who may read everything else.
fn rest(target: &str) -> StatusAndBody {
    match target.split_once('?').map_or(target, |(path, _)| path).rsplit('/').next() {
        Some("horizontalpodautoscalers") => failure(403, "Forbidden"),
        Some("deployments" | "statefulsets" | "mcpservers") => list(&[]),
        Some("default") => (200, json!({"metadata": {"name": "default"}})),
        Some(_) => (200, json!({"metadata": {"managedFields": []}})),
        None => failure(404, "NotFound"),
    }
}

async fn run(client: &Client, namespace: Option<&str>, storage: SessionStorage) -> Result<Report, String> {
    check::run(client, namespace, StorageSource::Spec { default: storage }, |_| {})
        .await
        .map_err(|error| with_causes(&error))
}

/// The findings for the whole cluster.
async fn findings(client: &Client) -> Vec<Finding> {
    run(client, None, SessionStorage::Memory).await.expect("can be read").findings
}

/// Name, finding and remedy of each finding.
fn texts(findings: &[Finding]) -> Vec<(&str, &str, &str)> {
    findings.iter().map(|one| (one.name.as_str(), one.finding.as_str(), one.remedy.as_str())).collect()
}

#[tokio::test]
async fn finds_each_kind_of_problem() {
    let (client, _) = client(respond);
    let findings = findings(&client).await;
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
                "Deployment is set to 5 replicas instead of 1, set by a writer that managedFields does not name",
                "kubectl scale deployment drifted --namespace default --replicas=1"
            ),
            (
                "drifted",
                "2 backends do not share sessions of transport sse",
                "use transport streamable-http, or 1 backend: Redis does not help"
            ),
            ("invalid", "spec.transport has a value that ToolHive's CRD does not allow", "correct the field"),
            ("large", "spec.replicas has a value that ToolHive's CRD does not allow", "correct the field"),
            (
                "unshared",
                "4 replicas do not share sessions, set by a writer that managedFields does not name",
                "set spec.sessionStorage.provider to redis (ToolHive v0.16 or newer)"
            ),
        ]
    );
    let drifted = &findings[2];
    assert_eq!((drifted.declared.as_str(), drifted.set_to.as_str()), ("1/2", "5/2"));
    assert_eq!((drifted.transport.as_str(), drifted.storage.as_str()), ("sse", "redis"));
    assert_eq!(findings[6].set_to, "4/-");
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
        if target.contains("/deployments?") {
            return list(&[workload("Deployment", "default", 3)]);
        }
        rest(target)
    });
    let with_redis = run(&client, None, SessionStorage::Redis).await.expect("can be read");
    assert_eq!(with_redis.findings, [], "the conditions are those that operators write");
    let with_memory = findings(&client).await;
    let remedy = "set spec.sessionStorage.provider to redis (ToolHive v0.16 or newer)";
    assert_eq!(
        texts(&with_memory),
        [("default", "3 replicas do not share sessions, set by a writer that managedFields does not name", remedy)]
    );
    assert_eq!(with_memory[0].storage, "memory");
}

#[tokio::test]
async fn reads_only_what_it_needs_and_writes_nothing() {
    let (client, requests) = client(respond);
    run(&client, Some("default"), SessionStorage::Memory).await.expect("can be read");
    let requests = requests.lock().expect("no thread panicked while it held the lock").clone();
    let reads: Vec<&str> = requests.iter().map(String::as_str).filter(|request| request.contains('?')).collect();
    assert_eq!(
        reads,
        [
            "GET /apis/toolhive.stacklok.dev/v1beta1/namespaces/default/mcpservers?&limit=50",
            "GET /apis/apps/v1/namespaces/default/deployments?&labelSelector=app.kubernetes.io%2Fname%3Dmcpserver%2Ctoolhive%3Dtrue&limit=50",
            "GET /apis/apps/v1/namespaces/default/statefulsets?&labelSelector=toolhive%3Dtrue&limit=50",
            "GET /apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers?&limit=50",
        ]
    );
    let others: Vec<&str> = requests
        .iter()
        .map(String::as_str)
        .filter(|target| target.starts_with("GET /api/") || !target.contains('?'))
        .collect();
    assert_eq!(
        others[3..],
        [
            "GET /api/v1/namespaces/default",
            "GET /apis/apps/v1/namespaces/default/deployments/drifted",
            "GET /apis/apps/v1/namespaces/default/deployments/unshared",
        ],
        "after discovery, the namespace and the workloads with a wrong count"
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
            return rest(target);
        }
        let page: usize = target.split_once("continue=p").map_or(0, |(_, page)| page.parse().expect("is a number"));
        let items: Vec<Value> = (0..100)
            .map(|index| mcpserver(&format!("s{page}-{index}"), json!({"transport": "sse"}), json!([])))
            .collect();
        let next = if page < 2 { format!("p{}", page + 1) } else { String::new() };
        (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": next}, "items": items}))
    });
    let source = StorageSource::Spec { default: SessionStorage::Memory };
    let mut progress = Vec::new();
    let report = check::run(&client, None, source, |read| progress.push(read)).await;
    assert_eq!(report.expect("can be read").servers, 300);
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
    let error = run(&client_without_toolhive, None, SessionStorage::Memory).await.expect_err("has no ToolHive");
    assert!(error.contains("is ToolHive installed?"), "{error}");

    let (forbidden, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target.contains("/mcpservers?") => list(&[]),
        None => failure(403, "Forbidden"),
    });
    let error = run(&forbidden, None, SessionStorage::Memory).await.expect_err("may not be read");
    assert!(error.contains("cannot list deployments") && error.contains("Forbidden"), "{error}");
}

#[tokio::test]
async fn refuses_a_namespace_that_does_not_exist() {
    let (client, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target == "GET /api/v1/namespaces/typo" => failure(404, "NotFound"),
        None if target.starts_with("GET /api/v1/namespaces/") => failure(403, "Forbidden"),
        None => rest(target),
    });
    let error = run(&client, Some("typo"), SessionStorage::Memory).await.expect_err("does not exist");
    assert_eq!(error, "the namespace typo does not exist");
    let report = run(&client, Some("forbidden"), SessionStorage::Memory).await;
    assert_eq!(report.expect("may be listed").servers, 0);
}

#[tokio::test]
async fn leaves_out_servers_that_are_being_deleted() {
    let (client, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target.contains("/mcpservers?") => {
            let mut deleted = mcpserver("deleted", json!({"replicas": 3}), json!([]));
            deleted["metadata"]["deletionTimestamp"] = "2026-11-20T00:00:00Z".into();
            list(&[deleted, mcpserver("kept", json!({"replicas": 1}), json!([]))])
        }
        None => rest(target),
    });
    let report = run(&client, None, SessionStorage::Memory).await.expect("can be read");
    assert_eq!((report.findings, report.servers), (Vec::new(), 1));
}

#[tokio::test]
async fn begins_a_list_anew_when_its_continue_token_has_expired() {
    for (expired_answers, is_ok) in [(1, true), (5, true), (6, false)] {
        let answers = Mutex::new(0);
        let (client, _) = client(move |target| match discovery(target) {
            Some(response) => response,
            None if target.contains("/mcpservers?") && target.contains("continue=") => {
                let mut answers = answers.lock().expect("no thread panicked while it held the lock");
                *answers += 1;
                match *answers <= expired_answers {
                    true => failure(410, "Expired"),
                    false => list(&[mcpserver("second", json!({"replicas": 1}), json!([]))]),
                }
            }
            None if target.contains("/mcpservers?") => {
                let items = [mcpserver("first", json!({"replicas": 1}), json!([]))];
                (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": "token"}, "items": items}))
            }
            None => rest(target),
        });
        let report = run(&client, None, SessionStorage::Memory).await;
        assert_eq!(report.map(|report| report.servers).ok(), is_ok.then_some(2), "{expired_answers} expired answers");
    }
}

#[tokio::test]
async fn finds_unshared_sessions_by_the_storage_that_is_really_used() {
    let (client, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target.contains("/mcpservers?") => {
            let spec = json!({"transport": "sse", "sessionStorage": {"provider": "memory"}});
            list(&["memory", "redis", "unknown"].map(|name| mcpserver(name, spec.clone(), json!([]))))
        }
        None if target.contains("/deployments?") => {
            list(&["memory", "redis", "unknown"].map(|name| workload("Deployment", name, 3)))
        }
        None if target.contains("/configmaps?") => {
            let config_map = |name: &str, content: &str| json!({"metadata": {"namespace": "default", "name": name}, "data": {"runconfig.json": content}});
            let redis = r#"{"scaling_config": {"session_redis": {}}}"#;
            list(&[config_map("memory-runconfig", "{}"), config_map("redis-runconfig", redis)])
        }
        None => rest(target),
    });
    let with_default_redis = |name| {
        (
            name,
            "spec.sessionStorage.provider is memory, and the proxies get the address of the operator's default Redis \
             without its password: if it has one, they fail at start",
            "remove spec.sessionStorage, or name that Redis there",
        )
    };
    let report = check::run(&client, None, StorageSource::RunConfig, |_| {}).await.expect("can be read");
    assert_eq!(
        texts(&report.findings),
        [
            (
                "memory",
                "3 replicas do not share sessions, set by a writer that managedFields does not name",
                "set spec.sessionStorage.provider to redis (ToolHive v0.16 or newer)"
            ),
            with_default_redis("redis"),
        ]
    );
    let report = run(&client, None, SessionStorage::Redis).await.expect("can be read");
    assert_eq!(texts(&report.findings), ["memory", "redis", "unknown"].map(with_default_redis));
}

#[tokio::test]
async fn finds_servers_of_which_one_workload_is_at_zero() {
    let (client, _) = client(|target| match discovery(target) {
        Some(response) => response,
        None if target.contains("/mcpservers?") => {
            let spec = json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}});
            let names = ["asleep", "fine", "kept", "without-backend", "without-proxies"];
            list(&names.map(|name| mcpserver(name, spec.clone(), json!([]))))
        }
        None if target.contains("/deployments?") => list(&[
            workload("Deployment", "asleep", 0),
            workload("Deployment", "fine", 1),
            workload("Deployment", "kept", 1),
            workload("Deployment", "without-backend", 1),
            workload("Deployment", "without-proxies", 0),
        ]),
        None if target.contains("/statefulsets?") => {
            let mut kept = workload("StatefulSet", "kept", 0);
            kept["metadata"]["annotations"] = json!({"mcpserver-scaling-policy/replicas-before-zero": "3"});
            list(&[
                workload("StatefulSet", "asleep", 0),
                workload("StatefulSet", "fine", 1),
                kept,
                workload("StatefulSet", "without-backend", 0),
                workload("StatefulSet", "without-proxies", 1),
            ])
        }
        None if target.contains("/without-proxies") => {
            let entry = json!({"manager": "kubectl", "operation": "Update", "subresource": "scale", "time": "2026-11-20T10:00:00Z",
                               "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
            (200, json!({"metadata": {"managedFields": [entry]}}))
        }
        None => rest(target),
    });
    let scale =
        |name: &str, count: u32| format!("kubectl scale statefulset {name} --namespace default --replicas={count}");
    assert_eq!(
        texts(&findings(&client).await),
        [
            (
                "kept",
                "StatefulSet is set to 0 replicas, set by a writer that managedFields does not name: the proxies fail without a backend",
                scale("kept", 3).as_str()
            ),
            (
                "without-backend",
                "StatefulSet is set to 0 replicas, set by a writer that managedFields does not name: the proxies fail without a backend",
                scale("without-backend", 1).as_str()
            ),
            (
                "without-proxies",
                "Deployment is set to 0 replicas, set by field manager kubectl: the backend runs without a proxy",
                format!("{}, and up again with the proxies", scale("without-proxies", 0)).as_str()
            ),
        ]
    );
}

#[tokio::test]
async fn finds_what_autoscalers_do_to_backends() {
    let (client, _) = client(|target| {
        if let Some(response) = discovery(target) {
            return response;
        }
        let autoscaler = |name: &str, kind: &str, minimum: u32, owners: Value| {
            let target = json!({"apiVersion": "apps/v1", "kind": kind, "name": name});
            let metadata = json!({"namespace": "default", "name": name, "ownerReferences": owners});
            let spec = json!({"minReplicas": minimum, "maxReplicas": 5, "scaleTargetRef": target});
            json!({"metadata": metadata, "spec": spec})
        };
        let names = ["asleep", "split", "split-by-hpa", "stopped-by-keda", "to-zero"];
        if target.contains("/mcpservers?") {
            let spec = |transport| json!({"transport": transport, "sessionStorage": {"provider": "redis"}});
            return list(&names.map(|name| {
                let transport = if name.starts_with("split") { "sse" } else { "streamable-http" };
                mcpserver(name, spec(transport), json!([]))
            }));
        }
        if target.contains("/deployments?") {
            return list(&names.map(|name| workload("Deployment", name, u32::from(name != "asleep"))));
        }
        if target.contains("/statefulsets?") {
            let count = |name: &str| match name {
                "stopped-by-keda" => 0,
                _ if name.starts_with("split") => 2,
                _ => 1,
            };
            return list(&names.map(|name| workload("StatefulSet", name, count(name))));
        }
        if target.contains("/horizontalpodautoscalers?") {
            let keda = json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "keda", "uid": "u"}]);
            return list(&[
                autoscaler("asleep", "Deployment", 1, keda.clone()),
                autoscaler("split-by-hpa", "StatefulSet", 1, json!([])),
                autoscaler("stopped-by-keda", "StatefulSet", 1, keda),
                autoscaler("to-zero", "StatefulSet", 0, json!([])),
            ]);
        }
        rest(target)
    });
    assert_eq!(
        texts(&findings(&client).await),
        [
            (
                "asleep",
                "Deployment is set to 0 replicas, set by ScaledObject keda: the backend runs without a proxy",
                "run this reconciler with --couple-zero, which stops and starts the backend with its proxies"
            ),
            (
                "split",
                "2 backends do not share sessions of transport sse",
                "use transport streamable-http, or 1 backend: Redis does not help"
            ),
            (
                "split-by-hpa",
                "transport sse keeps each session in one backend, with Redis too; HorizontalPodAutoscaler split-by-hpa may \
                 request 5",
                "use transport streamable-http, or scale the Deployment only"
            ),
            (
                "stopped-by-keda",
                "when proxies change, sessions lose what their backend has in memory, with Redis too; ScaledObject keda may request 5",
                "scale the Deployment only, unless the server keeps nothing of a session in memory"
            ),
            (
                "stopped-by-keda",
                "StatefulSet is set to 0 replicas, set by ScaledObject keda: the proxies fail without a backend",
                "set the minimum of ScaledObject keda to 1 or more, and kubectl scale statefulset stopped-by-keda \
                 --namespace default --replicas=1"
            ),
            (
                "to-zero",
                "HorizontalPodAutoscaler to-zero may stop the backend under running proxies, which then fail",
                "set minReplicas of HorizontalPodAutoscaler to-zero to 1 or more"
            ),
            (
                "to-zero",
                "when proxies change, sessions lose what their backend has in memory, with Redis too; HorizontalPodAutoscaler to-zero may request 5",
                "scale the Deployment only, unless the server keeps nothing of a session in memory"
            ),
        ]
    );
}

#[tokio::test]
async fn names_the_owner_of_a_wrong_count() {
    let (client, _) = client(|target| {
        if let Some(response) = discovery(target) {
            return response;
        }
        let redis = json!({"provider": "redis"});
        let autoscaler = |name: &str, target: &str, owners: Value| {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": target});
            let metadata = json!({"namespace": "default", "name": name, "ownerReferences": owners});
            json!({"metadata": metadata, "spec": {"maxReplicas": 5, "scaleTargetRef": target}})
        };
        let names = ["by-person", "by-hpa", "by-keda", "stdio-by-hpa", "unshared-by-hpa"];
        if target.contains("/mcpservers?") {
            let declared = json!({"transport": "sse", "replicas": 1, "sessionStorage": redis});
            let [person, hpa, keda] =
                ["by-person", "by-hpa", "by-keda"].map(|name| mcpserver(name, declared.clone(), json!([])));
            let stdio = mcpserver("stdio-by-hpa", json!({}), json!([]));
            return list(&[
                person,
                hpa,
                keda,
                stdio,
                mcpserver("unshared-by-hpa", json!({"transport": "sse"}), json!([])),
            ]);
        }
        if target.contains("/deployments?") {
            return list(&names.map(|name| workload("Deployment", name, 3)));
        }
        if target.contains("/horizontalpodautoscalers?") {
            let scaled_object =
                json!([{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "keda", "uid": "u"}]);
            return list(&[
                autoscaler("by-hpa", "by-hpa", json!([])),
                autoscaler("keda-hpa", "by-keda", scaled_object),
                autoscaler("stdio-by-hpa", "stdio-by-hpa", json!([])),
                autoscaler("unshared-by-hpa", "unshared-by-hpa", json!([])),
            ]);
        }
        if target.contains("/deployments/") {
            let entry = json!({"manager": "kubectl", "operation": "Update", "subresource": "scale", "time": "2026-11-20T10:00:00Z",
                               "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
            return (200, json!({"metadata": {"managedFields": [entry]}}));
        }
        rest(target)
    });
    let findings = findings(&client).await;
    assert_eq!(
        texts(&findings),
        [
            (
                "by-hpa",
                "Deployment is set to 3 replicas instead of 1, set by HorizontalPodAutoscaler by-hpa",
                "kubectl delete horizontalpodautoscaler by-hpa --namespace default, or remove spec.replicas"
            ),
            (
                "by-keda",
                "Deployment is set to 3 replicas instead of 1, set by ScaledObject keda",
                "kubectl delete scaledobject keda --namespace default, or remove spec.replicas"
            ),
            (
                "by-person",
                "Deployment is set to 3 replicas instead of 1, set by field manager kubectl",
                "kubectl scale deployment by-person --namespace default --replicas=1"
            ),
            (
                "stdio-by-hpa",
                "Deployment is set to 3 replicas instead of 1, set by HorizontalPodAutoscaler stdio-by-hpa",
                "kubectl delete horizontalpodautoscaler stdio-by-hpa --namespace default"
            ),
            (
                "unshared-by-hpa",
                "3 replicas do not share sessions, set by HorizontalPodAutoscaler unshared-by-hpa",
                "set spec.sessionStorage.provider to redis (ToolHive v0.16 or newer)"
            ),
        ]
    );
}

#[test]
fn aligns_the_columns_of_the_table() {
    let finding = |name: &str, finding: &str| Finding {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        transport: "stdio".to_owned(),
        declared: "3/-".to_owned(),
        set_to: "1/1".to_owned(),
        storage: "memory".to_owned(),
        finding: finding.to_owned(),
        remedy: "correct it".to_owned(),
    };
    assert_eq!(
        table(&[finding("a", "wrong"), finding("longer", "ü")], 2),
        "NAMESPACE   NAME     TRANSPORT   DECLARED   SET   STORAGE   FINDING   REMEDY\n\
         default     a        stdio       3/-        1/1   memory    wrong     correct it\n\
         default     longer   stdio       3/-        1/1   memory    ü         correct it"
    );
    assert_eq!(table(&[], 7), "No problems found in 7 MCPServers.");
}
