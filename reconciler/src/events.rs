//! The events that say what the reconciler did: one for each change, none for what stays.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use mcp_scaling_rules::{Scaling, exceeds_stdio_cap};

use crate::plan::declared;
use crate::status::Transition;
use crate::workload::Kind;

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether somebody should look at it.
    pub is_warning: bool,
    /// `reason`.
    pub reason: &'static str,
    /// `action`: what was done.
    pub action: &'static str,
    /// `note`, for people.
    pub note: String,
}

impl Notice {
    /// The event that says it of an object. `controller` and `instance` are who reports it.
    ///
    /// kube's recorder keeps every event for some minutes, so as to count those that come again. Ours do not, and a cluster that is
    /// made right for the first time has many.
    pub fn event(self, regarding: &ObjectReference, controller: &str, instance: &str, now: Timestamp) -> Event {
        let name = regarding.name.as_deref().unwrap_or_default();
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{name}-")),
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(self.reason.to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(self.note),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(controller.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
        }
    }
}

/// A condition became `True`, or is no longer. That it never was is no news.
pub fn transition(transition: &Transition) -> Option<Notice> {
    let condition = transition.to;
    let is_warning = condition.status == "True";
    let is_news = is_warning || transition.from.as_deref() == Some("True");
    is_news.then(|| Notice {
        is_warning,
        reason: condition.reason,
        action: "SetCondition",
        note: format!("{}: {}", condition.type_, condition.message),
    })
}

/// The count of a workload was set.
pub fn corrected(kind: Kind, from: u32, to: u32, scaling: &Scaling) -> Notice {
    let why = match declared(kind, scaling) {
        Some(count) if exceeds_stdio_cap(scaling.transport, count) => format!("{count} declared; stdio runs {to}"),
        Some(_) => "as declared".to_owned(),
        None => format!("stdio runs {to}"),
    };
    Notice {
        is_warning: false,
        reason: "ReplicasCorrected",
        action: "Scale",
        note: format!("{} set from {from} to {to} replicas: {why}", kind.name()),
    }
}

/// Another writer keeps reverting what we write.
pub fn yielding(what: &str) -> Notice {
    Notice {
        is_warning: true,
        reason: "YieldsToOtherWriter",
        action: "Wait",
        note: format!("another writer keeps reverting {what}; it is set again ever more rarely"),
    }
}

#[cfg(test)]
mod tests {
    use mcp_scaling_rules::{Scaling, SessionStorage, Transport, conditions};

    use super::{corrected, transition};
    use crate::status::Transition;
    use crate::workload::Kind;

    fn server(transport: Transport, replicas: Option<u32>) -> Scaling {
        Scaling { transport, replicas, backend_replicas: None, session_storage: SessionStorage::Redis }
    }

    #[test]
    fn news_are_what_becomes_true_and_what_is_no_longer() {
        let [capped, _] = conditions(&server(Transport::Stdio, Some(3)));
        let [cleared, _] = conditions(&server(Transport::Stdio, Some(1)));
        let told = |to, from: Option<&str>| {
            let from = from.map(str::to_owned);
            transition(&Transition { to, from }).map(|notice| (notice.is_warning, notice.reason))
        };
        assert_eq!(told(capped, None), Some((true, "StdioTransportCapAt1")));
        assert_eq!(told(capped, Some("False")), Some((true, "StdioTransportCapAt1")));
        assert_eq!(told(cleared, Some("True")), Some((false, "StdioReplicaCapNotActive")));
        assert_eq!(told(cleared, None), None);
        assert_eq!(told(cleared, Some("Unknown")), None);
    }

    #[test]
    fn a_correction_says_why() {
        let note = |scaling: Scaling, from, to| corrected(Kind::Deployment, from, to, &scaling).note;
        assert_eq!(note(server(Transport::Stdio, None), 3, 1), "Deployment set from 3 to 1 replicas: stdio runs 1");
        assert_eq!(
            note(server(Transport::Stdio, Some(4)), 4, 1),
            "Deployment set from 4 to 1 replicas: 4 declared; stdio runs 1"
        );
        assert_eq!(note(server(Transport::Sse, Some(2)), 5, 2), "Deployment set from 5 to 2 replicas: as declared");
    }
}
