//! The calls that the reconciler makes, and how they can fail.

use std::collections::HashMap;

use serde_json::Value;
use tokio::time::Instant;

/// A request, as the reconciler sent it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
    pub(crate) content_type: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Call {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|value| value == "true")
    }

    pub(crate) fn is_write(&self) -> bool {
        self.method != "GET"
    }

    /// Method and path.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// How a call fails.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The response has this status code and `Retry-After` in seconds.
    Code(u16, Option<u32>),
    /// There is no response.
    Hang,
    /// The response begins and does not end.
    HangInBody,
    /// The connection breaks before the request is read.
    Reset,
    /// The connection breaks after the request was executed.
    ResetAfterwards,
    /// The response is no JSON.
    Garbage,
}
