//! The admission request and response of the API server, in the form that Kubewarden reads and writes.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `AdmissionRequest` of `admission.k8s.io/v1`, with the fields that Kubewarden passes to a policy.
///
/// Source for required and optional fields: `policy-evaluator`, `admission_request.rs`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the Kubernetes API documents its fields")]
pub struct AdmissionRequest {
    pub uid: String,
    pub kind: GroupVersionKind,
    pub resource: GroupVersionResource,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_kind: Option<GroupVersionKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_resource: Option<GroupVersionResource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_sub_resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub operation: String,
    pub user_info: UserInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_object: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<Value>,
}

/// The user who sent a request.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the Kubernetes API documents its fields")]
pub struct UserInfo {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra: Option<BTreeMap<String, Vec<String>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
}

/// Group, version and kind.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the Kubernetes API documents its fields")]
pub struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// Group, version and resource.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[allow(missing_docs, reason = "the Kubernetes API documents its fields")]
pub struct GroupVersionResource {
    pub group: String,
    pub version: String,
    pub resource: String,
}

impl AdmissionRequest {
    /// Reads an `AdmissionRequest`, or the request of an `AdmissionReview`, from JSON.
    ///
    /// # Errors
    /// If the text is not JSON or is a manifest, or if a required field is missing; the error names the field.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut value: Value = serde_json::from_str(json).context("the request is not JSON")?;
        if value["kind"] == "AdmissionReview" {
            let Some(request) = value.get_mut("request") else {
                bail!("the AdmissionReview does not have a request");
            };
            value = request.take();
        } else if let Some(kind) = value["kind"].as_str() {
            bail!("this is a manifest of a {kind}; an admission request has the manifest in the field object");
        }
        if value.is_array() {
            bail!("this is a list; a file has one request");
        }
        serde_json::from_value(value).context("the request is not an AdmissionRequest")
    }
}

/// The response of a module to `validate`.
#[derive(Clone, Debug, Deserialize)]
pub struct PolicyResponse {
    /// Says whether the request is accepted.
    pub accepted: bool,
    /// The reason of a rejection.
    pub message: Option<String>,
    /// The HTTP status code of a rejection.
    pub code: Option<u16>,
    /// The object that replaces the object of the request.
    pub mutated_object: Option<Value>,
    /// Annotations for the audit log of the API server.
    pub audit_annotations: Option<BTreeMap<String, String>>,
    /// Warnings for the client that sent the request.
    pub warnings: Option<Vec<String>>,
}

impl PolicyResponse {
    /// Makes the response to the API server. The patch is the difference between the object of the request and the object
    /// that the module returned.
    ///
    /// # Errors
    /// If the module returned an object for a request that has no object.
    pub fn for_request(self, request: &AdmissionRequest) -> Result<AdmissionResponse, String> {
        let patch = match (&request.object, &self.mutated_object) {
            (_, None) => None,
            (None, Some(_)) => return Err("the module returned an object for a request that has no object".to_owned()),
            (Some(before), Some(after)) => Some(json_patch::diff(before, after)).filter(|patch| !patch.0.is_empty()),
        };
        let patch = patch.map(|patch| STANDARD.encode(serde_json::to_vec(&patch).unwrap_or_default()));
        let status = (self.message.is_some() || self.code.is_some())
            .then_some(Status { message: self.message, code: self.code });
        Ok(AdmissionResponse {
            uid: request.uid.clone(),
            allowed: self.accepted,
            patch_type: patch.as_ref().map(|_| "JSONPatch".to_owned()),
            patch,
            status,
            audit_annotations: self.audit_annotations,
            warnings: self.warnings,
        })
    }
}

/// `AdmissionResponse` of `admission.k8s.io/v1`, with the fields that kwctl prints.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionResponse {
    /// The identifier of the request.
    pub uid: String,
    /// Says whether the request is allowed.
    pub allowed: bool,
    /// `JSONPatch` if there is a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<String>,
    /// The JSON patch, encoded in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// The reason of a rejection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Annotations for the audit log of the API server.
    pub audit_annotations: Option<BTreeMap<String, String>>,
    /// Warnings for the client that sent the request.
    pub warnings: Option<Vec<String>>,
}

/// The reason why a request is rejected.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// The message that the client shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The HTTP status code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

impl AdmissionResponse {
    /// Decodes the patch. Without a patch the result is empty.
    ///
    /// # Errors
    /// If the patch is not a JSON patch in base64.
    pub fn patch_operations(&self) -> Result<Patch> {
        match &self.patch {
            None => Ok(Patch::default()),
            Some(patch) => Ok(serde_json::from_slice(&STANDARD.decode(patch)?)?),
        }
    }

    /// Applies the patch to the object of the request.
    ///
    /// # Errors
    /// If the patch does not fit the object.
    pub fn apply_to(&self, object: &Value) -> Result<Value> {
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &self.patch_operations()?)?;
        Ok(patched)
    }
}
