//! Publishes events on an `MCPServer`.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::client::FIELD_MANAGER;
use crate::decide::events::EventContent;

impl EventContent {
    /// The event on an object, reported by `instance` of this controller.
    ///
    /// kube's recorder is not used: it keeps each event for some minutes to count repetitions. Ours do not repeat, and the
    /// first pass over a large cluster publishes many.
    fn event(self, regarding: &ObjectReference, instance: &str, now: Timestamp) -> Event {
        let object = regarding.name.as_deref().unwrap_or_default();
        let name = self.is_once.then(|| {
            let mut hasher = DefaultHasher::new();
            (&regarding.uid, self.reason, &self.note).hash(&mut hasher);
            format!("{object}.{:016x}", hasher.finish())
        });
        Event {
            metadata: ObjectMeta {
                generate_name: name.is_none().then(|| format!("{object}-")),
                name,
                namespace: regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(now)),
            type_: Some(if self.is_warning { "Warning" } else { "Normal" }.to_owned()),
            reason: Some(self.reason.to_owned()),
            action: Some(self.action.to_owned()),
            note: Some(self.note),
            regarding: Some(regarding.clone()),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            ..Event::default()
        }
    }
}

/// Publishes an event on an object, reported by `instance`.
///
/// # Errors
/// If the API server does not accept it.
pub(crate) async fn publish(
    client: &Client,
    regarding: &ObjectReference,
    instance: &str,
    content: EventContent,
) -> kube::Result<()> {
    let namespace = regarding.namespace.as_deref().unwrap_or_default();
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let is_once = content.is_once;
    match events.create(&PostParams::default(), &content.event(regarding, instance, Timestamp::now())).await {
        Err(kube::Error::Api(status)) if is_once && status.code == 409 => Ok(()),
        created => created.map(|_| ()),
    }
}
