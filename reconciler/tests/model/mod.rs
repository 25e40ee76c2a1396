//! A model of the API server, as far as the reconciler sees it: objects with resource versions, lists in pages, watches with
//! bookmarks that expire, merge patches on subresources, and whatever can go wrong on the way.

#![allow(dead_code, reason = "the tests and the benchmark each use a part")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) const GROUP: &str = "toolhive.stacklok.dev";

/// A request, as the reconciler made it.
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

    /// What tells one call from another.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// The answer is this failure, with `Retry-After` in seconds.
    Code(u16, Option<u32>),
    /// There is no answer.
    Hang,
    /// The answer begins and does not end.
    HangInBody,
    /// The connection breaks before the request is read.
    Reset,
    /// The connection breaks after the request was carried out.
    ResetAfterwards,
    /// The answer is no JSON.
    Garbage,
}

type Trouble = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

/// A kubeconfig for the server that listens on a port.
pub(crate) fn kubeconfig(port: u16) -> String {
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "model",
        "clusters": [{"name": "model", "cluster": {"server": format!("http://127.0.0.1:{port}")}}],
        "contexts": [{"name": "model", "context": {"cluster": "model", "user": "model"}}],
        "users": [{"name": "model", "user": {}}],
    });
    config.to_string()
}

/// Whether a CRD's list of conditions is one value, or one for each type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListType {
    Atomic,
    Map,
}

#[derive(Clone)]
pub(crate) struct ApiServer {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

struct State {
    version: u64,
    /// What a watch can no longer begin at.
    compacted: u64,
    objects: BTreeMap<Key, Value>,
    history: Vec<(u64, Key, &'static str, Value)>,
    calls: Vec<Call>,
    trouble: Trouble,
    list_type: ListType,
    served: Vec<&'static str>,
    /// Watch events are sent twice, and each pair of neighbours the wrong way round.
    is_disorderly: bool,
}

/// Resource, namespace, name.
type Key = (String, String, String);

fn key(resource: &str, namespace: &str, name: &str) -> Key {
    (resource.to_owned(), namespace.to_owned(), name.to_owned())
}

impl ApiServer {
    pub(crate) fn new(list_type: ListType) -> Self {
        let state = State {
            version: 1000,
            compacted: 0,
            objects: BTreeMap::new(),
            history: Vec::new(),
            calls: Vec::new(),
            trouble: Box::new(|_| None),
            list_type,
            served: vec!["v1beta1", "v1alpha1"],
            is_disorderly: false,
        };
        Self { state: Arc::new(Mutex::new(state)), version: watch::channel(1000).0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panicked")
    }

    /// What goes wrong from now on.
    pub(crate) fn trouble(&self, trouble: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.state().trouble = Box::new(trouble);
    }

    pub(crate) fn serve(&self, versions: &[&'static str]) {
        self.state().served = versions.to_vec();
    }

    pub(crate) fn be_disorderly(&self) {
        self.state().is_disorderly = true;
    }

    /// Watches cannot go on from anything that happened until now.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        state.version += 1;
        state.compacted = state.version;
        state.history.clear();
        self.version.send_replace(state.version);
    }

    /// The calls since the last time this was asked.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state().calls)
    }

    /// The writes since the last time calls were asked for, events left out.
    pub(crate) fn take_writes(&self) -> Vec<Call> {
        let mut calls = self.take_calls();
        calls.retain(|call| call.is_write() && !call.path.contains("/events"));
        calls
    }

    pub(crate) fn get(&self, resource: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&key(resource, "default", name)).cloned()
    }

    pub(crate) fn all(&self, resource: &str) -> Vec<Value> {
        let state = self.state();
        let of_resource = state.objects.iter().filter(|((of, ..), _)| of == resource);
        of_resource.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn create(&self, resource: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().expect("has a name").to_owned();
        object["metadata"]["namespace"] = "default".into();
        object["metadata"]["uid"] = format!("uid-of-{name}").into();
        object["metadata"]["generation"] = 1.into();
        self.put(&key(resource, "default", &name), object);
    }

    /// Changes an object as its owner would: another spec is another generation.
    pub(crate) fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let key = key(resource, "default", name);
        let before = self.state().objects.get(&key).cloned().expect("is there");
        let mut after = before.clone();
        change(&mut after);
        if after == before {
            return;
        }
        if after["spec"] != before["spec"] {
            let generation = after["metadata"]["generation"].as_i64().unwrap_or_default();
            after["metadata"]["generation"] = (generation + 1).into();
        }
        self.put(&key, after);
    }

    /// Replaces the status as `Status().Update()` does: not at all, where the object is not what was read.
    pub(crate) fn update_status(&self, resource: &str, read: &Value, status: Value) -> bool {
        let name = read["metadata"]["name"].as_str().expect("has a name");
        let key = key(resource, "default", name);
        let mut object = match self.state().objects.get(&key) {
            Some(object) if object["metadata"]["resourceVersion"] == read["metadata"]["resourceVersion"] => {
                object.clone()
            }
            _ => return false,
        };
        object["status"] = status;
        self.put(&key, object);
        true
    }

    pub(crate) fn delete(&self, resource: &str, name: &str) {
        let key = key(resource, "default", name);
        let mut state = self.state();
        let mut object = state.objects.remove(&key).expect("is there");
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.history.push((version, key, "DELETED", object));
        drop(state);
        self.version.send_replace(version);
    }

    fn put(&self, key: &Key, mut object: Value) {
        let mut state = self.state();
        let kind = if state.objects.contains_key(key) { "MODIFIED" } else { "ADDED" };
        if let Some(before) = state.objects.get(key) {
            object["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == object {
                return;
            }
        }
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        state.objects.insert(key.clone(), object.clone());
        state.history.push((version, key.clone(), kind, object));
        drop(state);
        self.version.send_replace(version);
    }

    /// Answers over HTTP on a port of this machine.
    pub(crate) async fn listen(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("has an address").port();
        let server = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("can accept");
                let server = server.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { server.answer(request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        port
    }

    /// Waits until anything changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Answers a request as the API server would, or as the trouble wants it.
    pub(crate) async fn answer<B>(&self, request: Request<B>) -> Result<Response<Body>, BoxError>
    where
        B: http_body::Body,
        B::Error: std::fmt::Debug,
    {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.expect("is read").to_bytes();
        let query = parts.uri.query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| text.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/");
        let content_type = parts.headers.get(http::header::CONTENT_TYPE);
        let call = Call {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: query.map(|(key, value)| (key.to_owned(), decoded(value))).collect(),
            content_type: content_type.map_or("", |value| value.to_str().expect("is text")).to_owned(),
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            at: Instant::now(),
        };
        let fault = {
            let mut state = self.state();
            state.calls.push(call.clone());
            (state.trouble)(&call)
        };
        match fault {
            None => Ok(self.carry_out(&call)),
            Some(Fault::Code(code, retry_after)) => {
                let mut response = failure(code, "it is told to fail");
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangInBody) => Ok(Response::new(StreamBody::new(stream::pending()).boxed_unsync())),
            Some(Fault::Reset) => Err("connection reset".into()),
            Some(Fault::ResetAfterwards) => {
                self.carry_out(&call);
                Err("connection reset".into())
            }
            Some(Fault::Garbage) => Ok(Response::new(text("<html>".to_owned()))),
        }
    }

    fn carry_out(&self, call: &Call) -> Response<Body> {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["apis"]) => self.groups(),
            ("GET", ["apis", group, version]) if *group == GROUP => self.resources(version),
            ("GET", ["apis", group, version, resource]) => self.list(call, group, version, resource),
            ("GET", ["apis", group, version, "namespaces", _, resource]) => self.list(call, group, version, resource),
            ("GET", ["apis", group, version, "namespaces", namespace, resource, name]) => {
                self.one(group, version, &key(resource, namespace, name), |object| object.clone())
            }
            ("GET", ["apis", group, version, "namespaces", namespace, resource, name, "scale"]) => {
                self.one(group, version, &key(resource, namespace, name), scale)
            }
            ("PATCH", ["apis", group, version, "namespaces", namespace, resource, name, "status"]) => {
                let apply = |object: &mut Value, patch: &Value| merge(&mut object["status"], &patch["status"]);
                self.patch(call, group, version, &key(resource, namespace, name), apply, Value::clone)
            }
            ("PATCH", ["apis", group, version, "namespaces", namespace, resource, name, "scale"]) => {
                let apply = |object: &mut Value, patch: &Value| {
                    object["spec"]["replicas"] = patch["spec"]["replicas"].clone();
                };
                self.patch(call, group, version, &key(resource, namespace, name), apply, scale)
            }
            ("POST", ["apis", "events.k8s.io", "v1", "namespaces", namespace, "events"]) => {
                let name = call.body["metadata"]["generateName"].as_str().expect("has the beginning of a name");
                assert!(name.ends_with('-'), "the API server takes no other end: {name}");
                let name = format!("{name}{:05}", self.state().version);
                self.put(&key("events", namespace, &name), call.body.clone());
                answer(&call.body)
            }
            _ => panic!("the model does not know {}", call.line()),
        }
    }

    fn groups(&self) -> Response<Body> {
        let state = self.state();
        let version = |version: &&str| json!({"groupVersion": format!("{GROUP}/{version}"), "version": version});
        let versions: Vec<Value> = state.served.iter().map(version).collect();
        let groups = match versions.first() {
            Some(preferred) => json!([{"name": GROUP, "versions": versions, "preferredVersion": preferred}]),
            None => json!([]),
        };
        answer(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
    }

    fn resources(&self, version: &str) -> Response<Body> {
        if !self.is_served(GROUP, version) {
            return not_served();
        }
        let resource = json!({"name": "mcpservers", "singularName": "mcpserver", "namespaced": true, "kind": "MCPServer",
                              "verbs": ["get", "list", "watch", "patch"]});
        answer(&json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{version}"),
                       "resources": [resource]}))
    }

    fn is_served(&self, group: &str, version: &str) -> bool {
        group != GROUP || self.state().served.contains(&version)
    }

    fn list(&self, call: &Call, group: &str, version: &str, resource: &str) -> Response<Body> {
        if !self.is_served(group, version) {
            return not_served();
        }
        if call.is_watch() {
            return self.watch(call, resource);
        }
        let state = self.state();
        let limit: usize = call.query.get("limit").map_or(usize::MAX, |limit| limit.parse().expect("is a number"));
        let from: usize = call.query.get("continue").map_or(0, |token| token.parse().expect("is a number"));
        let of_resource = state.objects.iter().filter(|((of, ..), object)| of == resource && matches(object, call));
        let rest: Vec<&Value> = of_resource.map(|(_, object)| object).skip(from).collect();
        let items = rest.get(..limit.min(rest.len())).expect("is within");
        let next = if rest.len() > limit { (from + limit).to_string() } else { String::new() };
        answer(&json!({"kind": "List", "apiVersion": "v1", "items": items,
                       "metadata": {"resourceVersion": state.version.to_string(), "continue": next}}))
    }

    /// Everything since the version that the watch begins at, then a bookmark every ten seconds, until its time is over.
    fn watch(&self, call: &Call, resource: &str) -> Response<Body> {
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
                        () = tokio::time::sleep(Duration::from_secs(10)) => is_bookmark_due = true,
                    }
                }
            }
        });
        Response::new(StreamBody::new(events.take_until(tokio::time::sleep_until(end)).boxed()).boxed_unsync())
    }

    /// What a watch is sent, and up to which version that is.
    fn events_since(&self, since: u64, resource: &str, call: &Call, is_bookmark_due: bool) -> (String, u64) {
        let state = self.state();
        if since < state.compacted {
            let gone = json!({"type": "ERROR", "object": status(410, "too old resource version")});
            return (format!("{gone}\n"), u64::MAX);
        }
        let news = state.history.iter().filter(|(version, (of, ..), _, _)| *version > since && of == resource);
        let news = news.filter(|(.., object)| matches(object, call));
        let mut lines: Vec<String> =
            news.map(|(_, _, kind, object)| format!("{}\n", json!({"type": kind, "object": object}))).collect();
        if state.is_disorderly {
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

    fn one(&self, group: &str, version: &str, key: &Key, view: impl FnOnce(&Value) -> Value) -> Response<Body> {
        if !self.is_served(group, version) {
            return not_served();
        }
        match self.state().objects.get(key) {
            Some(object) => answer(&view(object)),
            None => failure(404, "not found"),
        }
    }

    fn patch(
        &self,
        call: &Call,
        group: &str,
        version: &str,
        key: &Key,
        apply: impl FnOnce(&mut Value, &Value),
        view: impl FnOnce(&Value) -> Value,
    ) -> Response<Body> {
        assert_eq!(call.content_type, "application/merge-patch+json", "the only kind of patch that is used");
        if !self.is_served(group, version) {
            return not_served();
        }
        let Some(mut object) = self.state().objects.get(key).cloned() else { return failure(404, "not found") };
        let guard = &call.body["metadata"]["resourceVersion"];
        if !guard.is_null() && *guard != object["metadata"]["resourceVersion"] {
            return failure(409, "the object has been modified");
        }
        apply(&mut object, &call.body);
        if self.state().list_type == ListType::Map && has_a_type_twice(&object) {
            return failure(422, "duplicate value of a list map key");
        }
        self.put(key, object);
        answer(&view(self.state().objects.get(key).expect("is there")))
    }
}

fn has_a_type_twice(object: &Value) -> bool {
    let types = object["status"]["conditions"].as_array().into_iter().flatten().map(|it| it["type"].to_string());
    let mut types: Vec<String> = types.collect();
    let all = types.len();
    types.sort();
    types.dedup();
    types.len() < all
}

/// Whether an object has the labels that a list asks for.
fn matches(object: &Value, call: &Call) -> bool {
    let selector = call.query.get("labelSelector").map_or("", String::as_str);
    let mut wanted = selector.split(',').filter_map(|pair| pair.split_once('='));
    wanted.all(|(key, value)| object["metadata"]["labels"][key] == value)
}

fn scale(workload: &Value) -> Value {
    let metadata = &workload["metadata"];
    let mut spec = json!({"replicas": workload["spec"]["replicas"]});
    if spec["replicas"] == 0 {
        // As the API server writes it.
        spec = json!({});
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": spec, "status": {"replicas": 0},
           "metadata": {"name": metadata["name"], "namespace": metadata["namespace"],
                        "resourceVersion": metadata["resourceVersion"]}})
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("is an object").remove(field);
        } else {
            merge(&mut target[field], value);
        }
    }
}

fn text(text: String) -> Body {
    Full::from(text).map_err(|never| match never {}).boxed_unsync()
}

fn answer(value: &Value) -> Response<Body> {
    Response::new(text(value.to_string()))
}

fn status(code: u16, message: &str) -> Value {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        _ => "Failure",
    };
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
           "reason": reason, "code": code})
}

/// What the API server says of a path that it does not know: no Status.
fn not_served() -> Response<Body> {
    let mut response = Response::new(text("404 page not found\n".to_owned()));
    *response.status_mut() = http::StatusCode::NOT_FOUND;
    response
}

fn failure(code: u16, message: &str) -> Response<Body> {
    let mut response = answer(&status(code, message));
    *response.status_mut() = http::StatusCode::from_u16(code).expect("is a code");
    response
}
