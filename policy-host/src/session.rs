//! Recorded answers of a host, in the format of kwctl's `--record-host-capabilities-interactions`.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, Result};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde::Deserialize;

use crate::host::{Host, callback_failure};

/// A recorded session, played back from its beginning. A question that is not the next one of the recording gets an
/// error, as kwctl gives it.
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
    request: Question,
    response: Response,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Response {
    Success { payload: String },
    Error { message: String },
}

/// The question of an exchange, as kwctl tags it.
#[derive(Debug, Deserialize, PartialEq)]
enum Question {
    KubernetesGetResource {
        api_version: String,
        kind: String,
        name: String,
        namespace: Option<String>,
        disable_cache: bool,
        field_masks: Option<BTreeSet<String>>,
    },
}

impl From<&GetResourceRequest> for Question {
    fn from(request: &GetResourceRequest) -> Self {
        Self::KubernetesGetResource {
            api_version: request.api_version.clone(),
            kind: request.kind.clone(),
            name: request.name.clone(),
            namespace: request.namespace.clone(),
            disable_cache: request.disable_cache,
            field_masks: request.field_masks.clone(),
        }
    }
}

impl Session {
    /// Reads a session file.
    ///
    /// # Errors
    /// Where the file cannot be read or is no session.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_yaml(&text).with_context(|| format!("{} is no recorded session", path.display()))
    }

    /// Reads a session from YAML.
    ///
    /// # Errors
    /// As [`Session::read`].
    pub fn from_yaml(text: &str) -> Result<Self> {
        let recorded: Vec<RecordedExchange> = serde_saphyr::from_str(text)?;
        let exchanges = recorded.into_iter().map(|RecordedExchange::Exchange { request, response }| {
            let request = serde_saphyr::from_str(&request).context("a request is none that this policy makes")?;
            Ok(Exchange { request, response })
        });
        Ok(Self { exchanges: Mutex::new(exchanges.collect::<Result<_>>()?) })
    }

    /// How many recorded exchanges have not been played.
    pub fn left(&self) -> usize {
        self.exchanges.lock().map_or(0, |exchanges| exchanges.len())
    }
}

impl Host for Session {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        let question = Question::from(request);
        let next = self.exchanges.lock().ok().and_then(|mut exchanges| exchanges.pop_front());
        match next {
            None => Err(callback_failure("the list of recorded responses is empty")),
            Some(exchange) if exchange.request != question => Err(callback_failure(&format!(
                "Replay error: unexpected request. Was expecting {:?}, got {question:?} instead",
                exchange.request
            ))),
            Some(exchange) => match exchange.response {
                Response::Success { payload } => Ok(payload.into_bytes()),
                Response::Error { message } => Err(callback_failure(&message)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;

    use super::Session;
    use crate::host::Host;

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
    fn answers_come_in_the_recorded_order() {
        let session = Session::from_yaml(SESSION).expect("is a session");
        assert_eq!(session.get_resource(&request("one", Some("here"))), Ok(br#"{"spec":{"a":1}}"#.to_vec()));
        let error = session.get_resource(&request("two", None)).expect_err("was recorded as an error");
        assert!(error.contains("no such thing"), "{error}");
        let error = session.get_resource(&request("two", None)).expect_err("nothing is left");
        assert!(error.contains("the list of recorded responses is empty"), "{error}");
    }

    #[test]
    fn another_question_than_the_recorded_one_is_an_error() {
        let session = Session::from_yaml(SESSION).expect("is a session");
        let error = session.get_resource(&request("one", None)).expect_err("was not recorded");
        assert!(error.contains("Replay error: unexpected request"), "{error}");
        assert_eq!(session.left(), 1, "the recorded exchange is spent, as it is in kwctl");
    }

    #[test]
    fn what_is_no_session_is_refused() {
        for text in [
            "a: 1",
            "- type: Exchange",
            "- {type: Exchange, request: '!Other {}', response: {type: Error, message: x}}",
        ] {
            assert!(Session::from_yaml(text).is_err(), "{text}");
        }
    }
}
