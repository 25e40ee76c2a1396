//! The wiring: watches feed a queue of servers, and the queue feeds the reconciler.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::controller::{Config, applier};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::{self, Event, watcher};
use mcp_scaling_rules::conditions;
use mcp_scaling_rules::conditions::{LIVE_REPLICAS_WARNING, SESSION_STORAGE_WARNING, STDIO_REPLICA_CAPPED};
use mcp_scaling_rules::server::MCP_SERVER;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::client::WATCH_SECONDS;
use crate::cluster::{PAGE, api, is_gone};
use crate::plan::live_warning;
use crate::reconcile::{Failure, Reconciler};
use crate::server::Server;
use crate::workload::{Kind, Workload};

/// How long a server must be left alone before it is looked at: long enough for an operator to write its own conditions,
/// short enough for people.
pub const DEBOUNCE: Duration = Duration::from_secs(1);

/// Servers that are looked at side by side.
const CONCURRENCY: u16 = 8;

/// How often gauges are set and what is over is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(15);

/// How long servers that are being looked at may take once the controller is told to stop: less than the half minute that
/// Kubernetes gives a pod.
const GRACE: Duration = Duration::from_secs(20);

/// Why the controller came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to stop, and has finished what it had begun.
    Stopped,
    /// The API server does not serve `MCPServer` at this version any more.
    NotServed,
}

/// Keeps the servers of one namespace or of all right until `stop` comes. `is_synced` becomes true once everything has been
/// listed.
///
/// `applier` and not `Controller`, whose stable part takes no stream of its own: with one, whole objects are dropped as they
/// come, and an event that changes nothing that matters does not put off what does.
pub async fn run(
    reconciler: Arc<Reconciler>,
    namespace: Option<&str>,
    is_synced: &watch::Sender<bool>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> End {
    let stop = stop.shared();
    let writer = Writer::new(reconciler.resource.clone());
    let store = writer.as_reader();
    let failed = Arc::new(Notify::new());
    let workloads_listed = Arc::new(Notify::new());

    let [deployments, statefulsets] =
        Kind::ALL.map(|kind| workload_requests(reconciler.clone(), kind, namespace, workloads_listed.clone()));
    let servers = server_requests(&reconciler, namespace, writer, is_synced.clone(), failed.clone());
    // Without the counts of its workloads a server would look better than it is.
    let servers =
        stream::once(async move { workloads_listed.notified().await }).filter_map(|()| ready(None)).chain(servers);
    let queue = stream::select_all([servers.boxed(), deployments, statefulsets])
        .map(Ok::<_, Infallible>)
        .take_until(stop.clone());

    let config = Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let context = reconciler.clone();
    let reconciles = applier(
        |server: Arc<Server>, reconciler: Arc<Reconciler>| Box::pin(async move { reconciler.reconcile(&server).await }),
        |server, failure: &Failure, reconciler| {
            let action = reconciler.retry(&server, failure);
            if failure.is_conflict() {
                debug!(namespace = server.namespace(), name = server.name(), "somebody else wrote first");
            } else {
                warn!(namespace = server.namespace(), name = server.name(), "{failure}");
            }
            action
        },
        context,
        store.clone(),
        queue,
        config,
    );
    // What fails is told where it fails, and a server that is gone needs nothing.
    let reconciles = reconciles.for_each(|_| ready(()));
    let housekeeping = async {
        let mut ticks = tokio::time::interval(HOUSEKEEPING);
        loop {
            ticks.tick().await;
            reconciler.prune();
            set_gauges(&reconciler, &store);
        }
    };
    // A watch of what is no longer served fails in ways that cannot be told from others.
    let not_served = async {
        loop {
            failed.notified().await;
            if is_gone(&reconciler.client, &reconciler.resource).await {
                return;
            }
        }
    };
    // What has begun may end, but nothing has before everything is listed, which may never be.
    let patience = async {
        stop.await;
        if *is_synced.borrow() {
            tokio::time::sleep(GRACE).await;
        }
    };
    tokio::select! {
        () = reconciles => End::Stopped,
        () = patience => End::Stopped,
        () = not_served => End::NotServed,
        () = housekeeping => End::Stopped,
    }
}

/// The servers that changed in a way that matters.
fn server_requests(
    reconciler: &Reconciler,
    namespace: Option<&str>,
    mut writer: Writer<Server>,
    is_synced: watch::Sender<bool>,
    failed: Arc<Notify>,
) -> impl Stream<Item = ObjectRef<Server>> + Send + use<> {
    let resource = reconciler.resource.clone();
    let metrics = reconciler.metrics.clone();
    let store = writer.as_reader();
    let mut listed = Vec::new();
    let events = watcher(api::<Server>(&reconciler.client, namespace, &resource), watch_config()).default_backoff();
    events.flat_map(move |event| {
        let mut changed = Vec::new();
        match event {
            Ok(event) => {
                let event = event.modify(|server| server.meta.resource_version = None);
                if let Event::Apply(server) | Event::InitApply(server) = &event {
                    let reference = ObjectRef::from_obj_with(server, resource.clone());
                    if store.get(&reference).is_none_or(|known| *known != *server) {
                        listed.push(reference);
                    }
                }
                writer.apply_watcher_event(&event);
                // While a listing goes on, what it brings is not in the store yet.
                match event {
                    Event::Init | Event::InitApply(_) => {}
                    Event::InitDone => {
                        is_synced.send_replace(true);
                        changed = mem::take(&mut listed);
                    }
                    Event::Apply(_) | Event::Delete(_) => changed = mem::take(&mut listed),
                }
            }
            Err(error) => {
                failed.notify_one();
                metrics.watch_failed(MCP_SERVER.name);
                warn!("cannot watch MCPServers: {error}");
            }
        }
        stream::iter(changed)
    })
}

/// The servers of which a workload's count changed.
fn workload_requests(
    reconciler: Arc<Reconciler>,
    kind: Kind,
    namespace: Option<&str>,
    listed: Arc<Notify>,
) -> BoxStream<'static, ObjectRef<Server>> {
    let workloads = api::<Workload>(&reconciler.client, namespace, &kind);
    let events = watcher(workloads, watch_config().labels(kind.selector())).default_backoff();
    let requests = events.flat_map(move |event| {
        let changed = match event {
            Ok(event) => {
                let is_listed = matches!(event, Event::InitDone);
                let changed = reconciler.live.apply(kind, event);
                if is_listed && reconciler.live.are_complete() {
                    listed.notify_one();
                }
                changed
            }
            Err(error) => {
                reconciler.metrics.watch_failed(kind.name());
                warn!("cannot watch {}: {error}", kind.plural());
                Vec::new()
            }
        };
        let resource = reconciler.resource.clone();
        stream::iter(changed)
            .map(move |(namespace, name)| ObjectRef::new_with(&name, resource.clone()).within(&namespace))
    });
    requests.boxed()
}

fn watch_config() -> watcher::Config {
    watcher::Config::default().page_size(PAGE).timeout(WATCH_SECONDS)
}

fn set_gauges(reconciler: &Reconciler, store: &Store<Server>) {
    let metrics = &reconciler.metrics;
    let mut unreadable = 0;
    let mut warned = [(STDIO_REPLICA_CAPPED, 0), (SESSION_STORAGE_WARNING, 0), (LIVE_REPLICAS_WARNING, 0)];
    let servers = store.state();
    for server in &servers {
        let Ok(scaling) = server.scaling(reconciler.options.default_session_storage) else {
            unreadable += 1;
            continue;
        };
        let live = reconciler.live.of(server.namespace(), server.name());
        let of_spec = conditions(&scaling).map(|condition| condition.status == "True");
        let of_live = live_warning(&scaling, live).is_some();
        for ((_, count), is_true) in warned.iter_mut().zip(of_spec.into_iter().chain([of_live])) {
            *count += i64::from(is_true);
        }
    }
    metrics.servers.set(servers.len() as i64);
    metrics.unreadable_servers.set(unreadable);
    for (condition, count) in warned {
        metrics.warn(condition, count);
    }
}
