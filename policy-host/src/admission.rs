//! The admission request and response of the API server, as Kubewarden reads and writes them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use k8s_openapi::api::authentication::v1::UserInfo;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `AdmissionRequest` of `admission.k8s.io/v1`, with the members that Kubewarden passes on.
///
/// Source: `policy-evaluator`, `admission_request.rs`: which members must be there, and which may be missing.
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
    /// Reads a bare `AdmissionRequest` or a whole `AdmissionReview`, in JSON.
    ///
    /// # Errors
    /// Where the text is not JSON, or lacks a member that every request has; the error names it.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut value: Value = serde_json::from_str(json).context("the request is not JSON")?;
        if value["kind"] == "AdmissionReview" {
            let Some(request) = value.get_mut("request") else {
                bail!("the AdmissionReview has no request");
            };
            value = request.take();
        }
        serde_json::from_value(value).context("the request is no AdmissionRequest")
    }
}

/// What the module answers to `validate`.
#[derive(Clone, Debug, Deserialize)]
pub struct PolicyResponse {
    /// Whether the request may go on.
    pub accepted: bool,
    /// Why it may not.
    pub message: Option<String>,
    /// The HTTP code of a refusal.
    pub code: Option<u16>,
    /// The object to put in the place of the request's.
    pub mutated_object: Option<Value>,
    /// For the API server's audit log.
    pub audit_annotations: Option<BTreeMap<String, String>>,
    /// For the person behind the request.
    pub warnings: Option<Vec<String>>,
}

impl PolicyResponse {
    /// The answer to the API server: the difference between the request's object and the module's becomes the patch.
    ///
    /// # Errors
    /// Where the module gives back an object for a request that has none.
    pub fn for_request(self, request: &AdmissionRequest) -> Result<AdmissionResponse, String> {
        let patch = match (&request.object, &self.mutated_object) {
            (_, None) => None,
            (None, Some(_)) => return Err("the module changes an object in a request that has none".to_owned()),
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

/// `AdmissionResponse` of `admission.k8s.io/v1`, in the shape that kwctl prints.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AdmissionResponse {
    /// The request's.
    pub uid: String,
    /// Whether the request may go on.
    pub allowed: bool,
    /// `JSONPatch` where there is a patch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_type: Option<String>,
    /// The patch in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<String>,
    /// Why the request may not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// For the API server's audit log.
    pub audit_annotations: Option<BTreeMap<String, String>>,
    /// For the person behind the request.
    pub warnings: Option<Vec<String>>,
}

/// Why a request may not go on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The HTTP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
}

impl AdmissionResponse {
    /// The operations of the patch; none where there is no patch.
    ///
    /// # Errors
    /// Where the patch is no JSON patch in base64.
    pub fn patch_operations(&self) -> Result<Patch> {
        match &self.patch {
            None => Ok(Patch::default()),
            Some(patch) => Ok(serde_json::from_slice(&STANDARD.decode(patch)?)?),
        }
    }

    /// The object as it is after the patch.
    ///
    /// # Errors
    /// Where the patch does not apply to the object.
    pub fn apply_to(&self, object: &Value) -> Result<Value> {
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &self.patch_operations()?)?;
        Ok(patched)
    }
}
