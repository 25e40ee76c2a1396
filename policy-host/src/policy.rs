//! A policy module and its waPC operations.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admission::{AdmissionRequest, AdmissionResponse, PolicyResponse};
use crate::engine::{self, Module};
use crate::host::{self, Host, Log};
use crate::interpreter::Translated;

/// The response of a module to `validate_settings`.
#[derive(Clone, Debug, Deserialize)]
pub struct SettingsValidationResponse {
    /// Says whether the module accepts the settings.
    pub valid: bool,
    /// The reason why it does not.
    pub message: Option<String>,
}

/// A policy module.
#[derive(Clone)]
pub struct Policy {
    module: Arc<dyn Module>,
    log: Arc<Log>,
}

impl Policy {
    /// Loads the module in a file into the interpreter. Its log is written to standard error.
    ///
    /// # Errors
    /// If the file cannot be read, is not a WebAssembly module, or imports functions that Kubewarden does not provide.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {}; `make policy.wasm` builds it", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| format!("{} is not a policy module", path.display()))
    }

    /// Loads a module into the interpreter.
    ///
    /// # Errors
    /// As [`Policy::from_file`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Ok(Self::from_module(Arc::new(Translated::new(bytes)?)))
    }

    /// A policy that an engine has loaded.
    pub fn from_module(module: Arc<dyn Module>) -> Self {
        let log = |level: &str, message: &str| eprintln!("policy {level}: {message}");
        Self { module, log: Arc::new(log) }
    }

    /// The same policy, with another function that receives its log.
    #[must_use]
    pub fn with_log(self, log: Arc<Log>) -> Self {
        Self { log, ..self }
    }

    /// Calls a waPC operation in a fresh instance, as policy-server does for each request.
    ///
    /// # Errors
    /// If the module traps or returns an error.
    pub fn call(&self, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<Vec<u8>> {
        let (response, _) = engine::call(self.module.clone(), operation, payload, host, self.log.clone())?;
        Ok(response)
    }

    /// Lets the module validate its settings.
    ///
    /// # Errors
    /// If the module fails, or if its response is not a settings response.
    pub fn validate_settings(&self, settings: &Value) -> Result<SettingsValidationResponse> {
        let response = self.call("validate_settings", &serde_json::to_vec(settings)?, host::empty())?;
        serde_json::from_slice(&response).context("the module did not return a settings response")
    }

    /// Lets the module validate a request, and makes the response to the API server.
    ///
    /// # Errors
    /// If the module fails, or if its response is not a policy response. Kubewarden denies such a request with code 500.
    pub fn validate(
        &self,
        request: &AdmissionRequest,
        settings: &Value,
        host: Arc<dyn Host>,
    ) -> Result<AdmissionResponse> {
        let payload = payload(request, settings)?;
        let response = self.call("validate", &payload, host)?;
        let response: PolicyResponse =
            serde_json::from_slice(&response).context("the module did not return a policy response")?;
        response.for_request(request).map_err(|error| anyhow!(error))
    }
}

/// The payload of the operation `validate`.
///
/// # Errors
/// If the request cannot be serialized.
pub fn payload(request: &AdmissionRequest, settings: &Value) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec(&json!({"request": request, "settings": settings}))?)
}
