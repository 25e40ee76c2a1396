//! Requests other than watches: discovery, lists, reads and patches.

use futures::stream;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tower::BoxError;

use super::call::{Call, Fault};
use super::responses::{Body, failure, json_body, not_served, text};
use super::{ApiServer, GROUP, Key, ListType, key};

impl ApiServer {
    /// Serves HTTP on a port of this machine, which is returned.
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
                    async move { server.respond(request).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        port
    }

    /// Responds to a request as the API server would, or with the injected fault.
    pub(crate) async fn respond<B>(&self, request: Request<B>) -> Result<Response<Body>, BoxError>
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
            (state.fault)(&call)
        };
        match fault {
            None => Ok(self.execute(&call)),
            Some(Fault::Code(code, retry_after)) => {
                let mut response = failure(code, "injected fault");
                if let Some(seconds) = retry_after {
                    response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
                }
                Ok(response)
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangInBody) => Ok(Response::new(StreamBody::new(stream::pending()).boxed_unsync())),
            Some(Fault::Reset) => Err("connection reset".into()),
            Some(Fault::ResetAfterwards) => {
                self.execute(&call);
                Err("connection reset".into())
            }
            Some(Fault::Garbage) => Ok(Response::new(text("<html>".to_owned()))),
        }
    }

    fn execute(&self, call: &Call) -> Response<Body> {
        let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
        match (call.method.as_str(), parts.as_slice()) {
            ("GET", ["api", "v1", "namespaces", "default"]) => json_body(&json!({"metadata": {"name": "default"}})),
            ("GET", ["api", "v1", "namespaces", _]) => failure(404, "not found"),
            ("GET", ["api", version, resource]) => self.list(call, "", version, resource),
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
                let forced = self.state().forced_count;
                let apply = |object: &mut Value, patch: &Value| {
                    object["spec"]["replicas"] = forced.map_or_else(|| patch["spec"]["replicas"].clone(), Value::from);
                };
                self.patch(call, group, version, &key(resource, namespace, name), apply, scale)
            }
            ("PATCH", ["apis", "apps", version, "namespaces", namespace, "statefulsets", name]) => {
                let apply = |object: &mut Value, patch: &Value| {
                    merge(&mut object["metadata"]["annotations"], &patch["metadata"]["annotations"]);
                };
                self.patch(call, "apps", version, &key("statefulsets", namespace, name), apply, Value::clone)
            }
            ("PATCH", ["apis", group, version, "namespaces", namespace, "leases", name]) => {
                let apply = |object: &mut Value, patch: &Value| merge(&mut object["spec"], &patch["spec"]);
                self.patch(call, group, version, &key("leases", namespace, name), apply, Value::clone)
            }
            ("POST", ["apis", "coordination.k8s.io", "v1", "namespaces", namespace, "leases"]) => {
                let name = call.body["metadata"]["name"].as_str().expect("has a name");
                let key = key("leases", namespace, name);
                if self.state().objects.contains_key(&key) {
                    return failure(409, "already exists");
                }
                self.put(&key, call.body.clone());
                json_body(&call.body)
            }
            ("POST", ["apis", "events.k8s.io", "v1", "namespaces", namespace, "events"]) => {
                let name = match call.body["metadata"]["name"].as_str() {
                    Some(name) if self.get("events", name).is_some() => return failure(409, "already exists"),
                    Some(name) => name.to_owned(),
                    None => {
                        let name = call.body["metadata"]["generateName"].as_str().expect("has a name or generateName");
                        assert!(name.ends_with('-'), "the API server requires it to end like this: {name}");
                        format!("{name}{:05}", self.state().version)
                    }
                };
                self.put(&key("events", namespace, &name), call.body.clone());
                json_body(&call.body)
            }
            _ => panic!("the fake API server does not know {}", call.line()),
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
        json_body(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
    }

    fn resources(&self, version: &str) -> Response<Body> {
        if !self.is_served(GROUP, version) {
            return not_served();
        }
        let resource = json!({"name": "mcpservers", "singularName": "mcpserver", "namespaced": true, "kind": "MCPServer",
                              "verbs": ["get", "list", "watch", "patch"]});
        json_body(&json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/{version}"),
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
        // A continue token is the namespace and the name of the next object.
        let token = call.query.get("continue").and_then(|token| token.split_once('/'));
        let start = token.map_or_else(|| key(resource, "", ""), |(namespace, name)| key(resource, namespace, name));
        let of_resource = state.objects.range(start..).take_while(|((of, ..), _)| of == resource);
        let mut rest = of_resource.filter(|(_, object)| matches_selector(object, call));
        let items: Vec<&Value> = rest.by_ref().take(limit).map(|(_, object)| object).collect();
        let next = rest.next().map(|((_, namespace, name), _)| format!("{namespace}/{name}")).unwrap_or_default();
        json_body(&json!({"kind": "List", "apiVersion": "v1", "items": items,
                       "metadata": {"resourceVersion": state.version.to_string(), "continue": next}}))
    }

    fn one(&self, group: &str, version: &str, key: &Key, view: impl FnOnce(&Value) -> Value) -> Response<Body> {
        if !self.is_served(group, version) {
            return not_served();
        }
        match self.state().objects.get(key) {
            Some(object) => json_body(&view(object)),
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
        assert_eq!(call.content_type, "application/merge-patch+json", "other patches are not implemented");
        if !self.is_served(group, version) {
            return not_served();
        }
        let Some(mut object) = self.state().objects.get(key).cloned() else { return failure(404, "not found") };
        let guard = &call.body["metadata"]["resourceVersion"];
        if !guard.is_null() && *guard != object["metadata"]["resourceVersion"] {
            return failure(409, "the object has been modified");
        }
        apply(&mut object, &call.body);
        if self.state().list_type == ListType::Map && has_duplicate_type(&object) {
            return failure(422, "duplicate value of a list map key");
        }
        // A write that changes nothing has no resource version of its own, and no watch tells of it.
        if self.state().objects.get(key) != Some(&object) {
            self.put(key, object);
        }
        json_body(&view(self.state().objects.get(key).expect("exists")))
    }
}

/// Returns whether a list of conditions has a type twice.
fn has_duplicate_type(object: &Value) -> bool {
    let types = object["status"]["conditions"].as_array().into_iter().flatten().map(|it| it["type"].to_string());
    let mut types: Vec<String> = types.collect();
    let all = types.len();
    types.sort();
    types.dedup();
    types.len() < all
}

/// Returns whether an object has the labels of the call's label selector.
pub(super) fn matches_selector(object: &Value, call: &Call) -> bool {
    let selector = call.query.get("labelSelector").map_or("", String::as_str);
    let mut labels = selector.split(',').filter_map(|pair| pair.split_once('='));
    labels.all(|(key, value)| object["metadata"]["labels"][key] == value)
}

/// The Scale of a workload.
fn scale(workload: &Value) -> Value {
    let metadata = &workload["metadata"];
    let mut spec = json!({"replicas": workload["spec"]["replicas"]});
    if spec["replicas"] == 0 {
        // The API server leaves 0 out.
        spec = json!({});
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "spec": spec, "status": {"replicas": 0},
           "metadata": {"name": metadata["name"], "namespace": metadata["namespace"],
                        "resourceVersion": metadata["resourceVersion"]}})
}

/// Applies a JSON merge patch (RFC 7386).
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
