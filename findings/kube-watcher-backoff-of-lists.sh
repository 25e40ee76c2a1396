#!/usr/bin/env bash
# The delays of kube's default backoff do not grow while a watcher cannot list.
#
# `DefaultBackoff` grows from 0.8 to 30 seconds, and `WatchStreamExt::default_backoff` starts it anew with each event of the watcher. The
# watcher has the event `Init` before each list. So a list that is refused for ever, such as without the right to it, is followed by the
# next one after 0.8 to 1.6 seconds, however often it was refused. With a backoff that ignores the events the delays grow.
#
# Seen with kube 5.0.0 on 29 November 2026: 499 lists in ten minutes, against 18.
# Needs cargo. It takes some minutes, because kube is compiled; the time of the lists is simulated.
# Exits with 0 if this is still so, and with 1 if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CARGO_TARGET_DIR
cd "$work"

mkdir src
cat >Cargo.toml <<'MANIFEST'
[package]
name = "lists"
version = "0.1.0"
edition = "2024"

[dependencies]
futures = "=0.3.34"
http = "=1.5.0"
k8s-openapi = { version = "=0.29.0", features = ["v1_36"] }
kube = { version = "=5.0.0", default-features = false, features = ["client", "runtime"] }
tokio = { version = "=1.54.1", features = ["macros", "rt", "test-util", "time"] }
tower = { version = "=0.5.3", features = ["util"] }
MANIFEST
cat >src/main.rs <<'PROGRAM'
use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::client::Body;
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{Config, DefaultBackoff, watcher};
use kube::{Api, Client};
use tower::service_fn;

const FORBIDDEN: &str =
    r#"{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "message": "no", "code": 403}"#;

/// The default backoff, which does not start anew with an event.
struct Lasting(DefaultBackoff);

impl Iterator for Lasting {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for Lasting {
    fn reset(&mut self) {}
}

/// How many lists an API server refuses in ten minutes.
async fn refused_lists(backoff: impl Backoff) -> u32 {
    let lists = Arc::new(AtomicU32::new(0));
    let counter = lists.clone();
    let server = service_fn(move |_: http::Request<Body>| {
        counter.fetch_add(1, Ordering::Relaxed);
        let response = http::Response::builder().status(403).body(Body::from(FORBIDDEN.as_bytes().to_vec()));
        ready(Ok::<_, Infallible>(response.unwrap()))
    });
    let objects: Api<ConfigMap> = Api::all(Client::new(server, "default"));
    let events = watcher(objects, Config::default()).backoff(backoff).for_each(|_| ready(()));
    tokio::time::timeout(Duration::from_secs(600), events).await.unwrap_err();
    lists.load(Ordering::Relaxed)
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() {
    println!("{} {}", refused_lists(DefaultBackoff::default()).await, refused_lists(Lasting(DefaultBackoff::default())).await);
}
PROGRAM

cargo build --quiet
read -r with_events ignoring_events < <(target/debug/lists)
echo "lists in ten minutes: $with_events with the default backoff, $ignoring_events if it ignores events"
if [ "$with_events" -lt 300 ] || [ "$ignoring_events" -gt 50 ]; then
	echo "CHANGED: the default backoff grows, or its delays are others" >&2
	exit 1
fi
