//! What this crate asks of a WebAssembly engine, so that the same host runs modules in an interpreter and in a compiler.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use wapc::{ModuleState, WapcHost, WebAssemblyEngineProvider};

use crate::host::{self, Host, Log};

/// The fuel that one call may take, in the unit of the engine. A call that would take more is stopped. It is more than a
/// hundred times what any request needs.
pub const FUEL_LIMIT: u32 = 1_000_000_000;

/// A module that an engine has loaded.
pub trait Module: Send + Sync {
    /// Makes a fresh instance and calls its start functions ([`wapc::wapc_functions::REQUIRED_STARTS`]).
    ///
    /// # Errors
    /// If the module has no memory or no function for calls, or if a start function traps.
    fn start(&self, state: Arc<ModuleState>) -> Result<Box<dyn Instance>>;
}

/// An instance of a module.
pub trait Instance {
    /// Calls the guest with the lengths of operation and payload, in bytes. It returns 1 if it has a response and 0 if it has
    /// an error.
    ///
    /// # Errors
    /// If the guest traps or takes more fuel than [`FUEL_LIMIT`].
    fn call(&mut self, operation_length: i32, payload_length: i32) -> Result<i32>;

    /// Returns the resources that the instance has used so far.
    fn usage(&self) -> Usage;
}

/// The resources that an instance used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Fuel, in the unit of the engine; 0 if the module was loaded without counting.
    pub fuel: u64,
    /// Size of the linear memory, in bytes. It never shrinks, so that this is the largest size.
    pub memory: u64,
}

/// Calls a waPC operation in a fresh instance.
pub(crate) fn call(
    module: Arc<dyn Module>,
    operation: &str,
    payload: &[u8],
    host: Arc<dyn Host>,
    log: Arc<Log>,
) -> Result<(Vec<u8>, Usage)> {
    let callback = move |_, binding: &str, namespace: &str, operation: &str, payload: &[u8]| {
        host::call(&*host, &*log, binding, namespace, operation, payload).map_err(Into::into)
    };
    let usage = Arc::new(Mutex::new(Usage::default()));
    let provider = Provider { module, instance: None, usage: usage.clone() };
    let response = WapcHost::new(Box::new(provider), Some(Box::new(callback)))?.call(operation, payload)?;
    let usage = *usage.lock().unwrap_or_else(PoisonError::into_inner);
    Ok((response, usage))
}

/// Connects a module to `wapc`, for one call.
struct Provider {
    module: Arc<dyn Module>,
    /// The instance with the state through which it talks to `wapc`.
    instance: Option<(Box<dyn Instance>, Arc<ModuleState>)>,
    usage: Arc<Mutex<Usage>>,
}

type ProviderError = Box<dyn Error + Send + Sync>;

impl WebAssemblyEngineProvider for Provider {
    fn init(&mut self, state: Arc<ModuleState>) -> Result<(), ProviderError> {
        self.instance = Some((self.module.start(state.clone())?, state));
        Ok(())
    }

    fn call(&mut self, operation_length: i32, payload_length: i32) -> Result<i32, ProviderError> {
        let (instance, state) = self.instance.as_mut().ok_or("the instance was not initialized")?;
        let result = instance.call(operation_length, payload_length);
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = instance.usage();
        Ok(result.unwrap_or_else(|trap| {
            // As in Kubewarden's host, a trap reaches the caller as an error of the guest.
            state.set_guest_error(format!("{trap:#}"));
            0
        }))
    }

    fn replace(&mut self, _module: &[u8]) -> Result<(), ProviderError> {
        Err("the module of an instance cannot be replaced".into())
    }
}
