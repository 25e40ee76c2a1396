//! What must hold for every request, through the real module.

use std::sync::Arc;

use policy_host::cluster::Cluster;
use policy_host::host::Host;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{
    Case, DEPLOYMENT_SELECTOR, OPERATOR, PERSON, PROXY_RUNNER, STATEFULSET_SELECTOR, create, deployment, policy, scale,
    server, statefulset, update, with,
};

const GRACE: &str = "/spec/template/spec/terminationGracePeriodSeconds";

/// Every path that the policy may change.
const PATHS: [&str; 5] = [
    "/spec/replicas",
    "/spec/backendReplicas",
    GRACE,
    "/metadata/annotations",
    "/metadata/annotations/mcpserver-scaling-policy~1requested-replicas",
];

#[derive(Clone, Debug)]
enum Target {
    Server { kind: &'static str, old: Option<Value>, new: Value },
    Deployment { kind: &'static str, old: Option<u32>, was_ours: bool, new: Option<u32>, grace: Option<i64> },
    StatefulSet { old: Option<u32>, was_ours: bool, new: Option<u32>, transport: &'static str },
    Scale { resource: &'static str, old: u32, new: u32 },
}

#[derive(Clone, Debug)]
struct Scenario {
    target: Target,
    /// The spec of the custom resource that a lookup finds, if it finds one.
    found: Option<Value>,
    settings: Value,
    user: &'static str,
}

impl Scenario {
    fn case(&self) -> Case {
        let case = match &self.target {
            Target::Server { kind, old: None, new } => create(server(kind, new.clone())),
            Target::Server { kind, old: Some(old), new } => {
                update(server(kind, old.clone()), server(kind, new.clone()))
            }
            Target::Deployment { kind, old, was_ours, new, grace } => {
                let mut object = deployment(1);
                object["metadata"]["ownerReferences"][0]["kind"] = json!(kind);
                let old = old.map(|old| with(object.clone(), "/spec/replicas", json!(old)));
                let old = old.map(|old| if *was_ours { old } else { foreign(old) });
                let new = with(object, "/spec/replicas", new.map(|new| json!(new)));
                changed(old, with(new, GRACE, grace.map(|grace| json!(grace))))
            }
            Target::StatefulSet { old, was_ours, new, transport } => {
                let new = with(statefulset(1, transport), "/spec/replicas", new.map(|new| json!(new)));
                let old = old.map(|old| statefulset(old, transport));
                changed(old.map(|old| if *was_ours { old } else { foreign(old) }), new)
            }
            Target::Scale { resource, old, new } => {
                let selector = if *resource == "deployments" { DEPLOYMENT_SELECTOR } else { STATEFULSET_SELECTOR };
                scale(resource, selector, *old, *new)
            }
        };
        case.by(self.user).settings(self.settings.clone()).host(self.host())
    }

    fn host(&self) -> Arc<dyn Host> {
        let Some(spec) = &self.found else {
            return policy_host::host::empty();
        };
        let manifests: Vec<String> = KINDS.iter().map(|kind| server(kind, spec.clone()).to_string()).collect();
        Arc::new(Cluster::from_manifests(&manifests.join("\n---\n")).expect("are manifests"))
    }
}

/// A workload that is not ToolHive's.
fn foreign(workload: Value) -> Value {
    with(with(workload, "/metadata/ownerReferences", None), "/metadata/labels", json!({"app": "nginx"}))
}

fn changed(old: Option<Value>, new: Value) -> Case {
    match old {
        None => create(new),
        Some(old) => update(old, new),
    }
}

const KINDS: [&str; 3] = ["MCPServer", "VirtualMCPServer", "MCPRemoteProxy"];

fn kind() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&KINDS)
}

/// Counts around the edges more often than not.
fn count() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..=3u32, 1 => 0..=i32::MAX as u32]
}

fn spec() -> impl Strategy<Value = Value> {
    let transport = option::of(prop::sample::select(&["stdio", "sse", "streamable-http"]));
    let storage = option::of(prop::sample::select(&["memory", "redis"]));
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
        (kind(), option::of(spec()), spec()).prop_map(|(kind, old, new)| Target::Server { kind, old, new }),
        (kind(), option::of(count()), any::<bool>(), option::of(count()), option::of(-1..60i64))
            .prop_map(|(kind, old, was_ours, new, grace)| Target::Deployment { kind, old, was_ours, new, grace }),
        (option::of(count()), any::<bool>(), option::of(count()), prop::sample::select(&["stdio", "sse", ""]))
            .prop_map(|(old, was_ours, new, transport)| Target::StatefulSet { old, was_ours, new, transport }),
        (prop::sample::select(&["deployments", "statefulsets"]), count(), count())
            .prop_map(|(resource, old, new)| Target::Scale { resource, old, new }),
    ]
}

fn settings() -> impl Strategy<Value = Value> {
    let excess = || prop::sample::select(&["cap", "reject", "warn"]);
    let sessions = prop::sample::select(&["warn", "reject", "ignore"]);
    let storage = prop::sample::select(&["memory", "redis"]);
    let lookup = prop::sample::select(&["allow", "reject"]);
    (excess(), excess(), sessions, storage, 0..90i64, any::<bool>(), lookup).prop_map(
        |(stdio, declared, sessions, storage, grace, preserve, lookup)| {
            json!({
                "stdioReplicas": stdio, "declaredReplicas": declared, "sessionStorage": sessions,
                "defaultSessionStorage": storage, "terminationGracePeriodSeconds": grace,
                "preserveScaling": preserve, "onLookupFailure": lookup
            })
        },
    )
}

fn scenario() -> impl Strategy<Value = Scenario> {
    let user = prop::sample::select(&[
        PERSON,
        OPERATOR,
        PROXY_RUNNER,
        "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    ]);
    (target(), option::weighted(0.9, spec()), settings(), user).prop_map(|(target, found, settings, user)| Scenario {
        target,
        found,
        settings,
        user,
    })
}

/// JSON with the names of every object in reverse order.
fn backwards(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev().map(|(name, value)| format!("{}:{}", json!(name), backwards(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(backwards).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn answer(payload: &str, host: Arc<dyn Host>) -> Value {
    let answer = policy().call("validate", payload.as_bytes(), host).expect("the module answers");
    serde_json::from_slice(&answer).expect("is JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn once_is_enough(scenario in scenario()) {
        let first = scenario.case().run();
        if first.response.allowed {
            let second = scenario.case().request("object", first.object()).run();
            prop_assert!(second.response.allowed);
            prop_assert_eq!(second.changes(), Vec::<String>::new());
        }
    }

    #[test]
    fn only_the_named_paths_are_touched(scenario in scenario()) {
        let outcome = scenario.case().run();
        for change in outcome.changes() {
            let path = change.split_once('=').expect("has a value").0.to_owned();
            prop_assert!(PATHS.contains(&path.as_str()), "{}", path);
        }
    }

    #[test]
    fn counts_rise_only_to_a_declared_or_the_old_one_and_never_above_one_for_stdio(scenario in scenario()) {
        let (old, asked, declared) = match &scenario.target {
            Target::Deployment { old, new, .. } => (*old, new.unwrap_or(1), "replicas"),
            Target::StatefulSet { old, new, .. } => (*old, new.unwrap_or(1), "backendReplicas"),
            Target::Scale { old, new, .. } => (Some(*old), *new, ""),
            Target::Server { .. } => return Ok(()),
        };
        let outcome = scenario.case().run();
        let count = outcome.object()["spec"]["replicas"].as_u64();
        if let Some(count) = count.filter(|count| *count > u64::from(asked)) {
            let declared = scenario.found.as_ref().and_then(|spec| spec[declared].as_u64());
            let is_one = count == 1;
            prop_assert!(is_one || Some(count) == declared || Some(count) == old.map(u64::from), "{}", count);
        }
    }

    #[test]
    fn a_dry_run_is_judged_like_a_real_one(scenario in scenario()) {
        let real = scenario.case().run().response;
        let dry = scenario.case().request("dryRun", json!(true)).run().response;
        prop_assert_eq!(real, dry);
    }

    #[test]
    fn the_order_of_names_does_not_matter(scenario in scenario()) {
        let payload = scenario.case().payload();
        let reversed = backwards(&serde_json::from_str(&payload).expect("is JSON"));
        prop_assert_eq!(answer(&payload, scenario.host()), answer(&reversed, scenario.host()));
    }

    #[test]
    fn what_is_not_toolhives_is_never_touched_nor_warned_about(scenario in scenario()) {
        let case = match &scenario.target {
            Target::Server { .. } => return Ok(()),
            Target::Deployment { old, new, .. } => {
                let old = old.map(|old| foreign(deployment(old)));
                changed(old, foreign(with(deployment(1), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::StatefulSet { old, new, transport, .. } => {
                let old = old.map(|old| foreign(statefulset(old, transport)));
                changed(old, foreign(with(statefulset(1, transport), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::Scale { resource, old, new } => scale(resource, "app=nginx", *old, *new),
        };
        // Without a host, a lookup fails the test.
        case.by(scenario.user).settings(scenario.settings.clone()).run().assert_silent("foreign");
    }
}
