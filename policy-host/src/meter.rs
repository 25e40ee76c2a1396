//! Work per evaluation, counted in wasmtime's fuel: about one unit for each WebAssembly instruction, the same on every
//! machine. Each evaluation has a fresh instance, as policy-server gives it.
//!
//! `wasmtime-provider` keeps its store to itself and so has no way to count; this is a second, minimal waPC host.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use wasmtime_provider::wasmtime::{Caller, Config, Engine, Extern, InstancePre, Linker, Memory, Module, Store};

use crate::host::{self, Host};

/// A module compiled to count its work.
pub struct Meter {
    engine: Engine,
    instance: InstancePre<Call>,
}

/// What one evaluation cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Fuel for the instance's own start: `wapc_init`.
    pub start: u64,
    /// Fuel for the call.
    pub call: u64,
    /// Linear memory at the end, in bytes.
    pub memory: u64,
    /// How often the module asked its host for an object.
    pub lookups: u64,
}

/// The state of one waPC call.
struct Call {
    operation: Vec<u8>,
    payload: Vec<u8>,
    host: Arc<dyn Host>,
    response: Option<Vec<u8>>,
    error: Option<Vec<u8>>,
    host_answer: Vec<u8>,
    lookups: u64,
}

/// More than any evaluation needs; a guest that runs away stops here.
const FUEL: u64 = 1_000_000_000;

impl Meter {
    /// Compiles a module.
    ///
    /// # Errors
    /// Where the bytes are no module, or import what waPC does not have.
    pub fn new(module: &[u8]) -> Result<Self> {
        let engine = Engine::new(Config::new().consume_fuel(true)).map_err(in_words)?;
        let module = Module::new(&engine, module).map_err(in_words)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(in_words)?;
        let instance = linker.instantiate_pre(&module).map_err(in_words)?;
        Ok(Self { engine, instance })
    }

    /// Evaluates in a fresh instance and counts.
    ///
    /// # Errors
    /// Where the module traps, runs away or answers with an error.
    pub fn measure(&self, operation: &str, payload: &[u8], host: Arc<dyn Host>) -> Result<(Vec<u8>, Cost)> {
        let call = Call {
            operation: operation.as_bytes().to_vec(),
            payload: payload.to_vec(),
            host,
            response: None,
            error: None,
            host_answer: Vec::new(),
            lookups: 0,
        };
        let mut store = Store::new(&self.engine, call);
        store.set_fuel(FUEL).map_err(in_words)?;
        let instance = self.instance.instantiate(&mut store).map_err(in_words)?;
        let init = instance.get_typed_func::<(), ()>(&mut store, "wapc_init").map_err(in_words)?;
        init.call(&mut store, ()).map_err(in_words)?;
        let start = FUEL - store.get_fuel().map_err(in_words)?;

        let guest_call = instance.get_typed_func::<(i32, i32), i32>(&mut store, "__guest_call").map_err(in_words)?;
        let lengths = (i32::try_from(operation.len())?, i32::try_from(payload.len())?);
        let succeeded = guest_call.call(&mut store, lengths).map_err(in_words)? == 1;
        let call = FUEL - start - store.get_fuel().map_err(in_words)?;

        let memory = instance.get_memory(&mut store, "memory").context("the module has no memory")?;
        let memory = memory.data_size(&store).try_into()?;
        let state = store.into_data();
        if !succeeded {
            bail!("{}", String::from_utf8_lossy(&state.error.unwrap_or_default()));
        }
        let lookups = state.lookups;
        let response = state.response.context("the module gave no response")?;
        Ok((response, Cost { start, call, memory, lookups }))
    }
}

/// wasmtime's errors are not anyhow's.
fn in_words(error: wasmtime_provider::wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

type LinkResult = wasmtime_provider::wasmtime::Result<()>;

/// The imports of a waPC guest.
///
/// Source: the [waPC protocol](https://wapc.io/docs/spec/).
fn link(linker: &mut Linker<Call>) -> LinkResult {
    linker.func_wrap("wapc", "__guest_request", |mut caller: Caller<'_, Call>, operation: i32, payload: i32| {
        let (operation_bytes, payload_bytes) = (caller.data().operation.clone(), caller.data().payload.clone());
        write(&mut caller, payload, &payload_bytes)?;
        write(&mut caller, operation, &operation_bytes)
    })?;
    linker.func_wrap("wapc", "__guest_response", |mut caller: Caller<'_, Call>, at: i32, length: i32| {
        caller.data_mut().response = Some(read(&mut caller, at, length)?);
        LinkResult::Ok(())
    })?;
    linker.func_wrap("wapc", "__guest_error", |mut caller: Caller<'_, Call>, at: i32, length: i32| {
        caller.data_mut().error = Some(read(&mut caller, at, length)?);
        LinkResult::Ok(())
    })?;
    linker.func_wrap("wapc", "__host_call", host_call)?;
    linker.func_wrap("wapc", "__host_response_len", answer_length)?;
    linker.func_wrap("wapc", "__host_response", answer)?;
    linker.func_wrap("wapc", "__host_error_len", answer_length)?;
    linker.func_wrap("wapc", "__host_error", answer)?;
    linker.func_wrap("wapc", "__console_log", |_: i32, _: i32| {})?;
    Ok(())
}

#[allow(clippy::too_many_arguments, reason = "waPC's signature")]
fn host_call(
    mut caller: Caller<'_, Call>,
    binding: i32,
    binding_length: i32,
    namespace: i32,
    namespace_length: i32,
    operation: i32,
    operation_length: i32,
    payload: i32,
    payload_length: i32,
) -> wasmtime_provider::wasmtime::Result<i32> {
    let mut text = |at, length| read(&mut caller, at, length).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let binding = text(binding, binding_length)?;
    let namespace = text(namespace, namespace_length)?;
    let operation = text(operation, operation_length)?;
    let payload = read(&mut caller, payload, payload_length)?;
    let state = caller.data_mut();
    state.lookups += u64::from(operation == "get_resource");
    let answer = host::call(&*state.host, &|_, _| {}, &binding, &namespace, &operation, &payload);
    let succeeded = answer.is_ok();
    state.host_answer = answer.unwrap_or_else(String::into_bytes);
    Ok(i32::from(succeeded))
}

fn answer_length(caller: Caller<'_, Call>) -> wasmtime_provider::wasmtime::Result<i32> {
    Ok(i32::try_from(caller.data().host_answer.len())?)
}

fn answer(mut caller: Caller<'_, Call>, at: i32) -> LinkResult {
    let bytes = caller.data().host_answer.clone();
    write(&mut caller, at, &bytes)
}

fn memory(caller: &mut Caller<'_, Call>) -> wasmtime_provider::wasmtime::Result<Memory> {
    caller
        .get_export("memory")
        .and_then(Extern::into_memory)
        .ok_or_else(|| wasmtime_provider::wasmtime::Error::msg("the guest has no memory"))
}

fn read(caller: &mut Caller<'_, Call>, at: i32, length: i32) -> wasmtime_provider::wasmtime::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length)?];
    memory(caller)?.read(caller, usize::try_from(at)?, &mut bytes)?;
    Ok(bytes)
}

fn write(caller: &mut Caller<'_, Call>, at: i32, bytes: &[u8]) -> LinkResult {
    memory(caller)?.write(caller, usize::try_from(at)?, bytes)?;
    Ok(())
}
