//! Runs waPC modules in wasmtime, the engine of Kubewarden, behind the interface of `policy_host`.
//!
//! Kubewarden connects `wapc` to wasmtime with the crate `wasmtime-provider`. That crate compiles wasmtime with components,
//! garbage collection, caches and profilers, which takes longer than everything else in this repository, and it does not let
//! its user read the fuel that a call took. This is the same wasmtime behind the same `wapc`, without those.

#![forbid(unsafe_code)]

pub mod baseline;

use std::sync::Arc;

use anyhow::{Context, Result};
use policy_host::engine::{FUEL_LIMIT, Instance, Module, Usage};
use policy_host::protocol::{FUNCTIONS, Guest, MEMORY};
use policy_host::wapc::wapc_functions::{GUEST_CALL, REQUIRED_STARTS};
use policy_host::wapc::{HOST_NAMESPACE, ModuleState};
use wasmtime::{
    Caller, Config, Engine, Extern, FuncType, InstancePre, Linker, Memory, OptLevel, Store, TypedFunc, Val, ValType,
};

type State = Arc<ModuleState>;

/// A module that wasmtime has compiled.
pub struct Compiled {
    module: InstancePre<State>,
    counts_fuel: bool,
}

impl Compiled {
    /// Compiles a module. With `counts_fuel`, its instances count the fuel that they take, which makes them slower.
    ///
    /// # Errors
    /// If the bytes are not a WebAssembly module, or if it imports functions that waPC does not define.
    pub fn new(bytes: &[u8], counts_fuel: bool) -> Result<Self> {
        let mut config = Config::new();
        config.consume_fuel(counts_fuel);
        if cfg!(debug_assertions) {
            // In a debug build Cranelift itself is slow, and the tests spend more time compiling the module than running it.
            config.cranelift_opt_level(OptLevel::None);
        }
        let engine = Engine::new(&config)?;
        let linker = linker(&engine)?;
        let module = linker.instantiate_pre(&wasmtime::Module::new(&engine, bytes)?)?;
        Ok(Self { module, counts_fuel })
    }
}

impl Module for Compiled {
    fn start(&self, state: State) -> Result<Box<dyn Instance>> {
        let mut store = Store::new(self.module.module().engine(), state);
        if self.counts_fuel {
            store.set_fuel(FUEL_LIMIT.into())?;
        }
        let instance = self.module.instantiate(&mut store)?;
        for name in REQUIRED_STARTS {
            if let Some(start) = instance.get_func(&mut store, name) {
                start.typed::<(), ()>(&store)?.call(&mut store, ())?;
            }
        }
        let guest_call = instance.get_typed_func(&mut store, GUEST_CALL)?;
        let memory = instance.get_memory(&mut store, MEMORY).context("the module exports no memory")?;
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
        // Without counting, there is no fuel to read.
        let fuel = self.store.get_fuel().map_or(0, |left| u64::from(FUEL_LIMIT).saturating_sub(left));
        Usage { fuel, memory: self.memory.size(&self.store) * self.memory.page_size(&self.store) }
    }
}

/// The functions of waPC.
fn linker(engine: &Engine) -> Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    for function in &FUNCTIONS {
        let parameters = vec![ValType::I32; function.parameters];
        let signature = FuncType::new(engine, parameters, function.has_result.then_some(ValType::I32));
        linker.func_new(HOST_NAMESPACE, function.name, signature, |caller: Caller<'_, State>, values, results| {
            let parameters: Vec<_> = values.iter().filter_map(Val::i32).collect();
            let result = (function.call)(&mut Calling(caller), &parameters)
                .map_err(|error| wasmtime::Error::msg(format!("{error:#}")))?;
            results.fill(result.into());
            Ok(())
        })?;
    }
    Ok(linker)
}

/// A guest that calls its host.
struct Calling<'a>(Caller<'a, State>);

impl Calling<'_> {
    fn memory(&mut self) -> Result<Memory> {
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
