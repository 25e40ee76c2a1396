//! The driver of reconciles: makes the calls of the [machine](crate::decide::machine), which decides on them and on their order.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{ApiResource, GetParams};
use kube::core::Request;
use kube::runtime::watcher::Event;
use kube::{Client, Resource};
use mcp_scaling_rules::{Condition, ConditionReason, Scaling, Workload};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::act::publish::publish;
use crate::act::scale::{read_scale, read_statefulset, write_change, write_preserved_count};
use crate::act::status::write_conditions;
use crate::decide::events::{self, Report};
use crate::decide::machine::{self, Answer, Call, Context, Done, Next, Reconcile, SpecVersion, Write};
use crate::decide::memory::{Memory, ServerMemory};
use crate::decide::plan;
use crate::decide::retries::Retries;
use crate::decide::write_rate::WriteRate;
use crate::error::{ReconcileError, with_causes};
use crate::metrics::Metrics;
use crate::observe::observed::{Observed, WatchedObjects};
use crate::observe::server::{FreshServer, Server, ServerObject};
use crate::observe::uid::Uid;
use crate::observe::workload::WorkloadObject;
use crate::options::Options;

/// Reconciles servers.
pub struct Reconciler {
    pub(crate) client: Client,
    /// `MCPServer`, at the version that the API server prefers.
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) options: Options,
    pub(crate) watched: WatchedObjects,
    pub(crate) metrics: Arc<Metrics>,
    /// The reporting instance of events.
    instance: String,
    memory: Mutex<Memory>,
    write_rate: Mutex<WriteRate>,
    /// Notified when something changes that the gauges tell of.
    pub(crate) changed: Notify,
}

/// The objects of one reconcile.
#[derive(Debug)]
pub struct Objects {
    cached: Arc<Server>,
    /// The server that was read. The conditions are written to it.
    fresh: Option<FreshServer>,
    statefulset: Option<WorkloadObject>,
}

impl Objects {
    /// Those of a reconcile that begins with this server.
    pub fn new(cached: Arc<Server>) -> Self {
        Self { cached, fresh: None, statefulset: None }
    }
}

impl Reconciler {
    /// A reconciler for the `MCPServer`s that the API server serves as `resource`. Its events name `instance` as the reporting
    /// instance.
    pub fn new(
        client: Client,
        resource: ApiResource,
        options: Options,
        metrics: Arc<Metrics>,
        instance: String,
    ) -> Self {
        Self {
            client,
            resource: Arc::new(resource),
            options,
            watched: WatchedObjects::default(),
            metrics,
            instance,
            memory: Mutex::default(),
            write_rate: Mutex::new(WriteRate::new(options.writes_per_second, Instant::now())),
            changed: Notify::new(),
        }
    }

    /// Reconciles a server that is in the cache as `cached`, and returns after which time to reconcile it again, if it is not to wait for a
    /// change.
    ///
    /// # Errors
    /// [`ReconcileError`] if a call to the API server failed. The other writes are still made.
    pub(crate) async fn reconcile(&self, cached: &Arc<Server>) -> Result<Option<Duration>, ReconcileError> {
        let result = self.drive(cached).await;
        self.metrics.count_reconcile(&result);
        if result.is_ok() {
            self.memory().update(cached.uid, |memory| memory.retries = Retries::default());
        }
        result
    }

    /// After which time to reconcile a server again after an error. A write that is always refused must not put off what waits for a
    /// time of its own.
    pub(crate) fn retry(&self, server: &Server, error: &ReconcileError) -> Duration {
        let delay = self.memory().update(server.uid, |memory| {
            let delay = memory.retries.delay_after_failure();
            memory.shortest_wait(Instant::now()).map_or(delay, |wait| wait.min(delay))
        });
        delay.max(error.retry_after().unwrap_or_default())
    }

    /// The reason for which `WorkloadReplicasWarning` should be `True` now, if there is one.
    pub(crate) fn current_warning(&self, server: &Server, scaling: &Scaling) -> Option<ConditionReason> {
        let mut memory = self.memory().get(server.uid).cloned().unwrap_or_default();
        let observed = self.observed(server);
        let context = self.context(&observed, &mut memory);
        plan::current_warning(scaling, machine::inputs(scaling, &context))
    }

    /// What is remembered of the servers.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the calls of one reconcile.
    async fn drive(&self, cached: &Arc<Server>) -> Result<Option<Duration>, ReconcileError> {
        let mut machine = Reconcile::default();
        let mut objects = Objects::new(cached.clone());
        let mut error = None;
        let mut uid = cached.uid;
        let mut next = self.next(&mut machine, Answer::Server(Some(cached)), cached, uid);
        loop {
            let call = match next {
                Next::Call(call) => call,
                Next::Done(Done::AwaitChange) => return Ok(None),
                Next::Done(Done::Requeue(delay)) => return Ok(Some(delay)),
                Next::Done(Done::Invalid(field)) => {
                    let (namespace, name) = (cached.namespace(), cached.name());
                    warn!(namespace, name, "the MCPServer is not reconciled: {field}");
                    return Ok(None);
                }
                Next::Done(Done::Failed) => return error.map_or_else(|| Ok(None), Err),
            };
            let answer = self.call(call, &mut objects).await.unwrap_or_else(|failure| {
                error = Some(failure);
                Answer::Failed
            });
            // It may be another one of the same name by now.
            if let Answer::Server(Some(server)) = &answer {
                uid = server.uid;
            }
            next = self.next(&mut machine, answer, cached, uid);
        }
    }

    fn next(&self, machine: &mut Reconcile, answer: Answer<'_>, cached: &Server, uid: Uid) -> Next {
        let observed = self.observed(cached);
        self.memory().update(uid, |memory| machine.next(answer, self.context(&observed, memory)))
    }

    fn context<'a>(&'a self, observed: &'a Observed, memory: &'a mut ServerMemory) -> Context<'a> {
        Context { options: &self.options, observed, memory, now: Instant::now() }
    }

    /// What the watches tell of the objects that belong to a server.
    pub fn observed(&self, server: &Server) -> Observed {
        self.watched.of(server)
    }

    /// Takes a workload as its watch tells of it.
    pub fn observe(&self, workload: Workload, object: WorkloadObject) {
        self.watched.workload_replicas.apply(workload, Event::Apply(object));
    }

    /// Makes a call of a reconcile and returns the answer.
    ///
    /// # Errors
    /// [`ReconcileError`] if the API server does not answer, or refuses it. The answer is [`Answer::Failed`] then.
    pub async fn call<'a>(&self, call: Call, objects: &'a mut Objects) -> Result<Answer<'a>, ReconcileError> {
        let server = &*objects.cached;
        Ok(match call {
            Call::AskForTurn => Answer::Turn(self.write_rate().put_off(Instant::now())),
            Call::ReadServer => {
                objects.fresh = self.read(server).await?;
                Answer::Server(objects.fresh.as_ref().map(|fresh| &fresh.server))
            }
            Call::ReadScale(workload) => Answer::Scale(read_scale(&self.client, server, workload).await?),
            Call::ReadStatefulSet => {
                objects.statefulset = read_statefulset(&self.client, server).await?;
                Answer::StatefulSet(objects.statefulset.as_ref())
            }
            Call::ReadSpec => Answer::Spec(self.read(server).await?.map(|now| SpecVersion::of(&now.server))),
            Call::Write(write) if self.options.dry_run => {
                log_dry_run(server, &write);
                Answer::NotWritten
            }
            Call::Write(write) => {
                self.wait_for_token().await;
                self.write(write, server, objects.fresh.as_ref()).await?
            }
            Call::Report(report) => {
                self.report(report, server, objects.fresh.as_ref()).await;
                Answer::Reported
            }
        })
    }

    /// The server as it is now, `None` if it is gone.
    async fn read(&self, cached: &Server) -> Result<Option<FreshServer>, ReconcileError> {
        let path = ServerObject::url_path(&self.resource, Some(cached.namespace()));
        let request = Request::new(path).get(cached.name(), &GetParams::default());
        let failed = |source| ReconcileError::Call { action: "read the MCPServer", source };
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        match self.client.request_text(request).await {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn write(
        &self,
        write: Write,
        server: &Server,
        fresh: Option<&FreshServer>,
    ) -> Result<Answer<'static>, ReconcileError> {
        let (namespace, name) = (server.namespace(), server.name());
        match write {
            Write::Scale { change, event, .. } => {
                let stored = write_change(&self.client, server, &change).await?;
                if i64::from(stored) == i64::from(change.to) {
                    self.metrics.count_correction(change.workload);
                    info!(namespace, name, "{}", event.note);
                } else {
                    warn!(namespace, name, "{}", events::changed_on_its_way(&change, stored).note);
                }
                Ok(Answer::Stored(stored))
            }
            Write::PreservedCount { count, resource_version } => {
                write_preserved_count(&self.client, server, count, resource_version).await?;
                debug!(namespace, name, count, "wrote the annotation with the count before 0");
                Ok(Answer::Preserved)
            }
            Write::Conditions(desired) => {
                let Some(fresh) = fresh else { return Ok(Answer::NotWritten) };
                let transitions = write_conditions(&self.client, &self.resource, fresh, &desired).await?;
                self.metrics.status_writes.inc();
                for transition in &transitions {
                    log_condition(server, &transition.to, "set the condition");
                }
                Ok(Answer::Conditions(transitions))
            }
        }
    }

    async fn report(&self, report: Report, server: &Server, fresh: Option<&FreshServer>) {
        let (namespace, name) = (server.namespace(), server.name());
        let event = match report {
            Report::Event(event) => event,
            Report::News(event) => {
                warn!(namespace, name, "{}", event.note);
                if self.options.dry_run {
                    return;
                }
                event
            }
            Report::BackingOff(target) => {
                self.metrics.backoffs.inc();
                let event = events::backing_off(target);
                warn!(namespace, name, "{}", event.note);
                event
            }
        };
        let regarding = ObjectReference {
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            uid: fresh.map(|fresh| fresh.uid.clone()),
            ..ObjectReference::default()
        };
        self.wait_for_token().await;
        // A lost event needs no retry: the status or the log has the same information.
        if let Err(error) = publish(&self.client, &regarding, &self.instance, event).await {
            self.metrics.event_failures.inc();
            warn!(namespace, name, "cannot publish an event: {}", with_causes(&error));
        }
    }

    /// Waits until the next write may be made.
    async fn wait_for_token(&self) {
        let wait = self.write_rate().take(Instant::now());
        tokio::time::sleep(wait).await;
    }

    fn write_rate(&self) -> MutexGuard<'_, WriteRate> {
        self.write_rate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_dry_run(server: &Server, write: &Write) {
    let (namespace, name) = (server.namespace(), server.name());
    match write {
        Write::Scale { event, .. } => info!(namespace, name, "dry run, not written: {}", event.note),
        Write::PreservedCount { count, .. } => {
            info!(namespace, name, count, "dry run, not written: the annotation with the count before 0");
        }
        Write::Conditions(desired) => {
            for condition in desired {
                log_condition(server, condition, "dry run, not written: the condition");
            }
        }
    }
}

fn log_condition(server: &Server, condition: &Condition, message: &str) {
    info!(
        namespace = server.namespace(),
        name = server.name(),
        condition = condition.type_.name(),
        status = condition.status.name(),
        reason = condition.reason.name(),
        "{message}"
    );
}
