//! Measures the policy module: fuel and wall time for each fixture beside the floor (a guest that accepts without
//! reading), the size of the module, and the time to compile it cold.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::Cluster;
use policy_host::host::Host;
use policy_host::meter::Meter;
use policy_host::policy::Policy;
use serde_json::json;

/// Evaluations timed for each line; the fastest tenth of them is averaged, so that what else the machine does stays out.
const ROUNDS: usize = 3000;

/// Measure the policy module against a guest that accepts without reading.
#[derive(Parser)]
struct Arguments {
    /// The policy module
    #[arg(default_value = "policy.wasm")]
    policy: PathBuf,
    /// The guest that accepts without reading
    #[arg(long)]
    floor: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let cluster: Arc<dyn Host> = Arc::new(Cluster::read(&fixtures.join("cluster"))?);

    let module = std::fs::read(&arguments.policy)?;
    let begin = Instant::now();
    let policy = Policy::from_bytes(&module)?;
    println!("size      {} bytes", module.len());
    println!("compile   {:.0} ms cold", begin.elapsed().as_secs_f64() * 1000.0);
    println!();

    let floor = Policy::from_file(&arguments.floor)?;
    let (meter, floor_meter) = (Meter::new(&module)?, Meter::new(&std::fs::read(&arguments.floor)?)?);

    println!(
        "{:<34} {:>7} {:>9} {:>9} {:>8} {:>9} {:>6}",
        "request", "payload", "fuel", "over", "time", "floor", "ratio"
    );
    println!("{:<34} {:>7} {:>9} {:>9} {:>8} {:>9} {:>6}", "", "bytes", "", "floor", "us", "us", "");
    for file in policy_host::cluster::files(&fixtures.join("requests"))? {
        let request = AdmissionRequest::from_json(&std::fs::read_to_string(&file)?)?;
        let payload = serde_json::to_vec(&json!({"request": request, "settings": {}}))?;
        let (_, cost) = meter.measure("validate", &payload, cluster.clone())?;
        let (_, floor_cost) = floor_meter.measure("validate", &payload, cluster.clone())?;
        let (time, floor_time) = times(&policy, &floor, &payload, &cluster)?;
        println!(
            "{:<34} {:>7} {:>9} {:>9} {:>8.1} {:>9.1} {:>6.2}",
            file.file_stem().unwrap_or_default().to_string_lossy(),
            payload.len(),
            cost.start + cost.call,
            (cost.start + cost.call).saturating_sub(floor_cost.start + floor_cost.call),
            micros(time),
            micros(floor_time),
            time.as_secs_f64() / floor_time.as_secs_f64(),
        );
    }
    Ok(())
}

/// Time of one evaluation by the policy and by the floor, measured in turns.
fn times(policy: &Policy, floor: &Policy, payload: &[u8], host: &Arc<dyn Host>) -> Result<(Duration, Duration)> {
    let mut samples = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
    for _ in 0..ROUNDS {
        samples.0.push(time(policy, payload, host)?);
        samples.1.push(time(floor, payload, host)?);
    }
    Ok((fastest_tenth(samples.0), fastest_tenth(samples.1)))
}

fn time(policy: &Policy, payload: &[u8], host: &Arc<dyn Host>) -> Result<Duration> {
    let begin = Instant::now();
    policy.call("validate", payload, host.clone())?;
    Ok(begin.elapsed())
}

fn fastest_tenth(mut samples: Vec<Duration>) -> Duration {
    samples.sort();
    let count = samples.len() / 10;
    samples.iter().take(count).sum::<Duration>() / u32::try_from(count).unwrap_or(1)
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000_000.0
}
