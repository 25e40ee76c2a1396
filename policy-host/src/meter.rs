//! Measures an evaluation in fuel, wasmtime's count of executed WebAssembly instructions. Unlike time it is the same on
//! every machine, so that tests can hold a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::engine::Compiled;
use crate::host::{GetResourceRequest, Host, ListResourcesRequest};

/// A module that is compiled to count its fuel.
pub struct Meter {
    module: Compiled,
}

/// The resources that one evaluation used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Fuel: about one unit for each WebAssembly instruction, those that start the instance included.
    pub fuel: u64,
    /// Size of the linear memory at the end, in bytes. It never shrinks, so that this is the largest size.
    pub memory: u64,
    /// Number of objects and lists that the module requested from its host.
    pub lookups: u64,
}

impl Meter {
    /// Compiles a module.
    ///
    /// # Errors
    /// If the bytes are not a WebAssembly module, or if it imports functions that waPC does not define.
    pub fn new(module: &[u8]) -> Result<Self> {
        Ok(Self { module: Compiled::new(module, true)? })
    }

    /// Calls a waPC operation in a fresh instance, and returns the response of the module with its cost.
    ///
    /// # Errors
    /// If the module traps, exceeds the fuel limit or returns an error.
    pub fn measure(&self, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<(Vec<u8>, Cost)> {
        let lookups = Arc::new(AtomicU64::new(0));
        let counter = lookups.clone();
        let counting_host = CountingHost { host, lookups: counter };
        let (response, usage) = self.module.call(operation, payload, Arc::new(counting_host), Arc::new(|_, _| {}))?;
        Ok((response, Cost { fuel: usage.fuel, memory: usage.memory, lookups: lookups.load(Ordering::Relaxed) }))
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
