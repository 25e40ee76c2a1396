//! Compares the policy module with a baseline (see `wasmtime_host::baseline`) on each request in `test_data`, through the
//! whole path of the host: building the payload, the waPC call in a new instance, parsing the response, and computing and
//! encoding the patch. The objects that the policy looks up are in memory, because the time that the API server takes for
//! them says nothing about the policy. Exits with 1 if a ratio is over its budget.

use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::{self, Cluster};
use policy_host::host::{GetResourceRequest, Host};
use policy_host::meter::Meter;
use policy_host::policy::{Policy, payload};
use serde_json::{Value, json};
use wasmtime_host::Compiled;
use wasmtime_host::baseline::with_response;

/// The number of evaluations that are timed for each module and request.
const ROUNDS: usize = 3000;
/// The largest ratio for a workload that is not ToolHive's. Such requests are the most frequent ones.
const FOREIGN_BUDGET: f64 = 1.35;
/// The largest ratio for a request that the policy mutates, in which the larger of docs/performance.md have room.
const MUTATED_BUDGET: f64 = 1.6;

/// Compare the time of the policy module with that of modules which do nothing
#[derive(Parser)]
struct Arguments {
    /// The policy module
    #[arg(default_value = "policy.wasm")]
    policy: PathBuf,
    /// The module that accepts every request without reading it
    #[arg(long, value_name = "FILE")]
    empty_guest: PathBuf,
    /// The module that returns a fixed response
    #[arg(long, value_name = "FILE")]
    fixed_response_guest: PathBuf,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let test_data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../test_data");
    let cluster: Arc<dyn Host> = Arc::new(cached(Cluster::read(&test_data.join("cluster"))?));

    let module = fs::read(&arguments.policy)?;
    let begin = Instant::now();
    let policy = compiled(&module)?;
    println!("size of the module    {} bytes", module.len());
    println!("time to compile it    {:.0} ms\n", begin.elapsed().as_secs_f64() * 1000.0);

    let meter = counting(&module)?;
    let empty_guest = fs::read(&arguments.empty_guest)?;
    let fixed_response_guest = fs::read(&arguments.fixed_response_guest)?;

    println!("Times in microseconds, fuel above that of the other module.\n");
    println!(
        "{:<34} {:>7} {:>8}  {:<20} {:>8} {:>8} {:>6} {:>7}",
        "request", "payload", "fuel", "compared with", "policy", "other", "ratio", "budget"
    );
    let mut within_budgets = true;
    for file in cluster::files(&test_data.join("requests"))? {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let request = AdmissionRequest::from_json(&fs::read_to_string(&file)?)?;
        let payload = payload(&request, &json!({}))?;

        let (response, cost) = meter.measure("validate", &payload, cluster.clone())?;
        let is_mutated = serde_json::from_slice::<Value>(&response)?["mutated_object"].is_object();
        let (compared_with, baseline, budget) = if is_mutated {
            let module = with_response(fixed_response_guest.clone(), &response)?;
            ("fixed-response guest", module, Some(MUTATED_BUDGET))
        } else {
            let budget = name.contains("foreign").then_some(FOREIGN_BUDGET);
            ("empty guest", empty_guest.clone(), budget)
        };
        let (_, baseline_cost) = counting(&baseline)?.measure("validate", &payload, cluster.clone())?;
        let (time, baseline_time) = compare(&policy, &compiled(&baseline)?, &request, &cluster)?;

        let ratio = time.as_secs_f64() / baseline_time.as_secs_f64();
        let is_over = budget.is_some_and(|budget| ratio > budget);
        within_budgets &= !is_over;
        println!(
            "{name:<34} {:>7} {:>8}  {compared_with:<20} {:>8.1} {:>8.1} {ratio:>6.2} {:>7}{}",
            payload.len(),
            cost.usage.fuel.saturating_sub(baseline_cost.usage.fuel),
            micros(time),
            micros(baseline_time),
            budget.map_or_else(|| "-".to_owned(), |budget| format!("{budget:.2}")),
            if is_over { "  over budget" } else { "" },
        );
    }
    Ok(if within_budgets { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The policy in wasmtime, without counting.
fn compiled(module: &[u8]) -> Result<Policy> {
    Ok(Policy::from_module(Arc::new(Compiled::new(module, false)?)))
}

/// The module in wasmtime, counting its fuel.
fn counting(module: &[u8]) -> Result<Meter> {
    Ok(Meter::from_module(Arc::new(Compiled::new(module, true)?)))
}

/// A host that looks each object up once.
fn cached(cluster: Cluster) -> impl Host {
    let objects = Mutex::new(HashMap::new());
    move |request: &GetResourceRequest| {
        let mut objects = objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.entry(request.clone()).or_insert_with(|| cluster.get_resource(request)).clone()
    }
}

/// The time of one evaluation by the policy and by the baseline. They take turns, so that both see the same load of the
/// machine.
fn compare(
    policy: &Policy,
    baseline: &Policy,
    request: &AdmissionRequest,
    host: &Arc<dyn Host>,
) -> Result<(Duration, Duration)> {
    let (mut times, mut baseline_times) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        times.push(time(policy, request, host)?);
        baseline_times.push(time(baseline, request, host)?);
    }
    Ok((fastest_tenth(times), fastest_tenth(baseline_times)))
}

fn time(policy: &Policy, request: &AdmissionRequest, host: &Arc<dyn Host>) -> Result<Duration> {
    let settings = json!({});
    let begin = Instant::now();
    // Kubewarden's host converts the request to a JSON value once more than this host does (policy-evaluator,
    // `src/runtimes/wapc/runtime.rs`).
    black_box(serde_json::to_value(request)?);
    policy.validate(request, &settings, host.clone())?;
    Ok(begin.elapsed())
}

/// The mean of the fastest tenth, which other processes on the machine disturbed least.
fn fastest_tenth(mut times: Vec<Duration>) -> Duration {
    times.sort();
    let count = times.len() / 10;
    times.iter().take(count).sum::<Duration>() / u32::try_from(count).unwrap_or(1)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}
