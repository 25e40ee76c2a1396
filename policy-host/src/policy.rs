//! The module and its waPC calls.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use kubewarden_policy_sdk::settings::SettingsValidationResponse;
use serde_json::{Value, json};
use wapc::WapcHost;
use wasmtime_provider::{WasmtimeEngineProviderBuilder, WasmtimeEngineProviderPre};

use crate::admission::{AdmissionRequest, AdmissionResponse, PolicyResponse};
use crate::host::{self, Host, Log};

/// A compiled policy module.
#[derive(Clone)]
pub struct Policy {
    compiled: WasmtimeEngineProviderPre,
    log: Arc<Log>,
}

impl Policy {
    /// Compiles the module in a file. Its log goes to standard error.
    ///
    /// # Errors
    /// Where the file cannot be read, is no module, or imports what Kubewarden's host does not have.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {}; `make policy.wasm` builds it", path.display()))?;
        Self::from_bytes(&bytes).with_context(|| format!("{} is no policy module", path.display()))
    }

    /// Compiles a module.
    ///
    /// # Errors
    /// As [`Policy::from_file`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let compiled = WasmtimeEngineProviderBuilder::new().module_bytes(bytes).build_pre()?;
        Ok(Self { compiled, log: Arc::new(|level, message| eprintln!("policy {level}: {message}")) })
    }

    /// The same policy with another place for its log.
    #[must_use]
    pub fn with_log(self, log: Arc<Log>) -> Self {
        Self { log, ..self }
    }

    /// Calls a waPC operation in a fresh instance, as policy-server does for each request.
    ///
    /// # Errors
    /// Where the module traps or answers with an error.
    pub fn call(&self, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<Vec<u8>> {
        let log = self.log.clone();
        let callback = move |_, binding: &str, namespace: &str, operation: &str, payload: &[u8]| {
            host::call(&*host, &*log, binding, namespace, operation, payload).map_err(Into::into)
        };
        let instance = self.compiled.rehydrate(None)?;
        Ok(WapcHost::new(Box::new(instance), Some(Box::new(callback)))?.call(operation, payload)?)
    }

    /// Has the module check its settings.
    ///
    /// # Errors
    /// Where the module fails, or answers with something that is no settings response.
    pub fn validate_settings(&self, settings: &Value) -> Result<SettingsValidationResponse> {
        let answer = self.call("validate_settings", &serde_json::to_vec(settings)?, host::empty())?;
        serde_json::from_slice(&answer).context("the module gave no settings response")
    }

    /// Has the module judge a request.
    ///
    /// # Errors
    /// Where the module fails, or answers with something that is no response. Kubewarden denies such a request with code
    /// 500.
    pub fn validate(
        &self,
        request: &AdmissionRequest,
        settings: &Value,
        host: Arc<dyn Host>,
    ) -> Result<AdmissionResponse> {
        let payload = json!({"request": request, "settings": settings});
        let answer = self.call("validate", &serde_json::to_vec(&payload)?, host)?;
        let answer: PolicyResponse = serde_json::from_slice(&answer).context("the module gave no response")?;
        answer.for_request(request).map_err(|error| anyhow!(error))
    }
}
