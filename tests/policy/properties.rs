//! Statements that hold for every request, checked with random requests, settings and custom resources: which fields the
//! policy may change, when it may raise a count, and that a second evaluation changes nothing.

use std::sync::Arc;

use fixtures::case::{GRACE_PERIOD, LIFECYCLE, PERSON, deployment, policy, scale, statefulset, with};
use fixtures::scenario::{Scenario, Target, create_or_update, foreign, scenario};
use policy_host::host::Host;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The paths that the policy may change.
const PATHS: [&str; 9] = [
    "/spec/replicas",
    "/spec/backendReplicas",
    GRACE_PERIOD,
    LIFECYCLE,
    "/metadata/annotations",
    "/metadata/annotations/mcpserver-scaling-policy~1requested-replicas",
    "/metadata/annotations/mcpserver-scaling-policy~1applied-generation",
    "/metadata/labels/toolhive-transport",
    "/spec/template/metadata/annotations/toolhive.stacklok.dev~1mcpserver-generation",
];

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

/// The payload of a request.
fn payload(scenario: &Scenario) -> Value {
    serde_json::from_str(&scenario.case().payload()).expect("is JSON")
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
        let payload = payload(&scenario);
        let old_template = payload.pointer("/request/oldObject/spec/template");
        let is_template_restored = outcome.object().pointer("/spec/template") == old_template;
        for change in outcome.changes() {
            let path = change.split_once('=').expect("has a value").0;
            let is_restored = is_template_restored && path.starts_with("/spec/template/");
            prop_assert!(PATHS.contains(&path) || is_restored, "{}", path);
        }
    }

    #[test]
    fn leaves_a_pod_template_that_a_request_leaves(scenario in scenario()) {
        let outcome = scenario.case().run();
        let payload = payload(&scenario);
        let old = payload.pointer("/request/oldObject/spec/template");
        if old.is_some() && old == payload.pointer("/request/object/spec/template") {
            let object = outcome.object();
            prop_assert_eq!(object.pointer("/spec/template"), old);
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
        let reversed_payload = reversed(&payload(&scenario));
        prop_assert_eq!(response(&scenario.case().payload(), scenario.host()), response(&reversed_payload, scenario.host()));
    }

    #[test]
    fn ignores_workloads_that_are_not_toolhives(scenario in scenario()) {
        let case = match &scenario.target {
            Target::CustomResource { .. } => return Ok(()),
            Target::Deployment { old, new, .. } => {
                let old = old.map(|old| foreign(deployment(old)));
                create_or_update(old, foreign(with(deployment(1), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::StatefulSet { old, new, transports, .. } => {
                let old = old.map(|old| foreign(statefulset(old, transports.0)));
                create_or_update(old, foreign(with(statefulset(1, transports.1), "/spec/replicas", new.map(|new| json!(new)))))
            }
            Target::Scale { workload, old, new } => scale(workload.resource(), "app=nginx", *old, *new),
        };
        // A lookup fails the test here.
        case.by(scenario.user).settings(scenario.settings.clone()).run().assert_accepted_as_is("not ToolHive's");
    }
}
