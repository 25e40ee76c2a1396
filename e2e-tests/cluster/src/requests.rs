//! Requests to the API server and its responses, warnings included.

use anyhow::{Context, Result, ensure};
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use mcp_scaling_rules::ConditionReason;
use mcp_scaling_rules::kind::{GROUP, ServerKind};
use serde_json::{Value, json};

/// `Content-Type` of a JSON object.
pub(crate) const JSON: &str = "application/json";
/// `Content-Type` of a JSON merge patch.
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
/// `Content-Type` of a server-side apply.
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Makes requests as one user.
///
/// Resources are named by their plural, as in a path. If a method takes the name of an object, `NAME/SUBRESOURCE` is
/// a subresource of it.
#[derive(Clone)]
pub struct ApiClient {
    /// The client that it makes them with.
    pub client: Client,
    /// The version of ToolHive's API group that this client uses.
    toolhive_version: &'static str,
}

/// What the API server answered.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status code.
    pub code: u16,
    /// The object, or the `Status` of a rejected request.
    pub body: Value,
    /// The texts of the `Warning` headers.
    pub warnings: Vec<String>,
}

impl Response {
    /// The response to a request that succeeded.
    ///
    /// # Errors
    /// If it did not; the API server's message is in the error.
    pub fn success(self) -> Result<Self> {
        ensure!(self.code < 300, "the API server answered {}: {}", self.code, self.body["message"]);
        Ok(self)
    }
}

impl ApiClient {
    /// Makes requests with this client, with ToolHive's objects at this version.
    pub(crate) fn new(client: Client, toolhive_version: &'static str) -> Self {
        Self { client, toolhive_version }
    }

    /// Changes the version of ToolHive's API group.
    pub(crate) fn set_toolhive_version(&mut self, version: &'static str) {
        self.toolhive_version = version;
    }

    /// Makes a request. A body of `null` is sent as an empty one.
    ///
    /// # Errors
    /// If the API server does not answer. An answer with an error code is a [`Response`].
    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: &Value) -> Result<Response> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path);
        let request = request.header(http::header::CONTENT_TYPE, content_type).body(Body::from(body))?;
        let response = self.client.send(request).await.with_context(|| format!("{method} {path}"))?;
        let warnings = response.headers().get_all(http::header::WARNING).iter().map(warning_text).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body =
            serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({"message": String::from_utf8_lossy(&bytes)}));
        Ok(Response { code, body, warnings })
    }

    /// The path of a resource in a namespace.
    pub fn path(&self, resource: &str, namespace: &str) -> String {
        let group_version = match resource {
            "horizontalpodautoscalers" => "autoscaling/v2".to_owned(),
            "events" => "events.k8s.io/v1".to_owned(),
            "leases" => "coordination.k8s.io/v1".to_owned(),
            _ if ServerKind::ALL.map(ServerKind::resource).contains(&resource) => {
                format!("{GROUP}/{}", self.toolhive_version)
            }
            _ => "apps/v1".to_owned(),
        };
        format!("/apis/{group_version}/namespaces/{namespace}/{resource}")
    }

    /// Reads the response to a GET of a path.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn get_path(&self, path: &str) -> Result<Response> {
        self.send("GET", path, JSON, &Value::Null).await
    }

    /// Creates an object at a path.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn post_path(&self, path: &str, object: &Value) -> Result<Response> {
        self.send("POST", path, JSON, object).await
    }

    /// Merges a JSON merge patch into the object at a path.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn merge_path(&self, path: &str, patch: &Value) -> Result<Response> {
        self.send("PATCH", path, MERGE_PATCH, patch).await
    }

    /// Deletes the object at a path.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn delete_path(&self, path: &str) -> Result<Response> {
        self.send("DELETE", path, JSON, &Value::Null).await
    }

    /// Creates an object.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn create(&self, resource: &str, namespace: &str, object: &Value) -> Result<Response> {
        self.post_path(&self.path(resource, namespace), object).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// If the object does not exist.
    pub async fn get(&self, resource: &str, namespace: &str, name: &str) -> Result<Value> {
        let path = self.object_path(resource, namespace, name);
        let response = self.get_path(&path).await?.success();
        Ok(response.with_context(|| format!("GET {path}"))?.body)
    }

    /// The items of a resource in a namespace.
    ///
    /// # Errors
    /// If the API server does not serve the resource.
    pub async fn list(&self, resource: &str, namespace: &str) -> Result<Vec<Value>> {
        let list = self.get_path(&self.path(resource, namespace)).await?.success()?.body;
        list["items"].as_array().cloned().with_context(|| format!("the list of {resource} has no items"))
    }

    /// Reads an object, changes it and writes it back, as controllers do; repeats this on a conflict.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub async fn update(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        change: impl Fn(&mut Value),
    ) -> Result<Response> {
        let path = self.object_path(resource, namespace, name);
        loop {
            let mut object = self.get(resource, namespace, name).await?;
            change(&mut object);
            let response = self.send("PUT", &path, JSON, &object).await?;
            if response.code != 409 {
                return Ok(response);
            }
        }
    }

    /// Merges a JSON merge patch into an object.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn merge(&self, resource: &str, namespace: &str, name: &str, patch: &Value) -> Result<Response> {
        self.merge_path(&self.object_path(resource, namespace, name), patch).await
    }

    /// Applies an object on the server's side, as this field manager. With `force` it takes over fields of others.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn apply(
        &self,
        resource: &str,
        namespace: &str,
        manager: &str,
        force: bool,
        object: &Value,
    ) -> Result<Response> {
        let name = object["metadata"]["name"].as_str().context("the object has no name")?;
        let path = format!("{}?fieldManager={manager}&force={force}", self.object_path(resource, namespace, name));
        self.send("PATCH", &path, APPLY_PATCH, object).await
    }

    /// Sets a count of replicas as autoscalers do: reads the Scale and writes it back.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub async fn scale(&self, resource: &str, namespace: &str, name: &str, replicas: u32) -> Result<Response> {
        let name = format!("{name}/scale");
        self.update(resource, namespace, &name, |scale| scale["spec"] = json!({"replicas": replicas})).await
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// As [`ApiClient::send`].
    pub async fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<Response> {
        self.delete_path(&self.object_path(resource, namespace, name)).await
    }

    /// `spec.replicas` of a workload.
    ///
    /// # Errors
    /// If the workload does not exist.
    pub async fn replicas(&self, resource: &str, namespace: &str, name: &str) -> Result<u64> {
        let object = self.get(resource, namespace, name).await?;
        object["spec"]["replicas"].as_u64().with_context(|| format!("{resource} {name} has no spec.replicas"))
    }

    /// The versions that an object had since this resource version, which it was read at.
    ///
    /// # Errors
    /// If the API server does not remember that long, which is some minutes.
    pub async fn versions_since(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        resource_version: &str,
    ) -> Result<Vec<Value>> {
        let path = format!(
            "{}?watch=true&timeoutSeconds=1&fieldSelector=metadata.name={name}&resourceVersion={resource_version}",
            self.path(resource, namespace)
        );
        let request = Request::get(&path).body(Vec::new())?;
        let events = self.client.request_text(request).await.with_context(|| format!("GET {path}"))?;
        let mut versions = Vec::new();
        for line in events.lines() {
            let mut event: Value = serde_json::from_str(line)?;
            ensure!(event["type"] != "ERROR", "GET {path}: {}", event["object"]["message"]);
            versions.push(event["object"].take());
        }
        Ok(versions)
    }

    /// Status and reason of a condition of an `MCPServer`, both empty if it has none of this type.
    ///
    /// # Errors
    /// If the `MCPServer` does not exist.
    pub async fn condition(&self, namespace: &str, name: &str, type_: &str) -> Result<(String, String)> {
        let server = self.get(ServerKind::McpServer.resource(), namespace, name).await?;
        let mut conditions = server["status"]["conditions"].as_array().into_iter().flatten();
        let condition = conditions.find(|condition| condition["type"] == type_).unwrap_or(&Value::Null);
        Ok((text(&condition["status"]), text(&condition["reason"])))
    }

    fn object_path(&self, resource: &str, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.path(resource, namespace))
    }
}

/// Status and reason of the condition that belongs to this reason, as [`ApiClient::condition`] returns them.
pub fn status_and_reason(reason: ConditionReason) -> (String, String) {
    (reason.condition().status.name().to_owned(), reason.name().to_owned())
}

/// The text of a JSON string, empty for any other value.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The text of a `Warning` header, which is `299 - "text"`.
fn warning_text(header: &http::HeaderValue) -> String {
    let text = header.to_str().unwrap_or_default().splitn(3, ' ').nth(2).unwrap_or_default();
    text.trim_matches('"').replace("\\\"", "\"")
}
