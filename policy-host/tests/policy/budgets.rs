//! Size and work of the module, in counts that are the same on every machine. `make bench` prints them all.
//!
//! A budget is what was measured with the rustup and the Debian toolchain, and a sixth more: a change that costs more is
//! one to know of.

use std::fs;
use std::sync::Arc;

use policy_host::admission::AdmissionRequest;
use policy_host::cluster::Cluster;
use policy_host::meter::{Cost, Meter};
use serde_json::{Value, json};
use wasmtime_provider::wasmtime::{Engine, Module};

use crate::harness::repository;

/// 158,000 with both; the rest is for what another release of the compiler may add.
const SIZE: usize = 165_000;

/// Fixture, fuel above the floor, lookups.
const FUEL: [(&str, u64, u64); 9] = [
    ("deployment-foreign", 230_000, 0),
    ("deployment-needs-nothing", 430_000, 1),
    ("deployment-stdio-three-replicas", 450_000, 1),
    ("mcpserver-stdio-three-replicas", 96_000, 0),
    ("scale-deployment-stdio", 118_000, 1),
    ("scale-foreign-statefulset", 57_000, 0),
    ("statefulset-foreign", 92_000, 0),
    ("statefulset-reset-by-proxy-runner", 235_000, 1),
    ("autoscaler-stdio", 115_000, 1),
];

fn module(path: &str) -> Vec<u8> {
    fs::read(repository().join(path)).expect("make test builds it")
}

fn cost(meter: &Meter, fixture: &str) -> Cost {
    let fixtures = repository().join("test_data");
    let text = fs::read_to_string(fixtures.join(format!("requests/{fixture}.json"))).expect("is there");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let payload = json!({"request": request, "settings": {}}).to_string();
    let cluster = Cluster::read(&fixtures.join("cluster")).expect("is a cluster");
    let (answer, cost) = meter.measure("validate", payload.as_bytes(), Arc::new(cluster)).expect("answers");
    assert_eq!(serde_json::from_slice::<Value>(&answer).expect("is JSON")["accepted"], true);
    cost
}

#[test]
fn size() {
    let size = module("policy.wasm").len();
    assert!(size <= SIZE, "policy.wasm has {size} bytes; the budget is {SIZE}");
}

#[test]
fn work() {
    let meter = Meter::new(&module("policy.wasm")).expect("is a module");
    let floor = Meter::new(&module("target/empty-guest.wasm")).expect("is a module");
    for (fixture, budget, lookups) in FUEL {
        let (cost, floor) = (cost(&meter, fixture), cost(&floor, fixture));
        let fuel = (cost.start + cost.call).saturating_sub(floor.start + floor.call);
        assert!(fuel <= budget, "{fixture}: {fuel} fuel above the floor; the budget is {budget}");
        assert_eq!(cost.lookups, lookups, "{fixture}");
        assert!(cost.memory <= 2 << 20, "{fixture}: {} bytes of memory", cost.memory);
    }
}

#[test]
fn it_imports_nothing_but_wapc() {
    let module = Module::new(&Engine::default(), module("policy.wasm")).expect("is a module");
    let namespaces: Vec<_> = module.imports().map(|import| import.module().to_owned()).collect();
    assert!(!namespaces.is_empty() && namespaces.iter().all(|namespace| namespace == "wapc"), "{namespaces:?}");
}
