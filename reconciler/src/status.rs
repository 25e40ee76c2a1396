//! Writes conditions into the raw list of a status, and leaves the rest of it as it is, byte for byte.

use mcp_scaling_rules::Condition;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::plan::is_met;
use crate::server::Server;

/// A condition whose status changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The condition as it is now.
    pub to: Condition,
    /// The status that it had, `None` where there was no such condition.
    pub from: Option<String>,
}

/// A list of conditions with `wanted` in it, and what that changed. `server` is the same object, read; `now` is the time in
/// RFC 3339, the transition time of conditions whose status changes.
///
/// Of an atomic list that has a type twice the first stays, which is the one that readers find.
///
/// # Errors
/// Never in practice: where a condition cannot be written as JSON.
pub fn with_conditions(
    list: Vec<Box<RawValue>>,
    wanted: &[Condition],
    server: &Server,
    now: &str,
) -> serde_json::Result<(Vec<Box<RawValue>>, Vec<Transition>)> {
    let mut result = Vec::with_capacity(list.len() + wanted.len());
    let mut transitions = Vec::new();
    let mut missing: Vec<&Condition> = wanted.iter().collect();
    for raw in list {
        let type_ = type_of(&raw);
        let of_type = |condition: &&Condition| type_.as_deref() == Some(condition.type_);
        if let Some(index) = missing.iter().position(of_type) {
            let condition = missing.remove(index);
            if is_met(condition, server) {
                result.push(raw);
            } else {
                let there = serde_json::from_str(raw.get())?;
                result.push(written(there, condition, server.meta.generation, now, &mut transitions)?);
            }
        } else if !wanted.iter().any(|condition| of_type(&condition)) {
            result.push(raw);
        }
    }
    for condition in missing {
        result.push(written(Map::new(), condition, server.meta.generation, now, &mut transitions)?);
    }
    Ok((result, transitions))
}

fn type_of(raw: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        type_: String,
    }
    serde_json::from_str::<Typed>(raw.get()).ok().map(|typed| typed.type_)
}

/// The condition over what is `there`, whose fields that we do not know stay.
fn written(
    mut there: Map<String, Value>,
    condition: &Condition,
    generation: Option<i64>,
    now: &str,
    transitions: &mut Vec<Transition>,
) -> serde_json::Result<Box<RawValue>> {
    let from = there.get("status").and_then(Value::as_str).map(str::to_owned);
    let is_transition = from.as_deref() != Some(condition.status);
    for (key, value) in [
        ("type", condition.type_),
        ("status", condition.status),
        ("reason", condition.reason),
        ("message", condition.message),
    ] {
        there.insert(key.to_owned(), value.into());
    }
    if is_transition || !there.contains_key("lastTransitionTime") {
        there.insert("lastTransitionTime".to_owned(), now.into());
    }
    if let Some(generation) = generation {
        there.insert("observedGeneration".to_owned(), generation.into());
    }
    if is_transition {
        transitions.push(Transition { to: *condition, from });
    }
    to_raw_value(&there)
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{Scaling, SessionStorage, Transport, conditions};
    use serde_json::value::RawValue;
    use serde_json::{Value, json};

    use super::with_conditions;
    use crate::server::Server;

    const NOW: &str = "2026-11-20T12:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";

    /// The list after writing what a server with these replicas should have, and the types whose status changed.
    fn write(list: &str, replicas: u32) -> (Vec<String>, Vec<&'static str>) {
        let raw: Vec<Box<RawValue>> = serde_json::from_str(list).expect("is a list");
        let status: Value = serde_json::from_str(list).expect("is JSON");
        let server: Server =
            serde_json::from_value(json!({"metadata": {"generation": 2}, "status": {"conditions": status}}))
                .expect("is read");
        let scaling = Scaling {
            transport: Transport::Stdio,
            replicas: Some(replicas),
            backend_replicas: None,
            session_storage: SessionStorage::Redis,
        };
        let (list, transitions) = with_conditions(raw, &conditions(&scaling), &server, NOW).expect("can be written");
        let list = list.iter().map(|raw| raw.get().to_owned()).collect();
        (list, transitions.iter().map(|transition| transition.to.type_).collect())
    }

    fn parsed(raw: &str) -> Value {
        serde_json::from_str(raw).expect("is JSON")
    }

    #[test]
    fn both_are_added_to_a_status_without_conditions() {
        let (list, transitions) = write("[]", 3);
        assert_eq!(
            parsed(&list[0]),
            json!({
                "type": "StdioReplicaCapped", "status": "True", "reason": "StdioTransportCapAt1",
                "message": "transport stdio runs 1 replica; spec.replicas asks for more",
                "lastTransitionTime": NOW, "observedGeneration": 2
            })
        );
        assert_eq!(parsed(&list[1])["reason"], "SessionStorageConfigured");
        assert_eq!((list.len(), transitions), (2, vec!["StdioReplicaCapped", "SessionStorageWarning"]));
    }

    #[test]
    fn the_conditions_of_others_stay_byte_for_byte() {
        let ready = r#"{ "type":"Ready", "status":"True", "new":1.0e2,"lastTransitionTime":"2020-01-01T00:00:00Z" }"#;
        let odd = r#""not an object""#;
        let (list, _) = write(&format!("[{ready}, {odd}]"), 3);
        assert_eq!((list[0].as_str(), list[1].as_str(), list.len()), (ready, odd, 4));
    }

    #[test]
    fn the_transition_time_moves_with_the_status_only() {
        let there = |status: &str, reason: &str| {
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
            let (list, transitions) = write(&there(status, reason), 3);
            let condition = parsed(&list[0]);
            assert_eq!(condition["lastTransitionTime"], time, "{status} {reason}");
            assert_eq!(transitions.contains(&"StdioReplicaCapped"), is_transition, "{status} {reason}");
            assert_eq!((&condition["observedGeneration"], &condition["extra"]), (&json!(2), &json!(true)));
        }
    }

    #[test]
    fn set_and_cleared_again() {
        let (set, _) = write("[]", 3);
        let (cleared, transitions) = write(&format!("[{}]", set.join(",")), 1);
        assert_eq!((parsed(&cleared[0])["status"].as_str(), transitions.len()), (Some("False"), 2 - 1));
        let (again, transitions) = write(&format!("[{}]", cleared.join(",")), 1);
        assert_eq!((again, transitions.len()), (cleared, 0), "what is right is not touched");
    }

    #[test]
    fn a_type_that_is_there_twice_is_there_once_afterwards() {
        let one = r#"{"type":"StdioReplicaCapped","status":"False","reason":"x"}"#;
        let (list, _) = write(&format!("[{one},{one}]"), 3);
        let types: Vec<Value> = list.iter().map(|raw| parsed(raw)["type"].clone()).collect();
        assert_eq!(types, ["StdioReplicaCapped", "SessionStorageWarning"]);
    }
}
