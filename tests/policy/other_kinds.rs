//! Shows that the rules for an `MCPServer` apply to a `VirtualMCPServer` and an `MCPRemoteProxy` as well, except the stdio
//! cap: neither can use transport `stdio`.

use mcp_scaling_rules::{ServerKind, labels};
use serde_json::{Value, json};

use fixtures::case::{GRACE_PERIOD, OPERATOR, create, deployment, server, update, with};

const KINDS: [ServerKind; 2] = [ServerKind::VirtualMcpServer, ServerKind::McpRemoteProxy];

/// A Deployment whose controller is a custom resource of this kind.
fn owned_by(kind: &str, replicas: u32) -> Value {
    let container_name = ServerKind::from_name(kind).expect("is a kind of server").container_name();
    let mut deployment = with(deployment(replicas), "/spec/template/spec/containers/0/name", json!(container_name));
    deployment["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
    deployment
}

#[test]
fn caps_no_other_kind() {
    for kind in KINDS.map(ServerKind::name) {
        let redis = json!({"replicas": 3, "sessionStorage": {"provider": "redis"}});
        create(server(kind, redis)).settings(json!({"declaredReplicas": "reject"})).run().assert_accepted_as_is(kind);
        let settings = json!({"stdioReplicas": "reject", "sessionStorage": "ignore"});
        let case =
            update(owned_by(kind, 1), owned_by(kind, 3)).lookup_finds(&server(kind, json!({}))).settings(settings);
        case.run().assert_accepted_as_is(kind);
    }
}

#[test]
fn warns_about_replicas_without_shared_sessions() {
    for (kind, since) in KINDS.map(ServerKind::name).into_iter().zip(["v0.16", "v0.30"]) {
        let expected = format!(
            "3 replicas without Redis: clients with sessions fail, most for good; {since}+: spec.sessionStorage.provider redis"
        );
        assert_eq!(create(server(kind, json!({"replicas": 3}))).run().warnings().join(""), expected);
        let scaled = update(owned_by(kind, 1), owned_by(kind, 3)).lookup_finds(&server(kind, json!({}))).run();
        assert_eq!(scaled.warnings(), [expected]);
    }
}

#[test]
fn applies_declared_counts_undoes_resets_and_raises_grace_periods() {
    for kind in KINDS {
        let (kind, app_name) = (kind.name(), kind.app_name());
        let declaring = server(kind, json!({"replicas": 3}));
        assert_eq!(create(owned_by(kind, 1)).lookup_finds(&declaring).run().changes(), ["/spec/replicas=3"]);
        let reset =
            update(owned_by(kind, 4), owned_by(kind, 1)).by(OPERATOR).lookup_finds(&server(kind, json!({}))).run();
        assert_eq!(reset.changes(), ["/spec/replicas=4"]);
        assert_eq!(reset.lookups, [format!("toolhive.stacklok.dev/v1beta1 {kind} default/github")]);
        let short = with(owned_by(kind, 1), GRACE_PERIOD, json!(5));
        let outcome = update(owned_by(kind, 1), short).run();
        assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=35"]);

        let mut by_label = with(deployment(1), "/metadata/ownerReferences", None);
        by_label["metadata"]["labels"][labels::APP_NAME] = json!(app_name);
        assert_eq!(create(by_label).lookup_finds(&declaring).run().changes(), ["/spec/replicas=3"]);
    }
}
