//! Runs waPC modules in the interpreter tinywasm.
//!
//! Kubewarden runs them in wasmtime, which first compiles a module to machine code. For a few requests that takes far longer
//! than to interpret them, and compiling wasmtime itself takes longer than everything else in this crate. The crate
//! `wasmtime-host` runs modules in wasmtime; its tests show that both engines give the same responses.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tinywasm::types::{FuncType, WasmType};
use tinywasm::{ExecProgress, FuncContext, FunctionTyped, HostFunction, Imports, Memory, ModuleInstance, Store};
use wapc::wapc_functions::{GUEST_CALL, REQUIRED_STARTS};
use wapc::{HOST_NAMESPACE, ModuleState};

use crate::engine::{FUEL_LIMIT, Instance, Module, Usage};
use crate::protocol::{FUNCTIONS, Guest, MEMORY};

type State = Arc<ModuleState>;

/// A module that tinywasm has translated.
pub(crate) struct Translated(tinywasm::Module);

impl Translated {
    /// Translates a module.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self> {
        let module = Self(tinywasm::parse_bytes(bytes)?);
        // Imports are linked when an instance is made. A module whose imports are not provided is no policy.
        module.instantiate(&State::default())?;
        Ok(module)
    }

    fn instantiate(&self, state: &State) -> Result<(Store, ModuleInstance)> {
        let mut store = Store::default();
        let imports = imports(&mut store, state);
        let instance = ModuleInstance::instantiate_no_start(&mut store, &self.0, Some(imports))?;
        Ok((store, instance))
    }

    fn run(&self, state: &State) -> Result<Running> {
        let (mut store, instance) = self.instantiate(state)?;
        let guest_call = instance.func(&store, GUEST_CALL)?;
        let memory = instance.memory(MEMORY).context("the module exports no memory")?;
        let mut fuel = FUEL_LIMIT;
        if let Some(start) = instance.start_func(&store)? {
            spend(&mut fuel, &mut store, |store, fuel| start.call_resumable(store, &[])?.resume_with_fuel(fuel))?;
        }
        for name in REQUIRED_STARTS.into_iter().filter(|name| instance.export_addr(name).is_some()) {
            let start = instance.func::<(), ()>(&store, name)?;
            spend(&mut fuel, &mut store, |store, fuel| start.call_resumable(store, ())?.resume_with_fuel(fuel))?;
        }
        Ok(Running { store, guest_call, memory, fuel })
    }
}

impl Module for Translated {
    fn start(&self, state: State) -> Result<Box<dyn Instance>> {
        Ok(Box::new(self.run(&state)?))
    }
}

struct Running {
    store: Store,
    guest_call: FunctionTyped<(i32, i32), i32>,
    memory: Memory,
    /// What is left of [`FUEL_LIMIT`].
    fuel: u32,
}

impl Instance for Running {
    fn call(&mut self, operation_length: i32, payload_length: i32) -> Result<i32> {
        let Self { store, guest_call, fuel, .. } = self;
        let lengths = (operation_length, payload_length);
        spend(fuel, store, |store, fuel| guest_call.call_resumable(store, lengths)?.resume_with_fuel(fuel))
    }

    fn usage(&self) -> Usage {
        let memory = self.memory.len(&self.store).unwrap_or_default();
        Usage { fuel: u64::from(FUEL_LIMIT - self.fuel), memory: memory as u64 }
    }
}

/// Makes a call that may take all fuel that is left. tinywasm counts instructions, 128 at a time: those after the last 128 of a
/// call are not counted, and a bulk copy is one instruction.
fn spend<R>(
    fuel: &mut u32,
    store: &mut Store,
    call: impl FnOnce(&mut Store, u32) -> tinywasm::Result<ExecProgress<R>>,
) -> Result<R> {
    let progress = call(store, *fuel);
    *fuel = FuncContext::new(store, 0).remaining_fuel();
    match progress? {
        ExecProgress::Completed(result) => Ok(result),
        ExecProgress::Suspended => bail!("the guest takes more than {FUEL_LIMIT} fuel"),
    }
}

/// The functions of waPC for a guest with this state.
fn imports(store: &mut Store, state: &State) -> Imports {
    let mut imports = Imports::new();
    for function in &FUNCTIONS {
        let parameters = vec![WasmType::I32; function.parameters];
        let results: &[_] = if function.has_result { &[WasmType::I32] } else { &[] };
        let state = state.clone();
        let provided =
            HostFunction::from_untyped(store, &FuncType::new(&parameters, results), move |context, values| {
                let parameters: Vec<_> = values.iter().filter_map(|value| value.as_i32()).collect();
                let result = (function.call)(&mut Calling { context, state: state.clone() }, &parameters)
                    .map_err(|error| tinywasm::Error::Other(format!("{error:#}")))?;
                Ok(if function.has_result { vec![result.into()] } else { Vec::new() })
            });
        imports.define(HOST_NAMESPACE, function.name, provided);
    }
    imports
}

/// A guest that calls its host.
struct Calling<'a> {
    context: FuncContext<'a>,
    state: State,
}

impl Guest for Calling<'_> {
    fn state(&self) -> State {
        self.state.clone()
    }

    fn read_memory(&mut self, start: usize, bytes: &mut [u8]) -> Result<()> {
        Ok(self.context.memory(MEMORY)?.read_exact(self.context.store(), start, bytes)?)
    }

    fn write_memory(&mut self, start: usize, bytes: &[u8]) -> Result<()> {
        let memory = self.context.memory(MEMORY)?;
        Ok(memory.copy_from_slice(self.context.store_mut(), start, bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(func (export "__guest_call") (param i32 i32) (result i32) (loop br 0) unreachable)`, with a memory of one page.
    const ENDLESS: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\
        \x03\x02\x01\0\
        \x05\x03\x01\0\x01\
        \x07\x19\x02\x0c__guest_call\0\0\x06memory\x02\0\
        \x0a\x0a\x01\x08\0\x03\x40\x0c\0\x0b\0\x0b";

    /// `(import "env" "abort" (func))`
    const FOREIGN_IMPORT: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0d\x01\x03env\x05abort\0\0";

    #[test]
    fn stops_a_call_that_does_not_end() {
        let mut running = Translated::new(ENDLESS).expect("is a module").run(&State::default()).expect("starts");
        running.fuel = 1000;
        let error = running.call(0, 0).expect_err("does not end");
        assert!(error.to_string().ends_with(" fuel"), "{error}");
        assert_eq!((running.fuel, running.usage().memory), (0, 65_536));
    }

    #[test]
    fn refuses_imports_that_are_not_of_wapc() {
        let error = Translated::new(FOREIGN_IMPORT).err().expect("is refused");
        assert!(error.to_string().contains("env.abort"), "{error}");
    }
}
