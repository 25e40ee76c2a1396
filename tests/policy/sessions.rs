//! Shows the warnings about sessions that Redis alone does not keep together, each with its audit annotation: transport `sse`
//! with several backends, backends without a proxy, `proxyMode: sse`, and an embedded auth server whose pods do not share logins.

use mcp_scaling_rules::{ServerKind, Workload};
use serde_json::{Value, json};

use fixtures::case::{
    AUTOSCALER, Case, OPERATOR, create, deployment, mcpserver, scale, selector, server, statefulset, update, with,
};

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
    let scaled = || scale("statefulsets", &selector(Workload::StatefulSet), 1, 3).lookup_finds(&found);
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
    let server = mcpserver(with_redis(json!({"transport": "streamable-http", "replicas": 2, "backendReplicas": 3})));
    assert_warns(
        || update(server.clone(), server.clone()),
        "idle-backends=spec.backendReplicas=3 spec.replicas=2",
        "3 backends for 2 proxies: each proxy sends all requests to 1 backend, so the others get none",
    );
    for (replicas, backends) in
        [(json!(2), json!(2)), (json!(0), json!(3)), (json!(null), json!(3)), (json!(3), json!(2))]
    {
        let counts = json!({"transport": "streamable-http", "replicas": replicas, "backendReplicas": backends});
        let server = mcpserver(with_redis(counts.clone()));
        update(server.clone(), server).run().assert_accepted_as_is(&counts.to_string());
    }
}

#[test]
fn warns_about_several_backends_among_which_sessions_move() {
    let warning = |count: u32| {
        format!("{count} backends: when proxies change, sessions lose what a backend has in memory, with Redis too")
    };
    let server = |backends: u32| {
        mcpserver(with_redis(json!({"transport": "streamable-http", "replicas": 1, "backendReplicas": backends})))
    };
    let declared = create(server(2)).run();
    assert_eq!(declared.warnings().first(), Some(&warning(2)));
    assert!(declared.annotations().contains(&"unpinned-backends=spec.backendReplicas=2".to_owned()));
    let found = mcpserver(with_redis(json!({"transport": "streamable-http"})));
    let scaled = || scale("statefulsets", &selector(Workload::StatefulSet), 1, 3).lookup_finds(&found);
    assert_warns(scaled, "unpinned-backends=spec.replicas=3", &warning(3));
    let lowered = || scale("statefulsets", &selector(Workload::StatefulSet), 3, 2).lookup_finds(&found);
    assert_warns(lowered, "unpinned-backends=spec.replicas=2", &warning(2));
    for (old, new) in [(3, 3), (3, 1), (1, 1), (3, 0)] {
        let outcome = scale("statefulsets", &selector(Workload::StatefulSet), old, new).lookup_finds(&found).run();
        assert!(!outcome.annotations().concat().contains("unpinned"), "{old} to {new}");
    }
    let stdio = mcpserver(with_redis(json!({"transport": "stdio", "replicas": 1, "backendReplicas": 2})));
    assert!(update(stdio, server(2)).run().warnings().contains(&warning(2)), "another transport");
    let proxies = scale("deployments", &selector(Workload::Deployment), 1, 3).lookup_finds(&found).run();
    proxies.assert_accepted_as_is("Redis keeps the sessions of the proxies");
}

#[test]
fn warns_about_proxy_mode_sse_of_a_stdio_server() {
    for transport in [json!("stdio"), json!(null)] {
        assert_warns(
            || create(mcpserver(json!({"transport": transport, "proxyMode": "sse"}))),
            "proxy-mode=sse",
            "with proxyMode sse, ToolHive up to v0.50 sends each answer to every connected client; use proxyMode streamable-http",
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

/// A `VirtualMCPServer` with sessions in Redis and this auth server.
fn virtual_server(replicas: Option<u32>, auth_server: Value) -> Value {
    let spec = with_redis(json!({"replicas": replicas, "authServerConfig": auth_server}));
    server(ServerKind::VirtualMcpServer.name(), spec)
}

/// The configuration of an auth server with this storage and references to its keys.
fn with_keys(storage: Value) -> Value {
    let refs = json!([{"name": "keys", "key": "current"}]);
    json!({"issuer": "https://x", "storage": storage, "signingKeySecretRefs": refs, "hmacSecretRefs": refs})
}

#[test]
fn warns_about_logins_that_the_pods_of_an_embedded_auth_server_do_not_share() {
    let redis = || with_keys(json!({"type": "redis"}));
    for (auth_server, annotation, missing) in [
        (json!({"issuer": "https://x"}), "storage", "storage.type redis, signingKeySecretRefs, hmacSecretRefs"),
        (with_keys(json!(null)), "storage", "storage.type redis"),
        (with_keys(json!({})), "storage", "storage.type redis"),
        (with_keys(json!({"type": "memory"})), "storage", "storage.type redis"),
        (with(redis(), "/signingKeySecretRefs", None), "keys", "signingKeySecretRefs"),
        (with(redis(), "/hmacSecretRefs", json!([])), "keys", "hmacSecretRefs"),
        (json!({"issuer": "https://x", "storage": {"type": "redis"}}), "keys", "signingKeySecretRefs, hmacSecretRefs"),
    ] {
        assert_warns(
            || create(virtual_server(Some(2), auth_server.clone())),
            &format!("auth-server-{annotation}=spec.replicas=2"),
            &format!("2 replicas do not share logins; authServerConfig needs {missing}"),
        );
    }
    create(virtual_server(Some(2), redis())).run().assert_accepted_as_is("all is shared");
}

#[test]
fn warns_about_logins_whoever_asks_for_the_replicas() {
    let (unsafe_server, safe) = (
        virtual_server(None, json!({"issuer": "https://x"})),
        virtual_server(None, with_keys(json!({"type": "redis"}))),
    );
    let owned = |count| {
        let kind = json!(ServerKind::VirtualMcpServer.name());
        with(deployment(count), "/metadata/ownerReferences/0/kind", kind)
    };
    let selector = "app=virtualmcpserver,app.kubernetes.io/name=virtualmcpserver,toolhive=true,toolhive-name=github";
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"});
    let autoscaler = |api_version, kind, spec: Value| {
        let metadata = json!({"name": "web", "namespace": "default"});
        json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    };
    let hpa = |maximum: u32| {
        let spec = json!({"scaleTargetRef": target, "maxReplicas": maximum});
        autoscaler("autoscaling/v2", "HorizontalPodAutoscaler", spec)
    };
    let scaled_object = || autoscaler("keda.sh/v1alpha1", "ScaledObject", json!({"scaleTargetRef": target}));
    let needs = "do not share logins; authServerConfig needs storage.type redis, signingKeySecretRefs, hmacSecretRefs";
    type Request<'r> = &'r dyn Fn() -> Case;
    for (case, annotation, count) in [
        (&|| scale("deployments", selector, 1, 3) as Case, "spec.replicas=3", "3"),
        (&|| create(owned(2)), "spec.replicas=2", "2"),
        (&|| create(hpa(5)), "maximum=5", "several"),
        (&|| create(scaled_object()), "maximum=100", "several"),
    ] as [(Request<'_>, &str, &str); 4]
    {
        assert_warns(
            || case().lookup_finds(&unsafe_server),
            &format!("auth-server-storage={annotation}"),
            &format!("{count} replicas {needs}"),
        );
        case().lookup_finds(&safe).run().assert_accepted_as_is("all is shared");
    }
    let edited = update(owned(1), owned(3)).lookup_finds(&unsafe_server).run();
    assert_eq!(edited.warnings(), [format!("3 replicas {needs}")]);
    for case in [scale("deployments", selector, 3, 1), update(owned(3), owned(1)), create(hpa(1))] {
        case.lookup_finds(&unsafe_server).run().assert_accepted_as_is("one replica");
    }
}

/// Another object configures it, which the policy does not read: the warning is true for each configuration.
#[test]
fn tells_what_the_pods_of_an_auth_server_in_another_object_have_to_share() {
    let requirement = |count: &str| {
        format!(
            "{count} replicas share logins only if their auth server has Redis, signingKeySecretRefs, hmacSecretRefs"
        )
    };
    let reference = json!({"kind": "MCPExternalAuthConfig", "name": "auth"});
    let spec = |transport: &str, members: Value| {
        let mut spec = with_redis(members);
        spec["transport"] = json!(transport);
        spec["authServerRef"] = reference.clone();
        spec
    };
    for kind in [ServerKind::McpServer, ServerKind::McpRemoteProxy].map(ServerKind::name) {
        let server = |members: Value| server(kind, spec("streamable-http", members));
        assert_warns(
            || create(server(json!({"replicas": 2}))),
            "auth-server-referenced=spec.replicas=2",
            &requirement("2"),
        );
        let owned = || with(deployment(3), "/metadata/ownerReferences/0/kind", json!(kind));
        assert_warns(
            || create(owned()).lookup_finds(&server(json!({}))),
            "auth-server-referenced=spec.replicas=3",
            &requirement("3"),
        );
        create(server(json!({"replicas": 1}))).run().assert_accepted_as_is("one replica");
    }
    let found = mcpserver(spec("streamable-http", json!({})));
    let proxies = scale("deployments", &selector(Workload::Deployment), 1, 3).lookup_finds(&found);
    assert_eq!(proxies.run().warnings(), [requirement("3")]);
    let backends = scale("statefulsets", &selector(Workload::StatefulSet), 1, 3).lookup_finds(&found).run();
    assert_eq!(backends.annotations(), ["unpinned-backends=spec.replicas=3"], "the proxies have the auth server");
    let stdio = create(mcpserver(spec("stdio", json!({"replicas": 3})))).run();
    assert_eq!(stdio.warnings(), ["transport stdio supports 1 replica; spec.replicas requests 3"]);
}

#[test]
fn warns_about_memory_beside_a_default_redis() {
    let warning =
        "memory gets the address of ToolHive's default Redis without its password; remove spec.sessionStorage";
    let case = |kind: ServerKind, storage: Value, default: &str| {
        let server = server(kind.name(), json!({"sessionStorage": storage}));
        create(server).settings(json!({"defaultSessionStorage": default}))
    };
    let memory = || json!({"provider": "memory"});
    for kind in [ServerKind::McpServer, ServerKind::VirtualMcpServer] {
        let outcome = case(kind, memory(), "redis").run();
        assert_eq!(outcome.warnings(), [warning]);
        assert_eq!(outcome.annotations(), ["default-redis=memory"]);
        assert_eq!(case(kind, memory(), "redis").by(OPERATOR).run().warnings(), [""; 0]);
        case(kind, json!(null), "redis").run().assert_accepted_as_is("it gets the password too");
        case(kind, json!({"provider": "redis"}), "redis").run().assert_accepted_as_is("Redis of its own");
        case(kind, memory(), "memory").run().assert_accepted_as_is("no default Redis");
    }
    let proxy = case(ServerKind::McpRemoteProxy, memory(), "redis");
    proxy.run().assert_accepted_as_is("the default applies where the storage is absent");
}

#[test]
fn ignores_auth_servers_that_it_does_not_know() {
    let spec = |storage: Value, replicas: u32| {
        with_redis(json!({"replicas": replicas, "authServerConfig": with_keys(storage)}))
    };
    for (case, spec) in [
        ("Redis", spec(json!({"type": "redis"}), 2)),
        ("one replica", spec(json!(null), 1)),
        ("no auth server", with_redis(json!({"replicas": 2}))),
        ("a type that ToolHive does not know", spec(json!({"type": "etcd"}), 2)),
        ("a malformed type", spec(json!({"type": 7}), 2)),
        ("a malformed storage", spec(json!("redis"), 2)),
        ("a malformed auth server", with_redis(json!({"replicas": 2, "authServerConfig": "x"}))),
    ] {
        create(server(ServerKind::VirtualMcpServer.name(), spec)).run().assert_accepted_as_is(case);
    }
    let other_kind = with(mcpserver(spec(json!(null), 2)), "/spec/transport", json!("streamable-http"));
    create(other_kind).run().assert_accepted_as_is("an MCPServer has no such field");
}
