//! VirtualMCPServer and MCPRemoteProxy: the same rules as for MCPServer, but for the transport that they do not have.

use serde_json::{Value, json};

use crate::harness::{OPERATOR, create, deployment, server, update, with};

const KINDS: [(&str, &str); 2] = [("VirtualMCPServer", "virtualmcpserver"), ("MCPRemoteProxy", "mcpremoteproxy")];

fn owned_by(kind: &str, replicas: u32) -> Value {
    let mut deployment = deployment(replicas);
    deployment["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
    deployment
}

#[test]
fn they_are_never_stdio() {
    for (kind, _) in KINDS {
        let redis = json!({"replicas": 3, "sessionStorage": {"provider": "redis"}});
        create(server(kind, redis)).settings(json!({"declaredReplicas": "reject"})).run().assert_silent(kind);
        let settings = json!({"stdioReplicas": "reject", "sessionStorage": "ignore"});
        let case = update(owned_by(kind, 1), owned_by(kind, 3)).finds(&server(kind, json!({}))).settings(settings);
        case.run().assert_silent(kind);
    }
}

#[test]
fn sessions_at_risk_are_told() {
    for (kind, _) in KINDS {
        let expected =
            format!("spec.replicas 3 without Redis loses sessions; set sessionStorage.provider of the {kind} to redis");
        assert_eq!(create(server(kind, json!({"replicas": 3}))).run().warnings().join(""), expected);
        let scaled = update(owned_by(kind, 1), owned_by(kind, 3)).finds(&server(kind, json!({}))).run();
        assert_eq!(scaled.warnings(), [expected]);
    }
}

#[test]
fn their_deployments_get_the_declared_count_the_old_one_back_and_the_grace_floor() {
    for (kind, label) in KINDS {
        let declaring = server(kind, json!({"replicas": 3}));
        assert_eq!(create(owned_by(kind, 1)).finds(&declaring).run().changes(), ["/spec/replicas=3"]);
        let reset = update(owned_by(kind, 4), owned_by(kind, 1)).by(OPERATOR).finds(&server(kind, json!({}))).run();
        assert_eq!(reset.changes(), ["/spec/replicas=4"]);
        assert_eq!(reset.lookups, [format!("toolhive.stacklok.dev/v1beta1 {kind} default/github")]);
        let short = with(owned_by(kind, 1), "/spec/template/spec/terminationGracePeriodSeconds", json!(5));
        let outcome = update(owned_by(kind, 1), short).run();
        assert_eq!(outcome.changes(), ["/spec/template/spec/terminationGracePeriodSeconds=30"]);

        let by_label = with(deployment(1), "/metadata/ownerReferences", None);
        let by_label = with(by_label, "/metadata/labels/app.kubernetes.io~1name", json!(label));
        assert_eq!(create(by_label).finds(&declaring).run().changes(), ["/spec/replicas=3"]);
    }
}
