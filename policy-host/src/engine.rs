//! Runs waPC modules with wasmtime.
//!
//! Kubewarden connects `wapc` to wasmtime with the crate `wasmtime-provider`. That crate compiles wasmtime with components,
//! garbage collection, caches and profilers, which takes longer than everything else in this crate, and it does not let
//! its user read the fuel that a call consumed. This engine is the same wasmtime behind the same `wapc`, without those.

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use wapc::wapc_functions::{
    GUEST_CALL, GUEST_ERROR_FN, GUEST_REQUEST_FN, GUEST_RESPONSE_FN, HOST_CALL, HOST_CONSOLE_LOG, HOST_ERROR_FN,
    HOST_ERROR_LEN_FN, HOST_RESPONSE_FN, HOST_RESPONSE_LEN_FN, REQUIRED_STARTS,
};
use wapc::{HOST_NAMESPACE, ModuleState, WapcHost, WebAssemblyEngineProvider};
use wasmtime::{Caller, Config, Engine, Extern, InstancePre, Linker, Memory, Module, OptLevel, Store, TypedFunc};

use crate::host::{self, Host, Log};

/// A call that consumes more fuel than this is stopped. It is more than a thousand times what any request needs.
const FUEL_LIMIT: u64 = 1_000_000_000;

/// A compiled module.
#[derive(Clone)]
pub(crate) struct Compiled {
    module: InstancePre<Arc<ModuleState>>,
    counts_fuel: bool,
}

/// The resources that one call used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Fuel that the start of the instance and the call consumed; 0 where the module was compiled without counting.
    pub(crate) fuel: u64,
    /// Size of the linear memory after the call, in bytes.
    pub(crate) memory: u64,
}

impl Compiled {
    /// Compiles a module. With `counts_fuel`, calls report the fuel that they consumed.
    pub(crate) fn new(bytes: &[u8], counts_fuel: bool) -> Result<Self> {
        let compile = || {
            let mut config = Config::new();
            config.consume_fuel(counts_fuel);
            if cfg!(debug_assertions) {
                // In a debug build Cranelift itself is slow, and the tests spend more time compiling the module than running it.
                config.cranelift_opt_level(OptLevel::None);
            }
            let engine = Engine::new(&config)?;
            let mut linker = Linker::new(&engine);
            link(&mut linker)?;
            linker.instantiate_pre(&Module::new(&engine, bytes)?)
        };
        Ok(Self { module: compile().map_err(to_anyhow)?, counts_fuel })
    }

    /// Calls a waPC operation in a fresh instance.
    pub(crate) fn call(
        &self,
        operation: &str,
        payload: &[u8],
        host: Arc<dyn Host>,
        log: Arc<Log>,
    ) -> Result<(Vec<u8>, Usage)> {
        let callback = move |_, binding: &str, namespace: &str, operation: &str, payload: &[u8]| {
            host::call(&*host, &*log, binding, namespace, operation, payload).map_err(Into::into)
        };
        let usage = Arc::new(Mutex::new(Usage::default()));
        let instance = Instance { compiled: self.clone(), usage: usage.clone(), running: None };
        let response = WapcHost::new(Box::new(instance), Some(Box::new(callback)))?.call(operation, payload)?;
        let usage = *usage.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((response, usage))
    }
}

/// An instance of a module, for one call.
struct Instance {
    compiled: Compiled,
    usage: Arc<Mutex<Usage>>,
    running: Option<Running>,
}

struct Running {
    store: Store<Arc<ModuleState>>,
    guest_call: TypedFunc<(i32, i32), i32>,
    memory: Memory,
}

impl Instance {
    fn start(&mut self, state: Arc<ModuleState>) -> wasmtime::Result<()> {
        let mut store = Store::new(self.compiled.module.module().engine(), state);
        if self.compiled.counts_fuel {
            store.set_fuel(FUEL_LIMIT)?;
        }
        let instance = self.compiled.module.instantiate(&mut store)?;
        for name in REQUIRED_STARTS {
            if let Some(start) = instance.get_func(&mut store, name) {
                start.typed::<(), ()>(&store)?.call(&mut store, ())?;
            }
        }
        let guest_call = instance.get_typed_func(&mut store, GUEST_CALL)?;
        let memory = instance.get_memory(&mut store, MEMORY).ok_or_else(no_memory)?;
        self.running = Some(Running { store, guest_call, memory });
        Ok(())
    }
}

type EngineError = Box<dyn Error + Send + Sync>;

impl WebAssemblyEngineProvider for Instance {
    fn init(&mut self, state: Arc<ModuleState>) -> Result<(), EngineError> {
        Ok(self.start(state)?)
    }

    fn call(&mut self, operation_length: i32, payload_length: i32) -> Result<i32, EngineError> {
        let Running { store, guest_call, memory } = self.running.as_mut().ok_or("the instance was not initialized")?;
        let result = guest_call.call(&mut *store, (operation_length, payload_length));
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = Usage {
            fuel: if self.compiled.counts_fuel { FUEL_LIMIT - store.get_fuel()? } else { 0 },
            memory: u64::try_from(memory.data_size(&*store))?,
        };
        Ok(result.unwrap_or_else(|trap| {
            // As in wasmtime-provider, a trap reaches the caller as an error of the guest.
            store.data().set_guest_error(trap.to_string());
            0
        }))
    }

    fn replace(&mut self, _module: &[u8]) -> Result<(), EngineError> {
        Err("the module of an instance cannot be replaced".into())
    }
}

/// Provides the functions that a waPC guest imports.
///
/// Source: the [waPC protocol](https://wapc.io/docs/spec/).
fn link(linker: &mut Linker<Arc<ModuleState>>) -> wasmtime::Result<()> {
    linker.func_wrap(HOST_NAMESPACE, GUEST_REQUEST_FN, |mut caller: Guest<'_>, operation: i32, payload: i32| {
        let Some(request) = caller.data().get_guest_request() else { return Ok(()) };
        write(&mut caller, payload, &request.msg)?;
        write(&mut caller, operation, request.operation.as_bytes())
    })?;
    linker.func_wrap(HOST_NAMESPACE, GUEST_RESPONSE_FN, |mut caller: Guest<'_>, start: i32, length: i32| {
        let response = read(&mut caller, start, length)?;
        caller.data().set_guest_response(response);
        wasmtime::Result::Ok(())
    })?;
    linker.func_wrap(HOST_NAMESPACE, GUEST_ERROR_FN, |mut caller: Guest<'_>, start: i32, length: i32| {
        let error = read_text(&mut caller, start, length)?;
        caller.data().set_guest_error(error);
        wasmtime::Result::Ok(())
    })?;
    linker.func_wrap(HOST_NAMESPACE, HOST_CALL, host_call)?;
    linker.func_wrap(HOST_NAMESPACE, HOST_RESPONSE_LEN_FN, |caller: Guest<'_>| {
        wasmtime::Result::Ok(i32::try_from(caller.data().host_response_len())?)
    })?;
    linker.func_wrap(HOST_NAMESPACE, HOST_RESPONSE_FN, |mut caller: Guest<'_>, start: i32| {
        let state = caller.data().clone();
        state.with_host_response(|response| write(&mut caller, start, response)).unwrap_or(Ok(()))
    })?;
    linker.func_wrap(HOST_NAMESPACE, HOST_ERROR_LEN_FN, |caller: Guest<'_>| {
        wasmtime::Result::Ok(i32::try_from(host_error(&caller).len())?)
    })?;
    linker.func_wrap(HOST_NAMESPACE, HOST_ERROR_FN, |mut caller: Guest<'_>, start: i32| {
        let error = host_error(&caller);
        write(&mut caller, start, error.as_bytes())
    })?;
    linker.func_wrap(HOST_NAMESPACE, HOST_CONSOLE_LOG, |mut caller: Guest<'_>, start: i32, length: i32| {
        let message = read_text(&mut caller, start, length)?;
        caller.data().do_console_log(&message);
        wasmtime::Result::Ok(())
    })?;
    Ok(())
}

type Guest<'a> = Caller<'a, Arc<ModuleState>>;

#[allow(clippy::too_many_arguments, reason = "the signature is part of the waPC protocol")]
fn host_call(
    mut caller: Guest<'_>,
    binding: i32,
    binding_length: i32,
    namespace: i32,
    namespace_length: i32,
    operation: i32,
    operation_length: i32,
    payload: i32,
    payload_length: i32,
) -> wasmtime::Result<i32> {
    let binding = read_text(&mut caller, binding, binding_length)?;
    let namespace = read_text(&mut caller, namespace, namespace_length)?;
    let operation = read_text(&mut caller, operation, operation_length)?;
    let payload = read(&mut caller, payload, payload_length)?;
    Ok(caller.data().do_host_call(&binding, &namespace, &operation, &payload).unwrap_or(0))
}

fn host_error(caller: &Guest<'_>) -> String {
    caller.data().get_host_error().unwrap_or_default()
}

/// The name under which a guest exports its linear memory.
const MEMORY: &str = "memory";

fn memory(caller: &mut Guest<'_>) -> wasmtime::Result<Memory> {
    caller.get_export(MEMORY).and_then(Extern::into_memory).ok_or_else(no_memory)
}

fn no_memory() -> wasmtime::Error {
    wasmtime::Error::msg("the module exports no memory")
}

fn read(caller: &mut Guest<'_>, start: i32, length: i32) -> wasmtime::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    memory(caller)?.read(caller, usize::try_from(start)?, &mut bytes)?;
    Ok(bytes)
}

fn read_text(caller: &mut Guest<'_>, start: i32, length: i32) -> wasmtime::Result<String> {
    Ok(String::from_utf8(read(caller, start, length)?)?)
}

fn write(caller: &mut Guest<'_>, start: i32, bytes: &[u8]) -> wasmtime::Result<()> {
    memory(caller)?.write(caller, usize::try_from(start)?, bytes)?;
    Ok(())
}

/// The error types of wasmtime and anyhow do not convert into each other.
fn to_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
