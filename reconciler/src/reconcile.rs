//! One reconcile of one server: plans on the cached object, plans again on the object as it is now, writes, and reports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{ApiResource, GetParams};
use kube::core::Request;
use kube::runtime::controller::Action;
use kube::{Client, Resource};
use mcp_scaling_rules::sessions::lacks_redis_password;
use mcp_scaling_rules::{Condition, ConditionStatus, ConditionType, InvalidField, Scaling, ServerKind, Workload};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::autoscaler::{Autoscalers, conflicts};
use crate::backoff::{Target, WriteKind};
use crate::coupling::Step;
use crate::deadlines::OPERATOR_TIMEOUT;
use crate::error::{ReconcileError, with_causes};
use crate::events::{self, EventContent};
use crate::memory::{Memory, ServerMemory};
use crate::metrics::Metrics;
use crate::options::{Options, StorageSource};
use crate::plan::{Plan, PlanInputs, coupling_step, current_warning, plan};
use crate::retries::Retries;
use crate::run_config::SessionStorages;
use crate::scale::{ScaleChange, read_change, read_scale, read_statefulset, write_change, write_preserved_count};
use crate::server::{FreshServer, Server};
use crate::status::write_conditions;
use crate::workload::PodsLeft;
use crate::workload_replicas::{WorkloadReplicas, WorkloadReplicasCache};
use crate::write_rate::WriteRate;

/// Reconciles servers.
pub struct Reconciler {
    pub(crate) client: Client,
    /// `MCPServer`, at the version that the API server prefers.
    pub(crate) resource: Arc<ApiResource>,
    pub(crate) options: Options,
    pub(crate) workload_replicas: WorkloadReplicasCache,
    /// The autoscalers of workloads. Nothing waits for them: who may not read them loses the events about them only.
    pub(crate) autoscalers: Autoscalers,
    /// The storages that servers really use, if they are read from run configurations.
    pub(crate) session_storages: SessionStorages,
    pub(crate) metrics: Arc<Metrics>,
    /// The reporting instance of events.
    instance: String,
    memory: Mutex<Memory>,
    write_rate: Mutex<WriteRate>,
    /// Notified when something changes that the gauges tell of.
    pub(crate) changed: Notify,
}

/// How long to wait at least before a write that was changed on its way is tried again.
const RETRY_OF_CHANGED_WRITE: Duration = Duration::from_secs(1);

/// The result of the writes of one reconcile.
#[derive(Default)]
struct Outcome {
    events: Vec<EventContent>,
    /// The shortest delay of the writes that back off or are tried again.
    delay: Option<Duration>,
    /// The last error.
    error: Option<ReconcileError>,
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
            workload_replicas: WorkloadReplicasCache::default(),
            autoscalers: Autoscalers::default(),
            session_storages: SessionStorages::default(),
            metrics,
            instance,
            memory: Mutex::default(),
            write_rate: Mutex::new(WriteRate::new(options.writes_per_second, Instant::now())),
            changed: Notify::new(),
        }
    }

    /// Reconciles a server that is in the cache as `cached`, and returns when to reconcile it again.
    ///
    /// # Errors
    /// [`ReconcileError`] if a call to the API server failed. The other writes are still made.
    pub(crate) async fn reconcile(&self, cached: &Server) -> Result<Action, ReconcileError> {
        let result = self.plan_and_write(cached).await;
        self.metrics.count_reconcile(&result);
        if result.is_ok() {
            self.remember(cached, |memory| memory.retries = Retries::default());
        }
        result
    }

    /// When to reconcile a server again after an error.
    pub(crate) fn retry(&self, server: &Server, error: &ReconcileError) -> Action {
        let delay = self.remember(server, |memory| memory.retries.delay_after_failure());
        Action::requeue(delay.max(error.retry_after().unwrap_or_default()))
    }

    /// What is remembered of the servers.
    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is remembered of a server.
    fn remember<R>(&self, server: &Server, update: impl FnOnce(&mut ServerMemory) -> R) -> R {
        self.memory().update(server.uid, update)
    }

    async fn plan_and_write(&self, cached: &Server) -> Result<Action, ReconcileError> {
        if cached.is_being_deleted {
            return Ok(Action::await_change());
        }
        match self.observe_and_plan(cached) {
            Ok((scaling, plan)) => {
                let has_news = self.observe_count(cached, &scaling).is_some()
                    || self.observe_conflicts(cached, &scaling).is_some();
                if plan.is_empty() && !has_news {
                    return Ok(self.next_reconcile(cached));
                }
                if !plan.is_urgent && !has_news {
                    let delay = self.write_rate().put_off(Instant::now());
                    if delay > Duration::ZERO {
                        return Ok(Action::requeue(delay));
                    }
                }
            }
            Err(error) => {
                warn!(namespace = cached.namespace(), name = cached.name(), "the MCPServer is not reconciled: {error}");
                return Ok(Action::await_change());
            }
        }
        // The cache may be behind, so only a plan on the object as it is now is written.
        let Some(fresh) = self.read(cached).await? else { return Ok(Action::await_change()) };
        let Ok((scaling, plan)) = self.observe_and_plan(&fresh.server) else { return Ok(Action::await_change()) };
        if fresh.server.is_being_deleted {
            return Ok(Action::await_change());
        }
        self.report_lost_count(&fresh, &scaling).await;
        self.report_conflicts(&fresh, &scaling).await;
        if plan.is_empty() {
            return Ok(self.next_reconcile(&fresh.server));
        }
        match self.write(&fresh, &scaling, &plan).await {
            Outcome { error: Some(error), .. } => Err(error),
            Outcome { delay: Some(delay), .. } => Ok(Action::requeue(delay)),
            Outcome { .. } => Ok(self.next_reconcile(&fresh.server)),
        }
    }

    /// Records what the plan of a server depends on over time, and plans. Returns the scaling fields of the server and its plan,
    /// or the invalid field of its spec.
    fn observe_and_plan(&self, server: &Server) -> Result<(Scaling, Plan), InvalidField> {
        let scaling = server.scaling?;
        self.observe_deadlines(server);
        let inputs = self.inputs(server, &scaling);
        let has_cause = current_warning(&scaling, inputs).is_some();
        let keep_warning = self
            .remember(server, |memory| memory.stabilization.observe(has_cause, has_warning(server), Instant::now()));
        Ok((scaling, plan(server, &scaling, inputs, keep_warning)))
    }

    /// What the plan of a server depends on beside its spec and its status.
    pub(crate) fn inputs(&self, server: &Server, scaling: &Scaling) -> PlanInputs {
        PlanInputs {
            set_to: self.workload_replicas(server),
            storage: self.session_storages.storage(server, scaling, self.options.session_storage),
            counts: self.options.counts,
            couple_zero: self.options.couple_zero,
        }
    }

    /// Records what the reconciler has to wait for before it acts on a server.
    fn observe_deadlines(&self, server: &Server) {
        let set_to = self.workload_replicas.get(server.namespace(), server.name());
        let ending = match set_to.proxies_left {
            PodsLeft::Ending(timeout) => Some(timeout).filter(|_| self.options.couple_zero),
            PodsLeft::None | PodsLeft::Some => None,
        };
        let now = Instant::now();
        self.remember(server, |memory| {
            memory.pending_reset.observe(set_to.deployment_before_reset.map(|_| OPERATOR_TIMEOUT), now);
            memory.ending_proxies.observe(ending, now);
        });
    }

    /// The replicas of the workloads of a server. A count that a reset took away is left to the operator at first, and proxies
    /// have some time to end.
    fn workload_replicas(&self, server: &Server) -> WorkloadReplicas {
        let set_to = self.workload_replicas.get(server.namespace(), server.name());
        let now = Instant::now();
        let (is_overdue, have_ended) = self
            .memory()
            .get(server.uid)
            .map_or((false, false), |memory| (memory.pending_reset.is_over(now), memory.ending_proxies.is_over(now)));
        WorkloadReplicas {
            deployment_before_reset: set_to.deployment_before_reset.filter(|_| is_overdue),
            proxies_left: if have_ended { PodsLeft::None } else { set_to.proxies_left },
            ..set_to
        }
    }

    /// When to reconcile a server that needs nothing now: at the end of its stabilization window, of the operator's time after a
    /// reset or of its proxies, or when it changes.
    fn next_reconcile(&self, server: &Server) -> Action {
        let now = Instant::now();
        let waits = self.remember(server, |memory| {
            let ServerMemory { stabilization, pending_reset, ending_proxies, .. } = memory;
            [stabilization.remaining(now), pending_reset.remaining(now), ending_proxies.remaining(now)]
        });
        match waits.into_iter().filter(|remaining| *remaining > Duration::ZERO).min() {
            None => Action::await_change(),
            Some(remaining) => Action::requeue(remaining),
        }
    }

    /// The server as it is now, `None` if it is gone.
    async fn read(&self, cached: &Server) -> Result<Option<FreshServer>, ReconcileError> {
        let path = Server::url_path(&self.resource, Some(cached.namespace()));
        let request = Request::new(path).get(cached.name(), &GetParams::default());
        let failed = |source| ReconcileError::Call { action: "read the MCPServer", source };
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        match self.client.request_text(request).await {
            Ok(text) => Ok(Some(serde_json::from_str(&text)?)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes the planned writes, but for those that back off, and publishes their events.
    async fn write(&self, fresh: &FreshServer, scaling: &Scaling, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        let server = &fresh.server;
        // First, so that proxies that start find their backend.
        let is_due = |step| match step {
            Step::ScaleToZero | Step::ScaleUp(_) => {
                outcome.is_due(self.backoff_delay(server, target_of_coupling(step)))
            }
            Step::PreserveCount(_) | Step::ForgetCount => true,
        };
        if plan.coupling.is_some_and(is_due) {
            outcome.add(self.couple(server, scaling).await);
        }
        for workload in Workload::ALL {
            if plan.replicas(workload).is_some() && outcome.is_due(self.backoff_delay(server, workload.into())) {
                outcome.add(self.correct_replicas(server, scaling, workload).await);
            }
        }
        if !plan.conditions.is_empty() && outcome.is_due(self.backoff_delay(server, Target::Conditions)) {
            outcome.add(self.correct_conditions(fresh, &plan.conditions).await);
        }
        for event in std::mem::take(&mut outcome.events) {
            self.publish(fresh, event).await;
        }
        outcome
    }

    /// Observes the count of a server's StatefulSet. Returns the count that it lost when it was recreated; if it lost none, the
    /// present one is recorded.
    fn observe_count(&self, server: &Server, scaling: &Scaling) -> Option<u32> {
        let set_to = self.workload_replicas(server);
        self.remember(server, |memory| {
            let lost = memory.statefulset_count.lost(scaling, set_to);
            if lost.is_none() {
                memory.statefulset_count.record(scaling, set_to);
            }
            lost
        })
    }

    /// Reports a StatefulSet that lost its count when it was recreated, once.
    async fn report_lost_count(&self, fresh: &FreshServer, scaling: &Scaling) {
        let server = &fresh.server;
        let Some(replicas) = self.observe_count(server, scaling) else { return };
        let set_to = self.workload_replicas(server);
        self.remember(server, |memory| memory.statefulset_count.record(scaling, set_to));
        self.warn(fresh, events::count_lost(replicas)).await;
    }

    /// Observes the conflicts of a server, with autoscalers and with the operator's default Redis. Returns the events for them
    /// unless they were reported; if there are none, it is forgotten what was reported.
    fn observe_conflicts(&self, server: &Server, scaling: &Scaling) -> Option<Vec<EventContent>> {
        let of_workload = |workload| {
            let autoscaler = self.autoscalers.get(workload, server.namespace(), server.name());
            autoscaler.map_or_else(Vec::new, |autoscaler| conflicts(&autoscaler, workload, scaling))
        };
        let with_autoscalers = Workload::ALL.into_iter().flat_map(of_workload);
        let with_autoscalers = with_autoscalers.map(|conflict| events::autoscaler_conflict(conflict.finding));
        let storage = self.session_storages.storage(server, scaling, self.options.session_storage);
        let lacks_password = lacks_redis_password(ServerKind::McpServer, scaling.session_storage, storage);
        let with_redis = lacks_password.then(events::default_redis_without_password);
        let conflicts: Vec<EventContent> = with_autoscalers.chain(with_redis).collect();
        self.remember(server, |memory| {
            if conflicts.is_empty() {
                memory.reported_conflicts = Vec::new();
            }
            (memory.reported_conflicts != conflicts).then_some(conflicts)
        })
    }

    /// Reports the conflicts of a server, each once.
    async fn report_conflicts(&self, fresh: &FreshServer, scaling: &Scaling) {
        let server = &fresh.server;
        let Some(conflicts) = self.observe_conflicts(server, scaling) else { return };
        self.remember(server, |memory| memory.reported_conflicts = conflicts.clone());
        for conflict in conflicts {
            self.warn(fresh, conflict).await;
        }
    }

    /// Logs a warning about a server, and publishes it but for a dry run.
    async fn warn(&self, fresh: &FreshServer, event: EventContent) {
        warn!(namespace = fresh.server.namespace(), name = fresh.server.name(), "{}", event.note);
        if !self.options.dry_run {
            self.publish(fresh, event).await;
        }
    }

    /// Publishes an event on a server.
    async fn publish(&self, fresh: &FreshServer, event: EventContent) {
        let server = &fresh.server;
        let mut regarding = server.object_ref(&self.resource);
        regarding.uid = Some(fresh.uid.clone());
        regarding.resource_version = None;
        self.wait_for_token().await;
        // A lost event needs no retry: the status or the log has the same information.
        if let Err(error) = events::publish(&self.client, &regarding, &self.instance, event).await {
            self.metrics.event_failures.inc();
            let error = with_causes(&error);
            warn!(namespace = server.namespace(), name = server.name(), "cannot publish an event: {error}");
        }
    }

    /// Corrects the replicas of a workload, if they still need it, and returns the event for it.
    async fn correct_replicas(
        &self,
        server: &Server,
        scaling: &Scaling,
        workload: Workload,
    ) -> Result<Report, ReconcileError> {
        let Some((change, rule)) =
            read_change(&self.client, server, scaling, workload, self.inputs(server, scaling)).await?
        else {
            return Ok(Report::default());
        };
        if self.has_changed(server).await? {
            return Ok(Report::default());
        }
        let event = events::replicas_corrected(&change, rule, scaling);
        match self.scale(server, &change, &event).await? {
            Scaled::NotWritten => Ok(Report::default()),
            Scaled::AsPlanned => Ok(self.report_write(server, workload.into(), event).into()),
            Scaled::ChangedOnItsWay(stored) => Ok(self.report_changed_write(server, workload.into(), &change, stored)),
        }
    }

    /// Scales a workload, but for a dry run.
    async fn scale(
        &self,
        server: &Server,
        change: &ScaleChange,
        event: &EventContent,
    ) -> Result<Scaled, ReconcileError> {
        let (namespace, name) = (server.namespace(), server.name());
        if self.options.dry_run {
            info!(namespace, name, "dry run, not written: {}", event.note);
            return Ok(Scaled::NotWritten);
        }
        self.wait_for_token().await;
        let stored = write_change(&self.client, server, change).await?;
        if i64::from(stored) != i64::from(change.to) {
            return Ok(Scaled::ChangedOnItsWay(stored));
        }
        self.metrics.count_correction(change.workload);
        info!(namespace, name, "{}", event.note);
        Ok(Scaled::AsPlanned)
    }

    /// Records a write that was changed on its way, as one that another writer reverted. It is tried again by time: if the count
    /// is the one that was there before, nothing changed in the cluster, and no watch tells of it.
    fn report_changed_write(&self, server: &Server, target: Target, change: &ScaleChange, stored: i32) -> Report {
        let event = events::changed_on_its_way(change, stored);
        warn!(namespace = server.namespace(), name = server.name(), "{}", event.note);
        let events = self.report_write(server, target, event);
        Report { events, retry_after: Some(self.backoff_delay(server, target).max(RETRY_OF_CHANGED_WRITE)) }
    }

    /// Records a write that another writer may revert. Returns its event, or the one that tells of backing off.
    fn report_write(&self, server: &Server, target: Target, event: EventContent) -> Vec<EventContent> {
        match self.record_write(server, target) {
            WriteKind::First => vec![event],
            WriteKind::Repeated => Vec::new(),
            WriteKind::BackoffBegins => vec![events::backing_off(target)],
        }
    }

    /// Makes the next step that couples the backend to its proxies, if it still needs one, and returns the event for it.
    async fn couple(&self, server: &Server, scaling: &Scaling) -> Result<Report, ReconcileError> {
        let (deployment, statefulset) = (Workload::Deployment, Workload::StatefulSet);
        let Some(proxies) = read_scale(&self.client, server, deployment).await? else { return Ok(Report::default()) };
        let Some(backend) = read_statefulset(&self.client, server).await? else { return Ok(Report::default()) };
        let (Some(from), true) = (backend.replicas, backend.is_owned_by_server) else { return Ok(Report::default()) };
        let resource_version = backend.meta.resource_version;
        let inputs = self.inputs(server, scaling).with_workloads(proxies.replicas, from, backend.replicas_before_zero);
        let Some(step) = coupling_step(scaling, inputs) else { return Ok(Report::default()) };
        if self.has_changed(server).await? {
            return Ok(Report::default());
        }
        let to = match step {
            Step::PreserveCount(count) => return self.preserve_count(server, Some(count), resource_version).await,
            Step::ForgetCount => return self.preserve_count(server, None, resource_version).await,
            Step::ScaleToZero => 0,
            Step::ScaleUp(count) => count,
        };
        let change = ScaleChange { workload: statefulset, from, to, resource_version };
        let event = events::coupled(&change);
        match self.scale(server, &change, &event).await? {
            Scaled::NotWritten => Ok(Report::default()),
            Scaled::ChangedOnItsWay(stored) => {
                Ok(self.report_changed_write(server, target_of_coupling(step), &change, stored))
            }
            Scaled::AsPlanned if step == Step::ScaleToZero => {
                Ok(self.report_write(server, Target::StatefulSetToZero, event).into())
            }
            Scaled::AsPlanned => {
                self.remember(server, |memory| memory.backoff.forget(Target::StatefulSetToZero));
                Ok(vec![event].into())
            }
        }
    }

    /// Preserves the count of the StatefulSet in its annotation, or removes it. There is no event for that.
    async fn preserve_count(
        &self,
        server: &Server,
        count: Option<u32>,
        resource_version: Option<String>,
    ) -> Result<Report, ReconcileError> {
        let (namespace, name) = (server.namespace(), server.name());
        if self.options.dry_run {
            info!(namespace, name, count, "dry run, not written: the annotation with the count before 0");
            return Ok(Report::default());
        }
        self.wait_for_token().await;
        write_preserved_count(&self.client, server, count, resource_version).await?;
        debug!(namespace, name, count, "wrote the annotation with the count before 0");
        Ok(Report::default())
    }

    /// Returns whether the spec of a server has changed. A Scale is read after the spec, and somebody may have scaled the workload by a
    /// newer one.
    async fn has_changed(&self, server: &Server) -> Result<bool, ReconcileError> {
        let now = self.read(server).await?.map(|now| (now.server.uid, now.server.meta.generation));
        Ok(now != Some((server.uid, server.meta.generation)))
    }

    /// Writes the desired conditions and returns the events for those that changed.
    async fn correct_conditions(&self, fresh: &FreshServer, desired: &[Condition]) -> Result<Report, ReconcileError> {
        let server = &fresh.server;
        if self.options.dry_run {
            for condition in desired {
                log_condition(server, condition, "dry run, not written: the condition");
            }
            return Ok(Report::default());
        }
        self.wait_for_token().await;
        let transitions = write_conditions(&self.client, &self.resource, fresh, desired).await?;
        self.metrics.status_writes.inc();
        for transition in &transitions {
            log_condition(server, &transition.to, "set the condition");
        }
        let mut events: Vec<EventContent> = transitions.iter().filter_map(events::transition).collect();
        if self.record_write(server, Target::Conditions) == WriteKind::BackoffBegins {
            events.push(events::backing_off(Target::Conditions));
        }
        Ok(events.into())
    }

    /// Waits until the next write may be made.
    async fn wait_for_token(&self) {
        let wait = self.write_rate().take(Instant::now());
        tokio::time::sleep(wait).await;
    }

    fn write_rate(&self) -> MutexGuard<'_, WriteRate> {
        self.write_rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether everything that servers are planned on is listed.
    pub(crate) fn is_complete(&self) -> bool {
        let has_storages =
            self.options.session_storage != StorageSource::RunConfig || self.session_storages.is_complete();
        has_storages && self.workload_replicas.is_complete()
    }

    fn backoff_delay(&self, server: &Server, target: Target) -> Duration {
        let now = Instant::now();
        self.remember(server, |memory| memory.backoff.delay(target, server.meta.generation, now))
    }

    fn record_write(&self, server: &Server, target: Target) -> WriteKind {
        let (generation, now) = (server.meta.generation, Instant::now());
        let kind = self.remember(server, |memory| memory.backoff.record_write(target, generation, now));
        if kind == WriteKind::BackoffBegins {
            self.metrics.backoffs.inc();
            let (namespace, name) = (server.namespace(), server.name());
            warn!(namespace, name, "another writer keeps reverting {}; backing off", target.name());
        }
        kind
    }
}

impl Outcome {
    /// Returns whether a write with this backoff delay is made now; else the delay is kept.
    fn is_due(&mut self, delay: Duration) -> bool {
        if delay > Duration::ZERO {
            self.delay = Some(self.delay.map_or(delay, |shortest| shortest.min(delay)));
        }
        delay == Duration::ZERO
    }

    /// Adds the result of a write.
    fn add(&mut self, result: Result<Report, ReconcileError>) {
        match result {
            Ok(Report { events, retry_after }) => {
                self.events.extend(events);
                self.delay = self.delay.into_iter().chain(retry_after).min();
            }
            Err(error) => self.error = Some(error),
        }
    }
}

/// What a write of a Scale came to.
enum Scaled {
    /// It is a dry run.
    NotWritten,
    /// The count is stored.
    AsPlanned,
    /// This count is stored in place of the planned one.
    ChangedOnItsWay(i32),
}

/// What a write has to report.
#[derive(Default)]
struct Report {
    events: Vec<EventContent>,
    /// When to try again, if no change in the cluster will tell.
    retry_after: Option<Duration>,
}

impl From<Vec<EventContent>> for Report {
    fn from(events: Vec<EventContent>) -> Self {
        Self { events, retry_after: None }
    }
}

/// The target whose backoff holds for a step that scales the backend.
fn target_of_coupling(step: Step) -> Target {
    if step == Step::ScaleToZero { Target::StatefulSetToZero } else { Target::StatefulSet }
}

fn has_warning(server: &Server) -> bool {
    let condition = server.condition(ConditionType::WorkloadReplicasWarning);
    condition.is_some_and(|condition| condition.status == Some(ConditionStatus::True))
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
