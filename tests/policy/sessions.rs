//! Shows the warnings about sessions that Redis alone does not keep together, each with its audit annotation: transport `sse`
//! with several backends, backends without a proxy, `proxyMode: sse`, and an embedded auth server in memory.

use mcp_scaling_rules::{ServerKind, Workload};
use serde_json::{Value, json};

use fixtures::{AUTOSCALER, Case, OPERATOR, create, mcpserver, scale, selector, server, statefulset, with};

/// Asserts the only warning and annotation of a person's request, that nobody else is warned, and that
/// `sessionStorage: ignore` turns both off.
#[track_caller]
fn assert_warns(case: impl Fn() -> Case, annotation: &str, warning: &str) {
    let outcome = case().run();
    assert_eq!((outcome.refusal(), outcome.changes()), (None, Vec::new()));
    assert_eq!(outcome.warnings(), [warning]);
    assert_eq!(outcome.annotations(), [annotation]);
    let by_operator = case().by(OPERATOR).run();
    assert_eq!((by_operator.warnings(), by_operator.annotations()), (Vec::new(), vec![annotation.to_owned()]));
    case().settings(json!({"sessionStorage": "ignore"})).run().assert_accepted_as_is("ignored");
}

fn with_redis(mut spec: Value) -> Value {
    spec["sessionStorage"] = json!({"provider": "redis", "address": "redis:6379"});
    spec
}

#[test]
fn warns_about_several_backends_with_transport_sse() {
    let warning = |count: u32| {
        format!(
            "transport sse keeps each session in 1 of {count} backends, with Redis too; use transport streamable-http"
        )
    };
    let declared = || create(mcpserver(with_redis(json!({"transport": "sse", "backendReplicas": 2}))));
    assert_warns(declared, "sse-backends=spec.backendReplicas=2", &warning(2));
    let found = mcpserver(with_redis(json!({"transport": "sse"})));
    let scaled = || scale("statefulsets", selector(Workload::StatefulSet), 1, 3).lookup_finds(&found);
    assert_warns(scaled, "sse-backends=spec.replicas=3", &warning(3));
    let created = || create(statefulset(3, "sse")).lookup_finds(&found);
    assert_warns(created, "sse-backends=spec.replicas=3", &warning(3));
    assert_eq!(scaled().by(AUTOSCALER).run().warnings(), [""; 0]);
}

#[test]
fn recommends_no_redis_where_it_does_not_help() {
    let outcome = create(mcpserver(json!({"transport": "sse", "backendReplicas": 2}))).run();
    assert_eq!(outcome.warnings().len(), 1, "{:?}", outcome.warnings());
    assert!(outcome.warnings()[0].starts_with("transport sse keeps each session in 1 of 2 backends"));
    let annotations = ["sessions-at-risk=spec.backendReplicas=2", "sse-backends=spec.backendReplicas=2"];
    assert_eq!(outcome.annotations(), annotations);
}

#[test]
fn warns_about_more_backends_than_proxies() {
    for transport in ["streamable-http", "sse"] {
        let spec = json!({"transport": transport, "replicas": 2, "backendReplicas": 3});
        let outcome = create(mcpserver(with_redis(spec))).run();
        assert_eq!(
            outcome.warnings().last().map(String::as_str),
            Some("3 backends for 2 proxies: each proxy sends all requests to 1 backend, so the others get none")
        );
    }
    let spec = with_redis(json!({"transport": "streamable-http", "replicas": 2, "backendReplicas": 3}));
    assert_warns(
        || create(mcpserver(spec.clone())),
        "idle-backends=spec.backendReplicas=3 spec.replicas=2",
        "3 backends for 2 proxies: each proxy sends all requests to 1 backend, so the others get none",
    );
    for (replicas, backends) in
        [(json!(2), json!(2)), (json!(0), json!(3)), (json!(null), json!(3)), (json!(3), json!(2))]
    {
        let counts = json!({"transport": "streamable-http", "replicas": replicas, "backendReplicas": backends});
        create(mcpserver(with_redis(counts.clone()))).run().assert_accepted_as_is(&counts.to_string());
    }
}

#[test]
fn warns_about_proxy_mode_sse_of_a_stdio_server() {
    for transport in [json!("stdio"), json!(null)] {
        assert_warns(
            || create(mcpserver(json!({"transport": transport, "proxyMode": "sse"}))),
            "proxy-mode=sse",
            "with proxyMode sse, ToolHive up to v0.50 sends each answer to every connected client; use streamable-http",
        );
    }
    for spec in [
        json!({"transport": "stdio", "proxyMode": "streamable-http"}),
        json!({"transport": "sse", "proxyMode": "sse"}),
        json!({"transport": "streamable-http", "proxyMode": "sse"}),
    ] {
        create(mcpserver(spec.clone())).run().assert_accepted_as_is(&format!("ToolHive ignores the mode: {spec}"));
    }
}

#[test]
fn warns_about_an_embedded_auth_server_in_memory() {
    let spec = |storage: Value, replicas: u32| {
        with_redis(json!({"replicas": replicas, "authServerConfig": {"issuer": "https://x", "storage": storage}}))
    };
    for storage in [json!(null), json!({}), json!({"type": "memory"})] {
        assert_warns(
            || create(server(ServerKind::VirtualMcpServer.name(), spec(storage.clone(), 2))),
            "auth-server-storage=spec.replicas=2",
            "2 replicas do not share logins with an auth server in memory; set authServerConfig.storage.type to redis",
        );
    }
    for (case, spec) in [
        ("Redis", spec(json!({"type": "redis"}), 2)),
        ("one replica", spec(json!(null), 1)),
        ("no auth server", with_redis(json!({"replicas": 2}))),
        ("a type that ToolHive does not know", spec(json!({"type": "etcd"}), 2)),
        ("a malformed type", spec(json!({"type": 7}), 2)),
    ] {
        create(server(ServerKind::VirtualMcpServer.name(), spec)).run().assert_accepted_as_is(case);
    }
    let other_kind = with(mcpserver(spec(json!(null), 2)), "/spec/transport", json!("streamable-http"));
    create(other_kind).run().assert_accepted_as_is("an MCPServer has no such field");
}
