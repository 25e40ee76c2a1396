//! Recorded responses of a host, in the format of kwctl's `--record-host-capabilities-interactions`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::host::{GetResourceRequest, Host, ListResourcesRequest, callback_failure};

/// A recorded session, which is replayed in its order. A request that differs from the next recorded one gets the error
/// that kwctl returns.
#[derive(Debug)]
pub struct Session {
    exchanges: Mutex<VecDeque<Exchange>>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum RecordedExchange {
    Exchange { request: String, response: Response },
}

#[derive(Debug)]
struct Exchange {
    request: RecordedRequest,
    response: Response,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Response {
    Success { payload: String },
    Error { message: String },
}

/// The request of an exchange, with the tag that kwctl writes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
enum RecordedRequest {
    KubernetesGetResource(GetResourceRequest),
    KubernetesListResourceNamespace(ListResourcesRequest),
}

impl Session {
    /// Reads a session file.
    ///
    /// # Errors
    /// If the file cannot be read or is not a recorded session.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_yaml(&text).with_context(|| format!("{} is not a recorded session", path.display()))
    }

    /// Reads a session from YAML.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn from_yaml(text: &str) -> Result<Self> {
        let recorded: Vec<RecordedExchange> = serde_saphyr::from_str(text)?;
        let exchanges = recorded.into_iter().map(|RecordedExchange::Exchange { request, response }| {
            let request =
                serde_saphyr::from_str(&request).context("a recorded request is not one that this policy sends")?;
            Ok(Exchange { request, response })
        });
        Ok(Self { exchanges: Mutex::new(exchanges.collect::<Result<_>>()?) })
    }

    /// The number of recorded exchanges that have not been replayed.
    pub fn left(&self) -> usize {
        self.exchanges.lock().map_or(0, |exchanges| exchanges.len())
    }

    fn replay(&self, request: &RecordedRequest) -> Result<Vec<u8>, String> {
        let next = self.exchanges.lock().ok().and_then(|mut exchanges| exchanges.pop_front());
        match next {
            None => Err(callback_failure("the list of recorded responses is empty")),
            Some(exchange) if exchange.request != *request => Err(callback_failure(&format!(
                "Replay error: unexpected request. Was expecting {:?}, got {request:?} instead",
                exchange.request
            ))),
            Some(exchange) => match exchange.response {
                Response::Success { payload } => Ok(payload.into_bytes()),
                Response::Error { message } => Err(callback_failure(&message)),
            },
        }
    }
}

impl Host for Session {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self.replay(&RecordedRequest::KubernetesGetResource(request.clone()))
    }

    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        self.replay(&RecordedRequest::KubernetesListResourceNamespace(request.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::Session;
    use crate::host::{GetResourceRequest, Host, ListResourcesRequest};

    const SESSION: &str = r#"
- type: Exchange
  request: |
    !KubernetesGetResource
    api_version: v1
    kind: Thing
    name: one
    namespace: here
    disable_cache: true
    field_masks:
    - spec.a
  response:
    type: Success
    payload: '{"spec":{"a":1}}'
- type: Exchange
  request: |
    !KubernetesGetResource
    api_version: v1
    kind: Thing
    name: two
    namespace: null
    disable_cache: false
  response:
    type: Error
    message: no such thing
"#;

    fn request(name: &str, namespace: Option<&str>) -> GetResourceRequest {
        GetResourceRequest {
            api_version: "v1".to_owned(),
            kind: "Thing".to_owned(),
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            disable_cache: namespace.is_some(),
            field_masks: namespace.map(|_| ["spec.a".to_owned()].into()),
        }
    }

    #[test]
    fn replays_responses_in_the_recorded_order() {
        let session = Session::from_yaml(SESSION).expect("the text is a session");
        assert_eq!(session.get_resource(&request("one", Some("here"))), Ok(br#"{"spec":{"a":1}}"#.to_vec()));
        let error = session.get_resource(&request("two", None)).expect_err("an error was recorded");
        assert!(error.contains("no such thing"), "{error}");
        let error = session.get_resource(&request("two", None)).expect_err("no exchange remains");
        assert!(error.contains("the list of recorded responses is empty"), "{error}");
    }

    #[test]
    fn replays_a_list() {
        let session = Session::from_yaml(
            r#"
- type: Exchange
  request: |
    !KubernetesListResourceNamespace
    api_version: v1
    kind: Thing
    namespace: here
    label_selector: null
    field_selector: null
    field_masks:
    - spec.a
  response:
    type: Success
    payload: '{"items":[]}'
"#,
        );
        let request = ListResourcesRequest {
            api_version: "v1".to_owned(),
            kind: "Thing".to_owned(),
            namespace: "here".to_owned(),
            label_selector: None,
            field_selector: None,
            field_masks: Some(["spec.a".to_owned()].into()),
        };
        let session = session.expect("the text is a session");
        assert_eq!(session.list_resources(&request), Ok(br#"{"items":[]}"#.to_vec()));
    }

    #[test]
    fn rejects_a_request_that_was_not_recorded() {
        let session = Session::from_yaml(SESSION).expect("the text is a session");
        let error = session.get_resource(&request("one", None)).expect_err("the request was not recorded");
        assert!(error.contains("Replay error: unexpected request"), "{error}");
        assert_eq!(session.left(), 1, "the recorded exchange is consumed, as in kwctl");
    }

    #[test]
    fn rejects_text_that_is_not_a_session() {
        for text in [
            "a: 1",
            "- type: Exchange",
            "- {type: Exchange, request: '!Other {}', response: {type: Error, message: x}}",
        ] {
            assert!(Session::from_yaml(text).is_err(), "{text}");
        }
    }
}
