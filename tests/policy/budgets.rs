//! Limits for the size of the module, and for the instructions and the memory that an evaluation takes. Instructions are
//! counted as fuel of the interpreter tinywasm, which is the same on every machine. docs/performance.md has the fuel of wasmtime,
//! which Kubewarden uses.
//!
//! Each limit leaves about a sixth above the measurement for what another compiler adds, so that a change which costs more
//! fails a test.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use policy_host::admission::AdmissionRequest;
use policy_host::cluster::Cluster;
use policy_host::meter::{Cost, Meter};
use serde_json::{Value, json};

use fixtures::case::repository;

/// Largest size of the module, in bytes.
const SIZE: usize = 300_000;

/// Largest memory of an evaluation, in bytes.
const MEMORY: u64 = 2 << 20;

/// A request in `test_data/requests`, the most fuel that its evaluation may take more than one by the empty guest, and the
/// number of lookups that it makes.
const FUEL: [(&str, u64, u64); 10] = [
    ("deployment-foreign", 259_000, 0),
    ("deployment-needs-nothing", 231_000, 1),
    // The specs are compared for the reset, and the pod templates because ToolHive's has no preStop hook.
    ("deployment-reset-by-operator", 949_000, 2),
    ("deployment-stdio-three-replicas", 708_000, 1),
    ("mcpserver-stdio-three-replicas", 53_900, 0),
    ("scale-deployment-stdio", 102_900, 1),
    ("scale-foreign-statefulset", 36_100, 0),
    ("statefulset-foreign", 100_800, 0),
    ("statefulset-reset-by-proxy-runner", 342_000, 1),
    ("autoscaler-stdio", 61_200, 1),
];

/// The module in this file.
fn module(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(repository().join(path)).expect("`make test` builds it")
}

/// The cost of the evaluation of a request in `test_data/requests`.
fn cost(meter: &Meter, request: &str) -> Cost {
    let test_data = repository().join("test_data");
    let text = fs::read_to_string(test_data.join(format!("requests/{request}.json"))).expect("exists");
    let request = AdmissionRequest::from_json(&text).expect("is a request");
    let payload = json!({"request": request, "settings": {}}).to_string();
    let cluster = Cluster::read(&test_data.join("cluster")).expect("is a cluster");
    let (response, cost) = meter.measure("validate", payload.as_bytes(), Arc::new(cluster)).expect("answers");
    assert_eq!(serde_json::from_slice::<Value>(&response).expect("is JSON")["accepted"], true);
    cost
}

#[test]
fn stays_within_the_size_limit() {
    let size = module("policy.wasm").len();
    assert!(size <= SIZE, "policy.wasm has {size} bytes; the limit is {SIZE}");
}

#[test]
fn stays_within_the_fuel_and_memory_limits() {
    let meter = Meter::new(&module("policy.wasm")).expect("is a module");
    let empty_guest = Meter::new(&module(Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("empty-guest.wasm")))
        .expect("is a module");
    let mut exceeded = Vec::new();
    for (request, limit, lookups) in FUEL {
        let (cost, empty) = (cost(&meter, request), cost(&empty_guest, request));
        let fuel = cost.usage.fuel.saturating_sub(empty.usage.fuel);
        if fuel > limit {
            exceeded.push(format!("{request}: {fuel} fuel more than the empty guest; the limit is {limit}"));
        }
        if cost.usage.memory > MEMORY {
            exceeded.push(format!("{request}: {} bytes of memory; the limit is {MEMORY}", cost.usage.memory));
        }
        assert_eq!(cost.lookups, lookups, "{request}");
    }
    assert_eq!(exceeded, [""; 0]);
}

#[test]
fn imports_nothing_but_wapc() {
    let module = tinywasm::parse_bytes(&module("policy.wasm")).expect("is a module");
    let namespaces: Vec<_> = module.imports.iter().map(|import| import.module.to_string()).collect();
    assert!(!namespaces.is_empty() && namespaces.iter().all(|namespace| namespace == "wapc"), "{namespaces:?}");
}
