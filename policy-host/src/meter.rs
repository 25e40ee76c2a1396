//! Measures an evaluation in fuel, an engine's count of executed WebAssembly instructions. Unlike time it is the same on
//! every machine, so that tests can hold a budget. Each engine has a unit of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::engine::{self, Module, Usage};
use crate::host::{GetResourceRequest, Host, ListResourcesRequest};
use crate::interpreter::Translated;

/// A module whose calls are measured.
pub struct Meter {
    module: Arc<dyn Module>,
}

/// The resources that one evaluation used.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Fuel and memory. The fuel includes the start of the instance.
    pub usage: Usage,
    /// Number of objects and lists that the module requested from its host.
    pub lookups: u64,
}

impl Meter {
    /// Loads a module into the interpreter.
    ///
    /// # Errors
    /// If the bytes are not a WebAssembly module, or if it imports functions that waPC does not define.
    pub fn new(module: &[u8]) -> Result<Self> {
        Ok(Self::from_module(Arc::new(Translated::new(module)?)))
    }

    /// Measures a module that an engine has loaded, which has to count fuel.
    pub fn from_module(module: Arc<dyn Module>) -> Self {
        Self { module }
    }

    /// Calls a waPC operation in a fresh instance, and returns the response of the module with its cost.
    ///
    /// # Errors
    /// If the module traps, exceeds the fuel limit or returns an error.
    pub fn measure(&self, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<(Vec<u8>, Cost)> {
        let lookups = Arc::new(AtomicU64::new(0));
        let counter = lookups.clone();
        let counting_host = CountingHost { host, lookups: counter };
        let (response, usage) =
            engine::call(self.module.clone(), operation, payload, Arc::new(counting_host), Arc::new(|_, _| {}))?;
        Ok((response, Cost { usage, lookups: lookups.load(Ordering::Relaxed) }))
    }
}

/// Counts the lookups that another host answers.
struct CountingHost {
    host: Arc<dyn Host>,
    lookups: Arc<AtomicU64>,
}

impl Host for CountingHost {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.host.get_resource(request)
    }

    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        self.host.list_resources(request)
    }
}
