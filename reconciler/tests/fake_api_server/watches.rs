//! Watches.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::time::Instant;
use tower::BoxError;

use super::ApiServer;
use super::call::Call;
use super::requests::matches_selector;
use super::responses::{Body, status};

impl ApiServer {
    /// The events since the version that the watch starts at, then new ones, and a bookmark a minute after the last line, about as
    /// often as kube-apiserver sends one, until the watch times out.
    pub(super) fn watch(&self, call: &Call, resource: &str) -> Response<Body> {
        let since: u64 = call.query.get("resourceVersion").map_or(0, |version| version.parse().expect("is a number"));
        let seconds: u64 =
            call.query.get("timeoutSeconds").map_or(290, |seconds| seconds.parse().expect("is a number"));
        let end = Instant::now() + Duration::from_secs(seconds);
        let (server, call, resource) = (self.clone(), call.clone(), resource.to_owned());
        let events = stream::unfold((since, self.changes()), move |(since, mut changes)| {
            let (server, call, resource) = (server.clone(), call.clone(), resource.clone());
            async move {
                let mut is_bookmark_due = false;
                loop {
                    changes.borrow_and_update();
                    let (lines, upto) = server.events_since(since, &resource, &call, is_bookmark_due);
                    if !lines.is_empty() {
                        return Some((Ok::<_, BoxError>(Frame::data(Bytes::from(lines))), (upto, changes)));
                    }
                    tokio::select! {
                        changed = changes.changed() => changed.ok()?,
                        () = tokio::time::sleep(Duration::from_secs(60)) => is_bookmark_due = true,
                    }
                }
            }
        });
        Response::new(StreamBody::new(events.take_until(tokio::time::sleep_until(end)).boxed()).boxed_unsync())
    }

    /// The lines to send to a watch, and the version that it then has seen.
    fn events_since(&self, since: u64, resource: &str, call: &Call, is_bookmark_due: bool) -> (String, u64) {
        let state = self.state();
        if since < state.compacted {
            let gone = json!({"type": "ERROR", "object": status(410, "too old resource version")});
            return (format!("{gone}\n"), u64::MAX);
        }
        let first = state.history.partition_point(|(version, ..)| *version <= since);
        let events = state.history.iter().skip(first).filter(|(_, (of, ..), _, _)| of == resource);
        let events = events.filter(|(.., object)| matches_selector(object, call));
        let mut lines: Vec<String> =
            events.map(|(_, _, kind, object)| format!("{}\n", json!({"type": kind, "object": object}))).collect();
        if state.shuffles_events {
            let mut twice = lines.clone();
            twice.chunks_mut(2).for_each(|pair| pair.reverse());
            lines = [twice.clone(), lines].concat();
        }
        if is_bookmark_due && lines.is_empty() {
            let metadata = json!({"resourceVersion": state.version.to_string()});
            let object = json!({"apiVersion": "v1", "kind": "X", "metadata": metadata});
            lines.push(format!("{}\n", json!({"type": "BOOKMARK", "object": object})));
        }
        (lines.concat(), state.version.max(since))
    }
}
