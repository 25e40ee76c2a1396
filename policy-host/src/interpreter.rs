//! Runs waPC modules in the interpreter wasmi.
//!
//! Kubewarden runs them in wasmtime, which first compiles a module to machine code. For a few requests that takes far longer
//! than to interpret them, and compiling wasmtime itself takes longer than everything else in this crate. The crate
//! `wasmtime-host` runs modules in wasmtime; its tests show that both engines give the same responses.

use std::sync::Arc;

use anyhow::{Context, Result};
use wapc::ModuleState;
use wapc::wapc_functions::{GUEST_CALL, REQUIRED_STARTS};
use wasmi::{Caller, CompilationMode, Config, Engine, Extern, Linker, Memory, Store, TypedFunc};

use crate::engine::{FUEL_LIMIT, Instance, Module, Usage};
use crate::link_wapc;
use crate::protocol::{Guest, MEMORY};

type State = Arc<ModuleState>;

/// A module that wasmi has translated.
pub(crate) struct Translated {
    module: wasmi::Module,
    linker: Linker<State>,
}

impl Translated {
    /// Translates a module.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self> {
        let mut config = Config::default();
        // All functions at once: wasmi would count the translation of a function as work of the call that needs it first.
        config.consume_fuel(true).compilation_mode(CompilationMode::Eager);
        let engine = Engine::new(&config);
        let mut linker = Linker::new(&engine);
        link_wapc!(&mut linker, Caller<'_, State>, Calling, |error: anyhow::Error| wasmi::Error::new(format!(
            "{error:#}"
        )))?;
        let module = wasmi::Module::new(&engine, bytes)?;
        // Imports are linked when an instance is made. A module whose imports are not provided is no policy.
        let mut store = Store::new(&engine, State::default());
        store.set_fuel(FUEL_LIMIT)?;
        linker.instantiate_and_start(&mut store, &module)?;
        Ok(Self { module, linker })
    }
}

impl Module for Translated {
    fn start(&self, state: State) -> Result<Box<dyn Instance>> {
        let mut store = Store::new(self.module.engine(), state);
        store.set_fuel(FUEL_LIMIT)?;
        let instance = self.linker.instantiate_and_start(&mut store, &self.module)?;
        for name in REQUIRED_STARTS {
            if let Some(start) = instance.get_func(&store, name) {
                start.typed::<(), ()>(&store)?.call(&mut store, ())?;
            }
        }
        let guest_call = instance.get_typed_func(&store, GUEST_CALL)?;
        let memory = instance.get_memory(&store, MEMORY).context("the module exports no memory")?;
        Ok(Box::new(Running { store, guest_call, memory }))
    }
}

struct Running {
    store: Store<State>,
    guest_call: TypedFunc<(i32, i32), i32>,
    memory: Memory,
}

impl Instance for Running {
    fn call(&mut self, operation_length: i32, payload_length: i32) -> Result<i32> {
        Ok(self.guest_call.call(&mut self.store, (operation_length, payload_length))?)
    }

    fn usage(&self) -> Usage {
        let left = self.store.get_fuel().unwrap_or(FUEL_LIMIT);
        Usage { fuel: FUEL_LIMIT.saturating_sub(left), memory: self.memory.size(&self.store) * 65_536 }
    }
}

/// A guest that calls its host.
struct Calling<'a>(Caller<'a, State>);

impl Calling<'_> {
    fn memory(&self) -> Result<Memory> {
        self.0.get_export(MEMORY).and_then(Extern::into_memory).context("the module exports no memory")
    }
}

impl Guest for Calling<'_> {
    fn state(&self) -> State {
        self.0.data().clone()
    }

    fn read_memory(&mut self, start: usize, bytes: &mut [u8]) -> Result<()> {
        Ok(self.memory()?.read(&self.0, start, bytes)?)
    }

    fn write_memory(&mut self, start: usize, bytes: &[u8]) -> Result<()> {
        Ok(self.memory()?.write(&mut self.0, start, bytes)?)
    }
}
