//! Statements that hold for every request, checked with random requests, settings and custom resources: which fields the
//! policy may change, when it may raise a count, and that a second evaluation changes nothing.

use std::sync::Arc;

use mcp_scaling_rules::{ServerKind, SessionStorage, Transport, Workload, labels};
use policy_host::cluster::Cluster;
use policy_host::host::{Host, empty};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{
    AUTOSCALER, Case, GRACE_PERIOD, OPERATOR, PERSON, PROXY_RUNNER, create, deployment, policy, scale, selector,
    server, statefulset, update, with,
};

/// The paths that the policy may change.
const PATHS: [&str; 5] = [
    "/spec/replicas",
    "/spec/backendReplicas",
    GRACE_PERIOD,
    "/metadata/annotations",
    "/metadata/annotations/mcpserver-scaling-policy~1requested-replicas",
];

/// The object of a request: its state before, where the request is an update, and after.
#[derive(Clone, Debug)]
enum Target {
    CustomResource { kind: &'static str, old: Option<Value>, new: Value },
    Deployment { kind: &'static str, old: Option<u32>, had_owner: bool, new: Option<u32>, grace: Option<i64> },
    StatefulSet { old: Option<u32>, had_owner: bool, new: Option<u32>, transport: &'static str },
    Scale { workload: Workload, old: u32, new: u32 },
}

/// A request and everything that the response depends on.
#[derive(Clone, Debug)]
struct Scenario {
    target: Target,
    /// The spec of the custom resource that a lookup finds. Without one, a lookup finds nothing.
    found: Option<Value>,
    settings: Value,
    user: &'static str,
}

impl Scenario {
    fn case(&self) -> Case {
        let case = match &self.target {
            Target::CustomResource { kind, old: None, new } => create(server(kind, new.clone())),
            Target::CustomResource { kind, old: Some(old), new } => {
                update(server(kind, old.clone()), server(kind, new.clone()))
            }
            Target::Deployment { kind, old, had_owner, new, grace } => {
                let mut object = deployment(1);
                object["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
                let old = old.map(|old| with(object.clone(), "/spec/replicas", json!(old)));
                let old = old.map(|old| if *had_owner { old } else { foreign(old) });
                let new = with(object, "/spec/replicas", new.map(|new| json!(new)));
                create_or_update(old, with(new, GRACE_PERIOD, grace.map(|grace| json!(grace))))
            }
            Target::StatefulSet { old, had_owner, new, transport } => {
                let new = with(statefulset(1, transport), "/spec/replicas", new.map(|new| json!(new)));
                let old = old.map(|old| statefulset(old, transport));
                create_or_update(old.map(|old| if *had_owner { old } else { foreign(old) }), new)
            }
            Target::Scale { workload, old, new } => scale(workload.resource(), selector(*workload), *old, *new),
        };
        case.by(self.user).settings(self.settings.clone()).host(self.host())
    }

    fn host(&self) -> Arc<dyn Host> {
        let Some(spec) = &self.found else {
            return empty();
        };
        let manifests: Vec<String> =
            ServerKind::ALL.iter().map(|kind| server(kind.name(), spec.clone()).to_string()).collect();
        Arc::new(Cluster::from_manifests(&manifests.join("\n---\n")).expect("are manifests"))
    }
}

/// A workload that is not ToolHive's.
fn foreign(workload: Value) -> Value {
    with(with(workload, "/metadata/ownerReferences", None), "/metadata/labels", json!({labels::APP: "nginx"}))
}

/// A request to update the object, or to create it where there is no old one.
fn create_or_update(old: Option<Value>, new: Value) -> Case {
    match old {
        None => create(new),
        Some(old) => update(old, new),
    }
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&ServerKind::ALL).prop_map(ServerKind::name)
}

/// Counts, most of them close to the limit of 1.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..=3u32, 1 => 0..=i32::MAX as u32]
}

fn spec() -> impl Strategy<Value = Value> {
    let transports = [Transport::Stdio, Transport::Sse, Transport::StreamableHttp].map(Transport::name);
    let transport = option::of(prop::sample::select(transports.to_vec()));
    let storages = [SessionStorage::Memory, SessionStorage::Redis].map(SessionStorage::name);
    let storage = option::of(prop::sample::select(storages.to_vec()));
    (transport, option::of(count()), option::of(count()), storage).prop_map(
        |(transport, replicas, backend, storage)| {
            let mut spec = json!({"image": "x"});
            for (name, value) in [
                ("transport", transport.map(Value::from)),
                ("replicas", replicas.map(Value::from)),
                ("backendReplicas", backend.map(Value::from)),
                ("sessionStorage", storage.map(|provider| json!({"provider": provider}))),
            ] {
                if let Some(value) = value {
                    spec[name] = value;
                }
            }
            spec
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (kind(), option::of(spec()), spec()).prop_map(|(kind, old, new)| Target::CustomResource { kind, old, new }),
        (kind(), option::of(count()), any::<bool>(), option::of(count()), option::of(-1..60i64))
            .prop_map(|(kind, old, had_owner, new, grace)| Target::Deployment { kind, old, had_owner, new, grace }),
        (option::of(count()), any::<bool>(), option::of(count()), prop::sample::select(&["stdio", "sse", ""]))
            .prop_map(|(old, had_owner, new, transport)| Target::StatefulSet { old, had_owner, new, transport }),
        (prop::sample::select(&Workload::ALL), count(), count()).prop_map(|(workload, old, new)| Target::Scale {
            workload,
            old,
            new
        }),
    ]
}

fn settings() -> impl Strategy<Value = Value> {
    let excess = || prop::sample::select(&["cap", "reject", "warn"]);
    let sessions = prop::sample::select(&["warn", "reject", "ignore"]);
    let storage = prop::sample::select(&["memory", "redis"]);
    let lookup = prop::sample::select(&["allow", "reject"]);
    (excess(), excess(), sessions, storage, 0..90i64, any::<bool>(), lookup, any::<bool>()).prop_map(
        |(stdio, declared, sessions, storage, grace, preserve, lookup, autoscalers)| {
            json!({
                "stdioReplicas": stdio, "declaredReplicas": declared, "sessionStorage": sessions,
                "defaultSessionStorage": storage, "terminationGracePeriodSeconds": grace,
                "preserveScaling": preserve, "onLookupFailure": lookup, "readAutoscalers": autoscalers
            })
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let user = prop::sample::select(&[PERSON, OPERATOR, PROXY_RUNNER, AUTOSCALER]);
    (target(), option::weighted(0.9, spec()), settings(), user).prop_map(|(target, found, settings, user)| Scenario {
        target,
        found,
        settings,
        user,
    })
}

/// JSON with the members of every object in reverse order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev().map(|(name, value)| format!("{}:{}", json!(name), reversed(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// The response of the module to a payload.
fn response(payload: &str, host: Arc<dyn Host>) -> Value {
    let response = policy().call("validate", payload.as_bytes(), host).expect("the module answers");
    serde_json::from_slice(&response).expect("is JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changes_nothing_in_a_second_evaluation(scenario in scenario()) {
        let first = scenario.case().run();
        if first.response.allowed {
            let second = scenario.case().with_member("object", first.object()).run();
            prop_assert!(second.response.allowed);
            prop_assert_eq!(second.changes(), Vec::<String>::new());
        }
    }

    #[test]
    fn changes_only_the_documented_paths(scenario in scenario()) {
        let outcome = scenario.case().run();
        for change in outcome.changes() {
            let path = change.split_once('=').expect("has a value").0.to_owned();
            prop_assert!(PATHS.contains(&path.as_str()), "{}", path);
        }
    }

    #[test]
    fn changes_nothing_with_corrections_reject(scenario in scenario()) {
        let mut settings = scenario.settings.clone();
        let changes = scenario.case().run();
        settings["corrections"] = json!("reject");
        let outcome = scenario.case().settings(settings).run();
        prop_assert_eq!(outcome.changes(), Vec::<String>::new());
        // An audit asks about every object as if a person created it, and reports each one that the policy would change.
        let is_creation = scenario.case().payload().contains("\"operation\":\"CREATE\"");
        if is_creation && scenario.user == PERSON && !changes.changes().is_empty() {
            prop_assert!(outcome.refusal().is_some(), "{:?}", changes.changes());
        }
    }

    #[test]
    fn raises_a_count_only_to_the_declared_or_the_old_one(scenario in scenario()) {
        let (old, requested, declared) = match &scenario.target {
            Target::Deployment { old, new, .. } => (*old, new.unwrap_or(1), "replicas"),
            Target::StatefulSet { old, new, .. } => (*old, new.unwrap_or(1), "backendReplicas"),
            Target::Scale { old, new, .. } => (Some(*old), *new, ""),
            Target::CustomResource { .. } => return Ok(()),
        };
        let outcome = scenario.case().run();
        let count = outcome.object()["spec"]["replicas"].as_u64();
        if let Some(count) = count.filter(|count| *count > u64::from(requested)) {
            let declared = scenario.found.as_ref().and_then(|spec| spec[declared].as_u64());
            // A declared count above 1 of a stdio server is capped at 1.
            let is_one = count == 1;
            prop_assert!(is_one || Some(count) == declared || Some(count) == old.map(u64::from), "{}", count);
        }
    }

    #[test]
    fn validates_a_dry_run_like_any_request(scenario in scenario()) {
        let real = scenario.case().run().response;
        let dry = scenario.case().with_member("dryRun", json!(true)).run().response;
        prop_assert_eq!(real, dry);
    }

    #[test]
    fn ignores_the_order_of_members(scenario in scenario()) {
        let payload = scenario.case().payload();
        let reversed_payload = reversed(&serde_json::from_str(&payload).expect("is JSON"));
        prop_assert_eq!(response(&payload, scenario.host()), response(&reversed_payload, scenario.host()));
    }

    #[test]
    fn ignores_workloads_that_are_not_toolhives(scenario in scenario()) {
        let case = match &scenario.target {
            Target::CustomResource { .. } => return Ok(()),
            Target::Deployment { old, new, .. } => {
                let old = old.map(|old| foreign(deployment(old)));
                create_or_update(old, foreign(with(deployment(1), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::StatefulSet { old, new, transport, .. } => {
                let old = old.map(|old| foreign(statefulset(old, transport)));
                create_or_update(old, foreign(with(statefulset(1, transport), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::Scale { workload, old, new } => scale(workload.resource(), "app=nginx", *old, *new),
        };
        // A lookup fails the test here.
        case.by(scenario.user).settings(scenario.settings.clone()).run().assert_accepted_as_is("not ToolHive's");
    }
}
