//! Responses of the API server.

use bytes::Bytes;
use http::Response;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::BoxError;

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(super) fn text(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn json_body(value: &Value) -> Response<Body> {
    Response::new(text(value.to_string()))
}

pub(super) fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "Failure",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
           "reason": reason, "code": code})
}

/// The response to a path that the API server does not know. It is no `Status`.
pub(super) fn not_served() -> Response<Body> {
    let mut response = Response::new(text("404 page not found\n".to_owned()));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

pub(super) fn failure(code: u16, message: &str) -> Response<Body> {
    let mut response = json_body(&status(code, message));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("is a status code");
    response
}
