//! The controller: watches feed a queue of servers, and the queue feeds the reconciler.

use std::collections::HashSet;
use std::fmt::Debug;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, DefaultBackoff, Event, watcher};
use kube::{Api, Resource};
use mcp_scaling_rules::{
    AutoscalerKind, ConditionReason, ConditionStatus, ConditionType, ServerKind, Workload, spec_conditions,
};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::act::driver::Reconciler;
use crate::client::WATCH_SECONDS;
use crate::error::with_causes;
use crate::metrics::Metrics;
use crate::observe::cluster::{PAGE_SIZE, api, autoscalers, is_not_served};
use crate::observe::run_config::{self, RunConfig};
use crate::observe::server::ServerObject;
use crate::observe::server_key::ServerKey;
use crate::observe::workload::{WorkloadObject, selector};
use crate::options::StorageSource;
use crate::run::queue::reconcile_all;

/// How long after a change the gauges are updated, so that many changes cost one update.
const GAUGES: Duration = Duration::from_millis(500);

/// How often outdated entries are removed from memory.
const PRUNING: Duration = Duration::from_secs(15);

/// How long reconciles that are under way may take after a stop: less than the 30 s that Kubernetes gives a pod.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the controller ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was stopped, and the reconciles that were under way are finished or took too long.
    Stopped,
    /// The API server no longer serves `MCPServer` at this version.
    NotServed,
}

/// Reconciles the servers of one namespace or of all until `stop` completes. `is_synced` becomes true once all objects are
/// listed.
///
/// Objects are reduced to what is kept of them as they arrive, and an event that changes nothing relevant does not restart the
/// debounce time.
pub async fn run(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    is_synced: &watch::Sender<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> End {
    let stop = stop.shared();
    let watch_failed = Arc::new(Notify::new());
    let all_listed = Arc::new(Notify::new());

    let mut changes: Vec<BoxStream<'static, ServerKey>> = Vec::new();
    for workload in Workload::ALL {
        let objects = api::<WorkloadObject>(&reconciler.client, namespace, &workload);
        let apply = move |reconciler: &Reconciler, event| reconciler.watched.workload_replicas.apply(workload, event);
        let selector = selector(workload);
        changes.push(watch_dependents(
            &reconciler,
            workload.kind(),
            objects,
            Some(selector),
            all_listed.clone(),
            apply,
        ));
    }
    if reconciler.options.session_storage == StorageSource::RunConfig {
        let objects = api::<RunConfig>(&reconciler.client, namespace, &());
        let apply = |reconciler: &Reconciler, event| reconciler.watched.session_storages.apply(event);
        let selector = Some(run_config::selector());
        changes.push(watch_dependents(&reconciler, run_config::KIND, objects, selector, all_listed.clone(), apply));
    }
    let objects = autoscalers(&reconciler.client, namespace);
    let apply = |reconciler: &Reconciler, event| reconciler.watched.autoscalers.apply(event);
    changes.push(watch_dependents(
        &reconciler,
        AutoscalerKind::HorizontalPodAutoscaler.name(),
        objects,
        None,
        all_listed.clone(),
        apply,
    ));
    let servers = watch_servers(reconciler.clone(), namespace, is_synced.clone(), watch_failed.clone());
    changes.push(after_all_others_are_listed(all_listed, servers));

    let reconciles = reconcile_all(stream::select_all(changes), stop.clone(), |server| reconcile(&reconciler, server));
    let _gauges = ClearGauges(reconciler.metrics.clone());
    let gauges = async {
        loop {
            set_gauges(&reconciler);
            reconciler.changed.notified().await;
            sleep(GAUGES).await;
        }
    };
    let pruning = async {
        loop {
            sleep(PRUNING).await;
            prune(&reconciler);
        }
    };
    // A watch of a resource that is no longer served fails like any other, so each failure is checked.
    let not_served = async {
        loop {
            watch_failed.notified().await;
            if is_not_served(&reconciler.client, &reconciler.resource).await {
                return;
            }
        }
    };
    let stop_timeout = async {
        stop.await;
        sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        () = reconciles => End::Stopped,
        () = stop_timeout => End::Stopped,
        () = not_served => End::NotServed,
        () = gauges => End::Stopped,
        () = pruning => End::Stopped,
    }
}

/// Reconciles a server, and returns after which time to reconcile it again. Of one that is gone nothing is left to do.
async fn reconcile(reconciler: &Reconciler, server: ServerKey) -> Option<Duration> {
    let server = reconciler.watched.servers.get(server)?;
    let error = match reconciler.reconcile(&server).await {
        Ok(after) => return after,
        Err(error) => error,
    };
    let (namespace, name) = (server.namespace(), server.name());
    if error.is_conflict() {
        debug!(namespace, name, "another writer changed the object first");
    } else {
        warn!(namespace, name, "{}", with_causes(&error));
    }
    Some(reconciler.retry(&server, &error))
}

/// The barrier between the listings: the watch of servers starts after everything else is listed. A server that is reconciled
/// without the counts of its workloads would lose a warning that still applies.
fn after_all_others_are_listed(
    all_listed: Arc<Notify>,
    servers: impl Stream<Item = ServerKey> + Send + 'static,
) -> BoxStream<'static, ServerKey> {
    stream::once(async move { all_listed.notified().await }).filter_map(|()| ready(None)).chain(servers).boxed()
}

/// Watches servers. The stream has those that changed, and those that were deleted: the queue then finds that the server does
/// not exist, and drops a reconcile that was scheduled for later.
fn watch_servers(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    is_synced: watch::Sender<bool>,
    watch_failed: Arc<Notify>,
) -> impl Stream<Item = ServerKey> + Send + use<> {
    let objects = api::<ServerObject>(&reconciler.client, namespace, &reconciler.resource);
    let events = watcher(objects, watch_config()).backoff(WatchBackoff::default());
    events.flat_map(move |event| {
        let changed = match event {
            Ok(event) => {
                if let Event::Delete(object) = &event {
                    reconciler.memory().forget(object.server.uid);
                }
                let is_listed = matches!(event, Event::InitDone);
                let changed = reconciler.watched.servers.apply(event);
                if is_listed || !changed.is_empty() {
                    reconciler.changed.notify_one();
                }
                if is_listed {
                    is_synced.send_replace(true);
                }
                changed
            }
            Err(error) => {
                watch_failed.notify_one();
                let kind = ServerKind::McpServer.name();
                reconciler.metrics.count_watch_failure(kind);
                warn!("cannot watch {kind}s: {}", with_causes(&error));
                Vec::new()
            }
        };
        stream::iter(changed)
    })
}

/// Watches objects that servers are planned on, and applies each event. The stream has the servers that this changed.
fn watch_dependents<K>(
    reconciler: &Arc<Reconciler>,
    kind: &'static str,
    objects: Api<K>,
    selector: Option<String>,
    all_listed: Arc<Notify>,
    apply: impl Fn(&Reconciler, Event<K>) -> Vec<ServerKey> + Send + 'static,
) -> BoxStream<'static, ServerKey>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let reconciler = reconciler.clone();
    let events = watcher(objects, watcher::Config { label_selector: selector, ..watch_config() })
        .backoff(WatchBackoff::default());
    let changed = events.flat_map(move |event| {
        let changed = match event {
            Ok(event) => {
                let is_listed = matches!(event, Event::InitDone);
                let mut changed = apply(&reconciler, event);
                // A server that is not known yet is reconciled once it is.
                changed.retain(|server| reconciler.watched.servers.contains(*server));
                if !changed.is_empty() {
                    reconciler.changed.notify_one();
                }
                if is_listed && reconciler.watched.is_complete(reconciler.options.session_storage) {
                    all_listed.notify_one();
                }
                changed
            }
            Err(error) => {
                reconciler.metrics.count_watch_failure(kind);
                warn!("cannot watch {kind}s: {}", with_causes(&error));
                Vec::new()
            }
        };
        stream::iter(changed)
    });
    changed.boxed()
}

/// kube's backoff, from 0.8 to 30 seconds, which begins anew 2 minutes after the last failure only. With each event, as kube has it, it
/// would begin anew before each list, whose beginning is an event: lists that fail would follow each other within two seconds for ever
/// (kube 5.0.0, `findings/kube-watcher-backoff-of-lists.sh`).
#[derive(Default)]
struct WatchBackoff(DefaultBackoff);

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next()
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

fn watch_config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE_SIZE).timeout(WATCH_SECONDS)
}

/// Sets the gauges to zero when the controller ends, in whatever way: a process that does not lead knows nothing.
struct ClearGauges(Arc<Metrics>);

impl Drop for ClearGauges {
    fn drop(&mut self) {
        self.0.clear_gauges();
    }
}

fn prune(reconciler: &Reconciler) {
    let mut existing = HashSet::new();
    reconciler.watched.servers.for_each(|server| {
        existing.insert(server.uid);
    });
    reconciler.memory().prune(|server| existing.contains(&server), Instant::now());
}

/// Sets the gauges, once all servers are known.
fn set_gauges(reconciler: &Reconciler) {
    if !reconciler.watched.servers.is_complete() {
        return;
    }
    let metrics = &reconciler.metrics;
    let (mut servers, mut unreadable) = (0, 0);
    let mut warned = ConditionType::ALL.map(|type_| (type_, 0));
    reconciler.watched.servers.for_each(|server| {
        // `check` leaves them out too, which lists what the gauges count.
        if server.is_being_deleted {
            return;
        }
        servers += 1;
        let Ok(scaling) = &server.scaling else {
            unreadable += 1;
            return;
        };
        let current_warning = reconciler.current_warning(server, scaling);
        let due = spec_conditions(scaling).into_iter().chain(current_warning.map(ConditionReason::condition));
        for condition in due.filter(|condition| condition.status == ConditionStatus::True) {
            for (_, count) in warned.iter_mut().filter(|(type_, _)| *type_ == condition.type_) {
                *count += 1;
            }
        }
    });
    metrics.servers.set(servers);
    metrics.unreadable_servers.set(unreadable);
    for (condition, count) in warned {
        metrics.set_warned(condition, count);
    }
}
