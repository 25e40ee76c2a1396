//! Writes conditions to the status of an `MCPServer`: a read-modify-write of the raw list, which keeps every other condition
//! and every unknown field as it is.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, Patch};
use kube::{Api, Client};
use mcp_scaling_rules::Condition;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::client::patch_params;
use crate::decide::events::Transition;
use crate::error::ReconcileError;
use crate::observe::server::{FreshServer, ListedCondition, ServerObject};

/// Writes the desired conditions with one patch, and returns those whose status changed. The patch is guarded by the
/// resource version that was read.
///
/// # Errors
/// [`ReconcileError::Call`] if the API server refuses the patch; a conflict if the object has changed since it was read.
pub(crate) async fn write_conditions(
    client: &Client,
    resource: &Arc<ApiResource>,
    fresh: &FreshServer,
    desired: &[Condition],
) -> Result<Vec<Transition>, ReconcileError> {
    #[derive(Debug, Serialize)]
    struct StatusPatch {
        metadata: Metadata,
        status: Status,
    }
    #[derive(Debug, Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        resource_version: String,
    }
    #[derive(Debug, Serialize)]
    struct Status {
        conditions: Vec<Box<RawValue>>,
    }

    let server = &fresh.server;
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (conditions, transitions) = with_conditions(&fresh.conditions, desired, server.generation, &now)?;
    let resource_version = fresh.resource_version.clone();
    let patch = StatusPatch { metadata: Metadata { resource_version }, status: Status { conditions } };
    let servers: Api<ServerObject> = Api::namespaced_with(client.clone(), server.namespace(), resource);
    let patched = servers.patch_status(server.name(), &patch_params(), &Patch::Merge(patch)).await;
    patched.map_err(|source| ReconcileError::Call { action: "write the status", source })?;
    Ok(transitions)
}

/// A list of conditions with the desired ones in it, and the transitions that this makes. `now` is the time in RFC 3339, for
/// `lastTransitionTime` of conditions whose status changes.
///
/// If a list has a desired type twice, which an atomic list may, the first entry is kept: clients find that one.
///
/// # Errors
/// If a condition cannot be written as JSON, which does not happen.
pub fn with_conditions(
    list: &[ListedCondition],
    desired: &[Condition],
    generation: Option<i64>,
    now: &str,
) -> serde_json::Result<(Vec<Box<RawValue>>, Vec<Transition>)> {
    let mut result = Vec::with_capacity(list.len() + desired.len());
    let mut transitions = Vec::new();
    let mut missing: Vec<&Condition> = desired.iter().collect();
    for ListedCondition { raw, known } in list {
        let Some(present) = known.filter(|known| desired.iter().any(|condition| condition.type_ == known.type_)) else {
            result.push(raw.clone());
            continue;
        };
        let Some(index) = missing.iter().position(|condition| condition.type_ == present.type_) else { continue };
        let condition = missing.remove(index);
        if present.matches(condition, generation) {
            result.push(raw.clone());
            continue;
        }
        if present.status != Some(condition.status) {
            transitions.push(Transition { to: *condition, from: present.status });
        }
        let keep_time = present.status == Some(condition.status);
        result.push(merged(serde_json::from_str(raw.get())?, condition, generation, now, keep_time)?);
    }
    for condition in missing {
        transitions.push(Transition { to: *condition, from: None });
        result.push(merged(Map::new(), condition, generation, now, false)?);
    }
    Ok((result, transitions))
}

/// A condition written over the fields of the present one; unknown fields stay.
fn merged(
    mut fields: Map<String, Value>,
    condition: &Condition,
    generation: Option<i64>,
    now: &str,
    keep_time: bool,
) -> serde_json::Result<Box<RawValue>> {
    for (key, value) in [
        ("type", condition.type_.name()),
        ("status", condition.status.name()),
        ("reason", condition.reason.name()),
        ("message", condition.message),
    ] {
        fields.insert(key.to_owned(), value.into());
    }
    if !keep_time || !fields.contains_key("lastTransitionTime") {
        fields.insert("lastTransitionTime".to_owned(), now.into());
    }
    if let Some(generation) = generation {
        fields.insert("observedGeneration".to_owned(), generation.into());
    }
    to_raw_value(&fields)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{ConditionType, Scaling, SessionStorage, Transport, spec_conditions};
    use serde_json::{Value, json};

    use super::with_conditions;
    use crate::observe::server::FreshServer;

    const NOW: &str = "2026-11-20T12:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";

    /// The list after the conditions of a stdio server with these replicas were written to it, and the types whose status
    /// changed.
    fn write(list: &str, replicas: u32) -> (Vec<String>, Vec<ConditionType>) {
        let object = format!(
            r#"{{"metadata": {{"uid": "u", "resourceVersion": "5", "generation": 2}}, "status": {{"conditions": {list}}}}}"#
        );
        let fresh: FreshServer = serde_json::from_str(&object).expect("is read");
        let scaling = Scaling {
            transport: Transport::Stdio,
            replicas: Some(replicas),
            backend_replicas: None,
            session_storage: Some(SessionStorage::Redis),
        };
        let (list, transitions) =
            with_conditions(&fresh.conditions, &spec_conditions(&scaling), fresh.server.generation, NOW)
                .expect("is written");
        let list = list.iter().map(|raw| raw.get().to_owned()).collect();
        (list, transitions.iter().map(|transition| transition.to.type_).collect())
    }

    fn parsed(raw: &str) -> Value {
        serde_json::from_str(raw).expect("is JSON")
    }

    #[test]
    fn adds_both_conditions_to_a_status_without_any() {
        let (list, transitions) = write("[]", 3);
        assert_eq!(
            parsed(&list[0]),
            json!({
                "type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1",
                "message": "transport stdio supports 1 replica; spec.replicas requests more",
                "lastTransitionTime": NOW, "observedGeneration": 2
            })
        );
        assert_eq!(parsed(&list[1])["reason"], "SessionStorageConfigured");
        assert_eq!(list.len(), 2);
        assert_eq!(transitions, [ConditionType::StdioReplicaCapped, ConditionType::SessionStorageWarning]);
    }

    #[test]
    fn keeps_the_conditions_of_others_byte_for_byte() {
        let ready = r#"{ "type":"Ready", "status":"True", "new":1.0e2,"lastTransitionTime":"2020-01-01T00:00:00Z" }"#;
        let odd = r#""not an object""#;
        let (list, _) = write(&format!("[{ready}, {odd}]"), 3);
        assert_eq!((list[0].as_str(), list[1].as_str(), list.len()), (ready, odd, 4));
    }

    #[test]
    fn keeps_a_condition_that_is_up_to_date_byte_for_byte() {
        let present = r#"{"type":"StdioReplicaCapped", "status":"True","reason":"StdioTransportCapAt1","message":"of the operator"}"#;
        let (list, transitions) = write(&format!("[{present}]"), 3);
        assert_eq!((list[0].as_str(), list.len()), (present, 2));
        assert_eq!(transitions, [ConditionType::SessionStorageWarning]);
    }

    #[test]
    fn moves_the_transition_time_with_the_status_only() {
        let present = |status: &str, reason: &str| {
            format!(
                r#"[{{"type":"StdioReplicaCapped","status":"{status}","reason":"{reason}","message":"m","observedGeneration":1,"lastTransitionTime":"{BEFORE}","extra":true}}]"#
            )
        };
        for (status, reason, time, is_transition) in [
            ("True", "StdioTransportCapAt1", BEFORE, false),
            ("True", "Other", BEFORE, false),
            ("False", "StdioReplicaCapNotActive", NOW, true),
            ("Unknown", "StdioTransportCapAt1", NOW, true),
        ] {
            let (list, transitions) = write(&present(status, reason), 3);
            let condition = parsed(&list[0]);
            assert_eq!(condition["lastTransitionTime"], time, "{status} {reason}");
            let is_changed = transitions.contains(&ConditionType::StdioReplicaCapped);
            assert_eq!(is_changed, is_transition, "{status} {reason}");
            assert_eq!((&condition["observedGeneration"], &condition["extra"]), (&json!(2), &json!(true)));
        }
    }

    #[test]
    fn adds_a_missing_transition_time() {
        let present =
            r#"[{"type":"StdioReplicaCapped","status":"True","reason":"StdioTransportCapAt1","observedGeneration":1}]"#;
        let (list, _) = write(present, 3);
        assert_eq!(parsed(&list[0])["lastTransitionTime"], NOW);
    }

    #[test]
    fn clears_a_condition_and_then_leaves_it() {
        let (set, _) = write("[]", 3);
        let (cleared, transitions) = write(&format!("[{}]", set.join(",")), 1);
        assert_eq!((parsed(&cleared[0])["status"].as_str(), transitions.len()), (Some("False"), 1));
        let (again, transitions) = write(&format!("[{}]", cleared.join(",")), 1);
        assert_eq!((again, transitions.len()), (cleared, 0), "conditions that are up to date are not touched");
    }

    #[test]
    fn writes_only_types_that_the_admission_policy_permits() {
        let types = ConditionType::ALL.map(|type_| format!("'{}'", type_.name())).join(", ");
        let expression = format!("expression: \"[{types}]\"");
        for manifest in [
            include_str!("../../../deploy/reconciler.yaml"),
            include_str!("../../../deploy/chart/templates/reconciler.yaml"),
        ] {
            assert!(manifest.contains(&expression), "no {expression}");
        }
    }

    #[test]
    fn keeps_one_condition_of_a_type_that_the_list_has_twice() {
        let one = r#"{"type":"StdioReplicaCapped","status":"False","reason":"x"}"#;
        let (list, _) = write(&format!("[{one},{one}]"), 3);
        let types: Vec<Value> = list.iter().map(|raw| parsed(raw)["type"].clone()).collect();
        assert_eq!(types, ["StdioReplicaCapped", "SessionStorageWarning"]);
    }
}
