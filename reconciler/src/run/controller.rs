//! The controller: watches feed a queue of servers, and the queue feeds the reconciler.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt::Debug;
use std::future::{Future, ready};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, applier};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::{self, Event, watcher};
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
use crate::error::{ReconcileError, with_causes};
use crate::metrics::Metrics;
use crate::observe::cluster::{PAGE_SIZE, api, autoscalers, is_not_served};
use crate::observe::run_config::{self, RunConfig};
use crate::observe::server::Server;
use crate::observe::uid::Uid;
use crate::observe::watch_cache::ServerName;
use crate::observe::workload::{WorkloadObject, selector};
use crate::options::StorageSource;

/// How long a server must stay unchanged before it is reconciled: long enough for the operator to write its own conditions
/// first, short enough for people who wait.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// Servers that are reconciled at the same time.
const CONCURRENCY: u16 = 8;

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
/// This uses `applier` and not `Controller`, whose stable API accepts no stream of watch events. With one, objects are reduced
/// to their slim type as they arrive, and an event that changes nothing relevant does not restart the debounce time.
pub async fn run(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    is_synced: &watch::Sender<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> End {
    let stop = stop.shared();
    let writer = Writer::new(reconciler.resource.clone());
    let store = writer.as_reader();
    let watch_failed = Arc::new(Notify::new());
    let all_listed = Arc::new(Notify::new());

    let mut queue: Vec<BoxStream<'static, ObjectRef<Server>>> = Vec::new();
    for workload in Workload::ALL {
        let objects = api::<WorkloadObject>(&reconciler.client, namespace, &workload);
        let apply = move |reconciler: &Reconciler, event| reconciler.watched.workload_replicas.apply(workload, event);
        let selector = selector(workload);
        queue.push(watch_dependents(&reconciler, workload.kind(), objects, Some(selector), all_listed.clone(), apply));
    }
    if reconciler.options.session_storage == StorageSource::RunConfig {
        let objects = api::<RunConfig>(&reconciler.client, namespace, &());
        let apply = |reconciler: &Reconciler, event| reconciler.watched.session_storages.apply(event);
        let selector = Some(run_config::selector());
        queue.push(watch_dependents(&reconciler, run_config::KIND, objects, selector, all_listed.clone(), apply));
    }
    let objects = autoscalers(&reconciler.client, namespace);
    let apply = |reconciler: &Reconciler, event| reconciler.watched.autoscalers.apply(event);
    queue.push(watch_dependents(
        &reconciler,
        AutoscalerKind::HorizontalPodAutoscaler.name(),
        objects,
        None,
        all_listed.clone(),
        apply,
    ));
    let servers = watch_servers(reconciler.clone(), namespace, writer, is_synced.clone(), watch_failed.clone());
    queue.push(after_all_others_are_listed(all_listed, servers));
    let queue = stream::select_all(queue).map(Ok::<_, Infallible>).take_until(stop.clone());

    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let reconciles = applier(
        |server: Arc<Server>, reconciler: Arc<Reconciler>| Box::pin(async move { reconciler.reconcile(&server).await }),
        |server, error: &ReconcileError, reconciler: Arc<Reconciler>| {
            let action = reconciler.retry(&server, error);
            let (namespace, name) = (server.namespace(), server.name());
            if error.is_conflict() {
                debug!(namespace, name, "another writer changed the object first");
            } else {
                warn!(namespace, name, "{}", with_causes(error));
            }
            action
        },
        reconciler.clone(),
        store.clone(),
        queue,
        config,
    );
    // Errors are logged above. The other results need no action.
    let reconciles = reconciles.for_each(|_| ready(()));
    let _gauges = ClearGauges(reconciler.metrics.clone());
    let gauges = async {
        loop {
            set_gauges(&reconciler, &store);
            reconciler.changed.notified().await;
            sleep(GAUGES).await;
        }
    };
    let pruning = async {
        loop {
            sleep(PRUNING).await;
            prune(&reconciler, &store);
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
    // Before all objects are listed no reconcile is under way, and the listing may never end.
    let stop_timeout = async {
        stop.await;
        if *is_synced.borrow() {
            tokio::time::sleep(STOP_TIMEOUT).await;
        }
    };
    tokio::select! {
        () = reconciles => End::Stopped,
        () = stop_timeout => End::Stopped,
        () = not_served => End::NotServed,
        () = gauges => End::Stopped,
        () = pruning => End::Stopped,
    }
}

/// The barrier between the listings: the watch of servers starts after everything else is listed. A server that is reconciled
/// without the counts of its workloads would lose a warning that still applies.
fn after_all_others_are_listed(
    all_listed: Arc<Notify>,
    servers: impl Stream<Item = ObjectRef<Server>> + Send + 'static,
) -> BoxStream<'static, ObjectRef<Server>> {
    stream::once(async move { all_listed.notified().await }).filter_map(|()| ready(None)).chain(servers).boxed()
}

/// Watches servers. The stream has those whose slim type changed, and those that were deleted.
fn watch_servers(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    mut writer: Writer<Server>,
    is_synced: watch::Sender<bool>,
    watch_failed: Arc<Notify>,
) -> impl Stream<Item = ObjectRef<Server>> + Send + use<> {
    let resource = reconciler.resource.clone();
    let store = writer.as_reader();
    let mut changes = Changes::default();
    let events = watcher(api::<Server>(&reconciler.client, namespace, &resource), watch_config()).default_backoff();
    events.flat_map(move |event| {
        let changed = match event {
            Ok(event) => {
                let event = event.modify(|server| server.meta.resource_version = None);
                if let Event::Delete(server) = &event {
                    reconciler.memory().forget(server.uid);
                }
                let changed = changes.apply(&event, &store, &resource);
                let is_changed = !changed.is_empty() || matches!(event, Event::InitDone);
                if is_changed {
                    reconciler.changed.notify_one();
                }
                writer.apply_watcher_event(&event);
                if matches!(event, Event::InitDone) {
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

/// The servers to reconcile after an event. Those of a listing are kept until it is complete: only then are they in the store.
#[derive(Debug, Default)]
struct Changes {
    listed: Vec<ObjectRef<Server>>,
}

impl Changes {
    /// The servers to reconcile after an event that is not yet in the store.
    fn apply(
        &mut self,
        event: &Event<Server>,
        store: &Store<Server>,
        resource: &Arc<ApiResource>,
    ) -> Vec<ObjectRef<Server>> {
        let reference = |server: &Server| ObjectRef::from_obj_with(server, resource.clone());
        let is_changed = |server: &Server| store.get(&reference(server)).is_none_or(|known| *known != *server);
        match event {
            // A listing that failed begins again.
            Event::Init => self.listed.clear(),
            Event::InitApply(server) if is_changed(server) => self.listed.push(reference(server)),
            Event::InitDone => return mem::take(&mut self.listed),
            Event::Apply(server) if is_changed(server) => return vec![reference(server)],
            // The queue then finds that the server does not exist, and drops a reconcile that was scheduled for later.
            Event::Delete(server) => return vec![reference(server)],
            Event::InitApply(_) | Event::Apply(_) => {}
        }
        Vec::new()
    }
}

/// Watches objects that servers are planned on, and applies each event. The stream has the servers that this changed.
fn watch_dependents<K>(
    reconciler: &Arc<Reconciler>,
    kind: &'static str,
    objects: Api<K>,
    selector: Option<String>,
    all_listed: Arc<Notify>,
    apply: impl Fn(&Reconciler, Event<K>) -> Vec<ServerName> + Send + 'static,
) -> BoxStream<'static, ObjectRef<Server>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let reconciler = reconciler.clone();
    let events = watcher(objects, watcher::Config { label_selector: selector, ..watch_config() }).default_backoff();
    let changed = events.flat_map(move |event| {
        let changed = match event {
            Ok(event) => {
                let is_listed = matches!(event, Event::InitDone);
                let changed = apply(&reconciler, event);
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
        let resource = reconciler.resource.clone();
        stream::iter(changed)
            .map(move |(namespace, name)| ObjectRef::new_with(&name, resource.clone()).within(&namespace))
    });
    changed.boxed()
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

fn prune(reconciler: &Reconciler, store: &Store<Server>) {
    let existing: HashSet<Uid> = store.state().iter().map(|server| server.uid).collect();
    reconciler.memory().prune(|server| existing.contains(&server), Instant::now());
}

fn set_gauges(reconciler: &Reconciler, store: &Store<Server>) {
    let metrics = &reconciler.metrics;
    let mut unreadable = 0;
    let mut warned = ConditionType::ALL.map(|type_| (type_, 0));
    let servers = store.state();
    for server in &servers {
        let Ok(scaling) = &server.scaling else {
            unreadable += 1;
            continue;
        };
        let current_warning = reconciler.current_warning(server, scaling);
        let due = spec_conditions(scaling).into_iter().chain(current_warning.map(ConditionReason::condition));
        for condition in due.filter(|condition| condition.status == ConditionStatus::True) {
            for (_, count) in warned.iter_mut().filter(|(type_, _)| *type_ == condition.type_) {
                *count += 1;
            }
        }
    }
    metrics.servers.set(servers.len() as i64);
    metrics.unreadable_servers.set(unreadable);
    for (condition, count) in warned {
        metrics.set_warned(condition, count);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kube::api::ApiResource;
    use kube::core::GroupVersionKind;
    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::Changes;
    use crate::observe::server::Server;

    fn server(name: &str, replicas: u32) -> Server {
        let metadata = json!({"namespace": "default", "name": name, "uid": name});
        serde_json::from_value(json!({"metadata": metadata, "spec": {"replicas": replicas}})).expect("is read")
    }

    /// The names of the servers to reconcile after each of these events.
    fn reconciled(events: Vec<Event<Server>>) -> Vec<Vec<String>> {
        let kind = GroupVersionKind::gvk("toolhive.stacklok.dev", "v1beta1", "MCPServer");
        let resource = Arc::new(ApiResource::from_gvk(&kind));
        let mut writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let mut changes = Changes::default();
        let names = |event: Event<Server>| {
            let changed = changes.apply(&event, &store, &resource);
            writer.apply_watcher_event(&event);
            changed.into_iter().map(|reference| reference.name).collect()
        };
        events.into_iter().map(names).collect()
    }

    #[test]
    fn reconciles_listed_servers_once_the_listing_is_complete() {
        let none: Vec<String> = Vec::new();
        let list = |name| vec![Event::Init, Event::InitApply(server(name, 1)), Event::InitDone];
        assert_eq!(reconciled(list("a")), [none.clone(), none.clone(), vec!["a".to_owned()]]);
        let twice = reconciled([list("a"), list("a")].concat());
        assert_eq!(twice[3..], [none.clone(), none.clone(), none], "nothing has changed since the first listing");
    }

    #[test]
    fn drops_the_servers_of_a_listing_that_failed() {
        let events = vec![
            Event::Init,
            Event::InitApply(server("deleted-before-the-second-listing", 1)),
            Event::Init,
            Event::InitApply(server("a", 1)),
            Event::InitDone,
        ];
        assert_eq!(reconciled(events).last(), Some(&vec!["a".to_owned()]));
    }

    #[test]
    fn reconciles_servers_that_changed_or_were_deleted() {
        let events = vec![
            Event::Init,
            Event::InitDone,
            Event::Apply(server("a", 1)),
            Event::Apply(server("a", 1)),
            Event::Apply(server("a", 2)),
            Event::Delete(server("a", 2)),
        ];
        let counts: Vec<usize> = reconciled(events).iter().map(Vec::len).collect();
        assert_eq!(counts, [0, 0, 1, 0, 1, 1]);
    }
}
