//! A proxy in front of the API server that injects the faults of a bad day, and notes the writes that pass it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use futures::{Stream, StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

type ProxyBody = UnsyncBoxBody<Bytes, kube::Error>;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every other request is answered with 429 and `Retry-After: 1`.
    Throttles,
    /// Every other list from a continue token, and every watch from a resource version, is answered that it has expired.
    Expires,
    /// Every other write is executed, and its answer lost.
    LosesAnswers,
    /// The requests of this method to paths that end so are forbidden. `LIST` and `WATCH` are methods of their own.
    Forbids(&'static str, &'static str),
}

/// A write of a count or of a status that was executed.
#[derive(Clone, Debug)]
pub struct Write {
    /// The path of the object, or of its subresource.
    pub path: String,
    /// The body of the request.
    pub patch: Value,
    /// Says whether it changed the object.
    pub has_changed: bool,
}

/// The proxy. It ends when it is dropped.
pub struct FaultyApiServer {
    /// Where it listens on the loopback interface, without TLS.
    pub port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    api_server: Client,
    state: Mutex<State>,
    /// The number of times that all watches were dropped.
    drops: watch::Sender<u32>,
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    requests: usize,
    injected: usize,
    writes: Vec<Write>,
}

impl Fault {
    fn applies<B>(self, request: &Request<B>, verb: &str, is_chosen: bool) -> bool {
        let query = request.uri().query().unwrap_or_default();
        match self {
            Self::Throttles => is_chosen,
            Self::Expires => verb == "WATCH" || (is_chosen && query.contains("continue=")),
            Self::LosesAnswers => is_chosen && verb == "PATCH",
            Self::Forbids(forbidden, end) => verb == forbidden && request.uri().path().ends_with(end),
        }
    }
}

/// The verb of a request, in capitals. The reconciler lists in pages.
fn verb<B>(request: &Request<B>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    match *request.method() {
        Method::GET if query.contains("watch=") => "WATCH",
        Method::GET if query.contains("limit=") => "LIST",
        Method::GET => "GET",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        _ => "OTHER",
    }
}

fn status(code: StatusCode, reason: &str, details: Value) -> Response<ProxyBody> {
    json_response(code, &status_object(code, reason, details))
}

fn status_object(code: StatusCode, reason: &str, details: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason,
        "message": "a fault that the test injects", "details": details,
    })
}

fn json_response(code: StatusCode, body: &Value) -> Response<ProxyBody> {
    let mut response = Response::new(full(body.to_string().into()));
    *response.status_mut() = code;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

fn full(body: Bytes) -> ProxyBody {
    Full::from(body).map_err(|never| match never {}).boxed_unsync()
}

impl Drop for FaultyApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FaultyApiServer {
    /// Starts it in front of the API server of a client that has no credentials of its own and repeats nothing: what a request brings is
    /// passed on.
    ///
    /// # Errors
    /// If no port is free.
    pub(crate) async fn start(api_server: Client) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared { api_server, state: Mutex::default(), drops: watch::channel(0).0 });
        let task = tokio::spawn(serve(listener, shared.clone()));
        Ok(Self { port, shared, task })
    }

    /// Injects a fault from now on, in place of the one before.
    pub fn inject(&self, fault: Option<Fault>) {
        self.shared.state().fault = fault;
    }

    /// Breaks the connection of every watch.
    pub fn drop_watches(&self) {
        self.shared.drops.send_modify(|drops| *drops += 1);
    }

    /// How many requests there were, and into how many of them a fault was injected.
    pub fn requests(&self) -> (usize, usize) {
        let state = self.shared.state();
        (state.requests, state.injected)
    }

    /// The writes of counts and of statuses so far.
    pub fn writes(&self) -> Vec<Write> {
        self.shared.state().writes.clone()
    }
}

/// The frames of a body, until `drops` changes: then the connection breaks.
fn breakable(
    frames: BodyStream<Body>,
    drops: watch::Receiver<u32>,
) -> impl Stream<Item = Result<Frame<Bytes>, kube::Error>> {
    stream::unfold(Some((frames, drops)), |state| async {
        let (mut frames, mut drops) = state?;
        tokio::select! {
            frame = frames.next() => Some((frame?, Some((frames, drops)))),
            _ = drops.changed() => Some((Err(kube::Error::Service("the watch is dropped".into())), None)),
        }
    })
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve_connection(stream, shared.clone()));
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(|request| shared.clone().answer(request));
    // It fails if a fault breaks the connection.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error breaks the connection, as an API server that ends does.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<ProxyBody>> {
        let verb = verb(&request);
        let fault = {
            let mut state = self.state();
            state.requests += 1;
            let is_chosen = state.requests.is_multiple_of(2);
            let fault = state.fault.filter(|fault| fault.applies(&request, verb, is_chosen));
            state.injected += usize::from(fault.is_some());
            fault
        };
        match fault {
            Some(Fault::Throttles) => {
                let mut response =
                    status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", json!({"retryAfterSeconds": 1}));
                response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
                return Ok(response);
            }
            Some(Fault::Forbids(..)) => return Ok(status(StatusCode::FORBIDDEN, "Forbidden", json!({}))),
            // The API server tells it in the first event of the watch.
            Some(Fault::Expires) if verb == "WATCH" => {
                let event = json!({"type": "ERROR", "object": status_object(StatusCode::GONE, "Expired", json!({}))});
                return Ok(json_response(StatusCode::OK, &event));
            }
            Some(Fault::Expires) => return Ok(status(StatusCode::GONE, "Expired", json!({}))),
            Some(Fault::LosesAnswers) | None => {}
        }
        let response = self.forward(request, verb).await?;
        anyhow::ensure!(fault.is_none(), "the answer is lost");
        Ok(response)
    }

    async fn forward(&self, request: Request<Incoming>, verb: &str) -> Result<Response<ProxyBody>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        parts.headers.remove(http::header::HOST);
        let path = parts.uri.path().to_owned();
        let mut forwarded = Request::from_parts(parts, Body::from(body.to_vec()));
        let path_and_query = forwarded.uri().path_and_query().context("has a path")?.as_str().parse()?;
        *forwarded.uri_mut() = path_and_query;
        *forwarded.version_mut() = http::Version::default();
        let (mut parts, answer) = self.api_server.send(forwarded).await?.into_parts();
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        parts.headers.remove(http::header::CONTENT_LENGTH);
        parts.version = http::Version::default();
        if verb == "WATCH" {
            let frames = breakable(BodyStream::new(answer), self.drops.subscribe());
            return Ok(Response::from_parts(parts, StreamBody::new(frames).boxed_unsync()));
        }
        let answer = answer.collect().await?.to_bytes();
        if verb == "PATCH" && parts.status.is_success() {
            self.note(path, &body, &answer)?;
        }
        Ok(Response::from_parts(parts, full(answer)))
    }

    fn note(&self, path: String, patch: &[u8], answer: &[u8]) -> Result<()> {
        let (patch, answer): (Value, Value) = (serde_json::from_slice(patch)?, serde_json::from_slice(answer)?);
        let has_changed = patch["metadata"]["resourceVersion"] != answer["metadata"]["resourceVersion"];
        self.state().writes.push(Write { path, patch, has_changed });
        Ok(())
    }
}
