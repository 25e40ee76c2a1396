//! Shows when the policy reports that one of the two workloads of an `MCPServer` is stopped and the other one is not.

use mcp_scaling_rules::Workload;
use serde_json::{Value, json};

use fixtures::case::{
    AUTOSCALER, Case, OPERATOR, PROXY_RUNNER, create, deployment, mcpserver, scale, selector, server, statefulset,
    update, with,
};

const BACKEND: &str = "a backend runs on without proxies; kubectl -n default scale sts github --replicas=0 stops it";
const PROXIES: &str =
    "running proxies fail without a backend; kubectl -n default scale deploy github --replicas=0 stops them";

const STAYS_AT_ZERO: &str =
    "nothing starts a backend at 0 with its proxies but the reconciler's --couple-zero; scale it up too";
const DECLARED_ZERO: &str =
    "spec.backendReplicas 0 keeps the backend stopped when its proxies start again; raise it then";
const STARTS_ALONE: &str =
    "the proxies fail if their backend is at 0; without the reconciler's --couple-zero, scale the StatefulSet too";

/// A `streamable-http` server with sessions in Redis and these other members of its spec.
fn spec(members: &Value) -> Value {
    let mut spec = json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis"}});
    spec.as_object_mut().expect("is an object").extend(members.as_object().expect("is an object").clone());
    spec
}

/// An update of a workload of the server github from one count to another.
fn workload_update(workload: Workload, old: u32, new: u32) -> Case {
    match workload {
        Workload::Deployment => update(deployment(old), deployment(new)),
        Workload::StatefulSet => update(statefulset(old, "streamable-http"), statefulset(new, "streamable-http")),
    }
}

fn scale_update(workload: Workload, old: u32, new: u32) -> Case {
    scale(workload.resource(), &selector(workload), old, new)
}

/// The warnings and the audit annotation if `field` stops this workload of a server alone, which declares these counts.
fn report(workload: Workload, field: &str, declared: &Value) -> (Vec<&'static str>, [String; 1]) {
    let runs = |name: &str| declared[name].as_u64().is_some_and(|count| count > 0);
    let stays = if declared["backendReplicas"] == 0 { DECLARED_ZERO } else { STAYS_AT_ZERO };
    match workload {
        // A proxy that starts sets the declared count.
        Workload::Deployment if runs("backendReplicas") => {
            (vec![BACKEND], [format!("backend-keeps-running={field}=0")])
        }
        Workload::Deployment => (vec![BACKEND, stays], [format!("backend-keeps-running={field}=0")]),
        Workload::StatefulSet => {
            // The operator would undo `kubectl scale` of a declared count.
            let declared = "running proxies fail without a backend; set spec.replicas to 0 too";
            let warning = if runs("replicas") { declared } else { PROXIES };
            (vec![warning, stays], [format!("proxies-without-backend={field}=0")])
        }
    }
}

#[test]
fn reports_a_workload_that_a_person_stops_alone() {
    use Workload::{Deployment, StatefulSet};
    for (workload, declared, old, new, is_reported) in [
        (Deployment, json!({}), 1, 0, true),
        (Deployment, json!({}), 3, 0, true),
        (Deployment, json!({"backendReplicas": 2}), 3, 0, true),
        (Deployment, json!({}), 0, 0, false),
        (Deployment, json!({}), 3, 1, false),
        // Both are stopped.
        (Deployment, json!({"backendReplicas": 0}), 3, 0, false),
        // It is declared, and was reported then.
        (Deployment, json!({"replicas": 0}), 0, 0, false),
        (StatefulSet, json!({}), 1, 0, true),
        (StatefulSet, json!({"replicas": 1}), 3, 0, true),
        (StatefulSet, json!({}), 0, 0, false),
        (StatefulSet, json!({}), 3, 1, false),
        (StatefulSet, json!({"replicas": 0}), 3, 0, false),
    ] {
        for case in [workload_update, scale_update] {
            let server = mcpserver(spec(&declared));
            let outcome = case(workload, old, new).lookup_finds(&server).run();
            let description = format!("{workload:?} with {declared} from {old} to {new}");
            if is_reported {
                let (warnings, annotations) = report(workload, "spec.replicas", &declared);
                assert_eq!(outcome.warnings(), warnings, "{description}");
                assert_eq!(outcome.annotations(), annotations, "{description}");
                assert_eq!((outcome.changes().len(), outcome.lookups.len()), (0, 1), "{description}");
            } else {
                outcome.assert_accepted_as_is(&description);
            }
        }
    }
}

#[test]
fn reports_nothing_if_a_declared_count_takes_the_place_of_0() {
    for (workload, field) in [(Workload::Deployment, "replicas"), (Workload::StatefulSet, "backendReplicas")] {
        let server = mcpserver(spec(&json!({field: 2})));
        let overrides = format!("spec.{field} of MCPServer github is 2 and overrides the requested 0");
        let declared = |case: Case| case.lookup_finds(&server).settings(json!({"sessionStorage": "ignore"})).run();
        let of_scale = match workload {
            Workload::Deployment => overrides.clone(),
            Workload::StatefulSet => {
                format!("spec.{field} of MCPServer github is 2 and is set again when a proxy starts")
            }
        };
        assert_eq!(declared(scale_update(workload, 2, 0)).warnings(), [of_scale]);
        let outcome = declared(workload_update(workload, 2, 0));
        assert_eq!(outcome.changes(), ["/spec/replicas=2"]);
        assert_eq!(outcome.warnings(), [overrides]);
        assert_eq!(outcome.annotations(), ["replicas=requested=0 wanted=2 reason=declared"]);
    }
}

#[test]
fn reports_nothing_if_a_declared_0_takes_the_place_of_another_count() {
    let server = mcpserver(spec(&json!({"replicas": 0})));
    let outcome = workload_update(Workload::Deployment, 3, 2).lookup_finds(&server).run();
    assert_eq!(outcome.changes(), ["/spec/replicas=0"]);
    assert_eq!(outcome.warnings(), ["spec.replicas of MCPServer github is 0 and overrides the requested 2"]);
}

#[test]
fn tells_a_person_who_starts_only_the_proxies_of_the_backend() {
    for (declared, old, new, is_reported) in [
        (json!({}), 0, 1, true),
        (json!({}), 0, 3, true),
        (json!({"backendReplicas": 0}), 0, 1, true),
        // A proxy that starts sets the declared count.
        (json!({"backendReplicas": 2}), 0, 1, false),
        (json!({}), 1, 2, false),
        (json!({}), 0, 0, false),
    ] {
        let server = mcpserver(spec(&declared));
        let description = format!("{declared} from {old} to {new}");
        for case in [workload_update, scale_update] {
            let outcome = case(Workload::Deployment, old, new).lookup_finds(&server).run();
            if is_reported {
                let stays = "the proxies fail without a backend: spec.backendReplicas is 0; raise it too";
                let expected = if declared == json!({}) { STARTS_ALONE } else { stays };
                assert_eq!(outcome.warnings(), [expected], "{description}");
                assert_eq!(outcome.annotations(), [format!("proxies-started-alone=spec.replicas={new}")]);
            } else {
                outcome.assert_accepted_as_is(&description);
            }
        }
        let by_keda = scale_update(Workload::Deployment, old, new).by(AUTOSCALER).lookup_finds(&server).run();
        assert_eq!(by_keda.warnings(), [""; 0], "nobody reads it: {description}");
        let with_count = |count: u32| {
            let mut members = declared.clone();
            members["replicas"] = json!(count);
            mcpserver(spec(&members))
        };
        let outcome = update(with_count(old), with_count(new)).run();
        let is_told = outcome.warnings().iter().any(|warning| warning == STARTS_ALONE);
        assert_eq!(is_told, is_reported && declared == json!({}), "{description}: {:?}", outcome.warnings());
    }
    let backend = scale_update(Workload::StatefulSet, 0, 1).lookup_finds(&mcpserver(spec(&json!({}))));
    backend.run().assert_accepted_as_is("the backend alone");
}

#[test]
fn tells_a_person_who_no_longer_declares_that_the_backend_is_stopped() {
    let server = |members: Value| mcpserver(spec(&members));
    let told = |old, new| {
        let warnings = update(server(old), server(new)).run().warnings();
        warnings.iter().any(|warning| warning.starts_with("a backend at 0 stays there without spec.backendReplicas"))
    };
    assert!(told(json!({"backendReplicas": 0}), json!({})));
    assert!(told(json!({"replicas": 1, "backendReplicas": 0}), json!({"replicas": 1})));
    assert!(!told(json!({"replicas": 0, "backendReplicas": 0}), json!({"replicas": 0})), "there are no proxies");
    assert!(!told(json!({"backendReplicas": 2}), json!({})), "it runs");
    assert!(!told(json!({"backendReplicas": 0}), json!({"backendReplicas": 1})), "the declared count is set");
}

#[test]
fn tells_nobody_of_proxies_that_a_declared_count_keeps_stopped() {
    let server = mcpserver(spec(&json!({"replicas": 0})));
    let warnings = scale_update(Workload::Deployment, 0, 2).lookup_finds(&server).run().warnings();
    assert_eq!(warnings, ["spec.replicas of MCPServer github is 0 and overrides the requested 2"]);
}

#[test]
fn reports_declared_counts_that_stop_one_workload() {
    let both = json!({"replicas": 0, "backendReplicas": 0});
    let none = json!({});
    for (old, new, stopped) in [
        (Some(none.clone()), json!({"replicas": 0}), Some(Workload::Deployment)),
        (Some(json!({"replicas": 2})), json!({"replicas": 0}), Some(Workload::Deployment)),
        (Some(none.clone()), json!({"replicas": 0, "backendReplicas": 1}), Some(Workload::Deployment)),
        (Some(json!({"replicas": 0})), json!({"replicas": 0}), None),
        (Some(json!({"replicas": 0})), json!({"replicas": 0, "backendReplicas": 2}), None),
        (Some(none.clone()), both.clone(), None),
        // A proxy makes the backend, so that there is none yet.
        (None, json!({"replicas": 0}), None),
        (None, both.clone(), None),
        (None, json!({"backendReplicas": 0}), Some(Workload::StatefulSet)),
        (None, json!({"replicas": 1, "backendReplicas": 0}), Some(Workload::StatefulSet)),
        (Some(none.clone()), json!({"backendReplicas": 0}), Some(Workload::StatefulSet)),
        (Some(json!({"backendReplicas": 2})), json!({"backendReplicas": 0}), Some(Workload::StatefulSet)),
        // A count that is no longer declared stays as it was.
        (Some(both.clone()), json!({"replicas": 0}), None),
        (Some(both.clone()), json!({"backendReplicas": 0}), None),
        (Some(json!({"replicas": 1, "backendReplicas": 0})), json!({"replicas": 0}), None),
        (Some(json!({"backendReplicas": 0})), json!({"backendReplicas": 0}), None),
    ] {
        let server = |members: &Value| mcpserver(spec(members));
        let case = match &old {
            Some(old) => update(server(old), server(&new)),
            None => create(server(&new)),
        };
        let outcome = case.settings(json!({"sessionStorage": "ignore"})).run();
        let description = format!("{old:?} to {new}");
        match stopped {
            Some(workload) => {
                let (warnings, annotations) = report(workload, workload.declared_in(), &new);
                assert_eq!(outcome.warnings()[..warnings.len()], warnings, "{description}");
                assert_eq!(outcome.annotations(), annotations, "{description}");
            }
            None => {
                let is_reported = |text: &String| text.contains("without");
                assert!(!outcome.warnings().iter().any(is_reported), "{description}: {:?}", outcome.warnings());
                assert_eq!(outcome.annotations(), [""; 0], "{description}");
            }
        }
    }
}

#[test]
fn tells_a_person_who_declares_proxies_and_no_backend_that_only_the_proxies_start() {
    let server = |members: Value| mcpserver(spec(&members));
    for old in [
        json!({"replicas": 0, "backendReplicas": 0}),
        json!({"replicas": 0}),
        json!({"replicas": 0, "backendReplicas": 1}),
    ] {
        let started = server(json!({"replicas": 1, "backendReplicas": 0}));
        let outcome = update(server(old.clone()), started).settings(json!({"sessionStorage": "ignore"})).run();
        let warning = "the proxies fail without a backend: spec.backendReplicas is 0; raise it too";
        assert_eq!(outcome.warnings(), [warning], "{old}: there are no proxies to restart");
        assert_eq!(outcome.annotations(), ["proxies-started-alone=spec.replicas=1"], "{old}");
    }
}

#[test]
fn says_of_a_freed_backend_that_it_stays_only_if_the_policy_keeps_it_there() {
    let server = |members: Value| mcpserver(spec(&members));
    for (settings, is_told) in
        [(json!({}), true), (json!({"preserveScaling": false}), false), (json!({"corrections": "reject"}), false)]
    {
        let case = update(server(json!({"backendReplicas": 0})), server(json!({})));
        let annotations = case.settings(settings.clone()).run().annotations().concat();
        assert_eq!(annotations.contains("proxies-without-backend"), is_told, "{settings}");
    }
}

#[test]
fn writes_audit_annotations_but_no_warnings_for_controllers() {
    let server = mcpserver(spec(&json!({})));
    for user in [OPERATOR, PROXY_RUNNER, AUTOSCALER] {
        for workload in Workload::ALL {
            let settings = json!({"preserveScaling": false});
            let case = workload_update(workload, 2, 0).by(user).settings(settings).lookup_finds(&server);
            let outcome = case.run();
            assert_eq!(outcome.warnings(), [""; 0], "{user}");
            assert_eq!(outcome.annotations(), report(workload, "spec.replicas", &json!({})).1, "{user}");
        }
        let stopped = mcpserver(spec(&json!({"replicas": 0})));
        let outcome = update(server.clone(), stopped).by(user).run();
        assert_eq!(outcome.annotations(), ["backend-keeps-running=spec.replicas=0"], "{user}");
    }
}

#[test]
fn reports_nothing_of_kinds_without_a_backend() {
    for kind in ["VirtualMCPServer", "MCPRemoteProxy"] {
        let server = |members: Value| with(server(kind, spec(&members)), "/spec/transport", None);
        update(server(json!({"replicas": 2})), server(json!({"replicas": 0}))).run().assert_accepted_as_is(kind);
        let owned = |count: u32| with(deployment(count), "/metadata/ownerReferences/0/kind", json!(kind));
        let case = update(owned(2), owned(0)).lookup_finds(&server(json!({})));
        case.run().assert_accepted_as_is(kind);
    }
}

#[test]
fn reports_nothing_if_the_server_is_not_found() {
    let other = with(mcpserver(json!({})), "/metadata/name", json!("other"));
    // The label says stdio.
    update(statefulset(1, "stdio"), statefulset(0, "stdio"))
        .lookup_finds(&other)
        .run()
        .assert_accepted_as_is("a StatefulSet without an MCPServer");
}

/// The first warning if a person stops the workload that `field` declares, of a server with this name and namespace.
fn warning_of(name: &str, namespace: &str, field: &str) -> String {
    let named = |members: Value| with(mcpserver(spec(&members)), "/metadata/name", json!(name));
    let case = update(named(json!({})), named(json!({field: 0}))).with_member("namespace", json!(namespace));
    case.run().warnings().remove(0)
}

#[test]
fn names_the_namespace_in_a_command() {
    assert_eq!(
        warning_of("github", "toolhive-system", "replicas"),
        "a backend runs on without proxies; kubectl -n toolhive-system scale sts github --replicas=0 stops it"
    );
    assert_eq!(
        warning_of("github", "toolhive-system", "backendReplicas"),
        "running proxies fail without a backend; kubectl -n toolhive-system scale deploy github --replicas=0 stops them"
    );
}

#[test]
fn gives_no_command_that_does_not_fit_into_a_warning() {
    let longest = |field: &str, without: &str| {
        let warnings = (1..=63).map(|length| (length, warning_of(&"n".repeat(length), "toolhive-system", field)));
        let (whole, other): (Vec<_>, Vec<_>) = warnings.partition(|(_, warning)| warning.contains("kubectl"));
        for (length, warning) in &whole {
            assert!(warning.contains(&format!(" {} --replicas=0 stops ", "n".repeat(*length))), "{warning}");
        }
        assert!(other.iter().all(|(_, warning)| warning == without), "{other:?}");
        whole.last().map(|(length, _)| *length)
    };
    let backend = "a backend runs on without proxies; scale the StatefulSet of the same name to 0 too";
    assert_eq!(longest("replicas", backend), Some(26));
    let proxies = "running proxies fail without a backend; scale the Deployment of the same name to 0 too";
    assert_eq!(longest("backendReplicas", proxies), Some(16));
}

#[test]
fn gives_no_command_for_a_name_that_comes_after_admission() {
    let generated = with(mcpserver(spec(&json!({"backendReplicas": 0}))), "/metadata/name", None);
    let warnings = create(with(generated, "/metadata/generateName", json!("github-"))).run().warnings();
    let stopped = "running proxies fail without a backend; scale the Deployment of the same name to 0 too";
    assert_eq!(warnings, [stopped, DECLARED_ZERO]);
}
