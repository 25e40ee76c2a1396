//! Makes one server right: asks the plan what to do and does it. The only part that writes to the cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff;
use kube::api::{ApiResource, GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::runtime::controller::Action;
use kube::{Api, Client, Resource};
use mcp_scaling_rules::conditions::LIVE_REPLICAS_WARNING;
use mcp_scaling_rules::{Condition, Scaling, SessionStorage};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::events::{self, Notice};
use crate::history::{History, Target, Written};
use crate::live::LiveCounts;
use crate::metrics::Metrics;
use crate::plan::{Plan, correction, live_warning, plan};
use crate::server::Server;
use crate::status::with_conditions;
use crate::workload::{Kind, Workload};

/// By which name the API server knows what wrote a field.
pub const FIELD_MANAGER: &str = "mcpserver-scaling-reconciler";

/// How the reconciler goes about.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What an `MCPServer` without `spec.sessionStorage` uses.
    pub default_session_storage: SessionStorage,
    /// Say what would be written, and write nothing.
    pub dry_run: bool,
}

/// What it takes to make servers right.
pub struct Reconciler {
    /// The API server.
    pub client: Client,
    /// `MCPServer`, at the version that the API server prefers.
    pub resource: Arc<ApiResource>,
    /// How to go about it.
    pub options: Options,
    /// What the workloads are set to run.
    pub live: LiveCounts,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    instance: String,
    history: Mutex<History>,
}

/// Why a server could not be made right. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A call to the API server failed.
    #[error("cannot {what}: {source}")]
    Call {
        /// What it was to do.
        what: &'static str,
        /// Its failure.
        source: kube::Error,
    },
    /// What the API server sent is not to be understood.
    #[error("cannot read what the API server sent: {0}")]
    Json(#[from] serde_json::Error),
}

impl Failure {
    /// Whether somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source: kube::Error::Api(status), .. } if status.code == 409)
    }

    /// How long the API server asked to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        let Self::Call { source: kube::Error::Api(status), .. } = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        Some(Duration::from_secs(seconds.into()))
    }
}

/// The object as it is now, as far as a write needs it.
#[derive(Deserialize)]
struct Fresh {
    metadata: FreshMetadata,
    status: Option<FreshStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FreshMetadata {
    uid: String,
    resource_version: String,
}

#[derive(Deserialize)]
struct FreshStatus {
    conditions: Option<Vec<Box<RawValue>>>,
}

impl Reconciler {
    /// A reconciler for what the API server serves as `resource`. Its events say that `instance` reported them.
    pub fn new(
        client: Client,
        resource: ApiResource,
        options: Options,
        metrics: Arc<Metrics>,
        instance: String,
    ) -> Self {
        let (live, history) = (LiveCounts::default(), Mutex::default());
        Self { client, resource: Arc::new(resource), options, live, metrics, instance, history }
    }

    /// Makes a server right that was seen as `seen`, and says when to look again.
    ///
    /// # Errors
    /// Where a call to the API server fails. What could be done is done.
    pub async fn reconcile(&self, seen: &Server) -> Result<Action, Failure> {
        let result = self.make_right(seen).await;
        self.metrics.reconciled(&result);
        if result.is_ok() {
            self.history().succeeded(&key(seen));
        }
        result
    }

    async fn make_right(&self, seen: &Server) -> Result<Action, Failure> {
        if seen.is_being_deleted {
            return Ok(Action::await_change());
        }
        match self.plan(seen) {
            Ok((_, plan)) if plan.is_empty() => return Ok(self.look_again(seen)),
            Ok(_) => {}
            Err(fault) => {
                warn!(namespace = seen.namespace(), name = seen.name(), "cannot read the MCPServer: {fault}");
                return Ok(Action::await_change());
            }
        }
        // What was seen may be old: nothing is written but on what is there now.
        let Some(text) = self.read(seen).await? else { return Ok(Action::await_change()) };
        let server: Server = serde_json::from_str(&text)?;
        let fresh: Fresh = serde_json::from_str(&text)?;
        let Ok((scaling, plan)) = self.plan(&server) else { return Ok(Action::await_change()) };
        if server.is_being_deleted || plan.is_empty() {
            return Ok(self.look_again(&server));
        }

        let uid = fresh.metadata.uid.clone();
        let mut wait = Duration::MAX;
        let mut failure = None;
        let mut notices = Vec::new();
        for kind in Kind::ALL {
            if plan.count(kind).is_some() {
                match self.waiting(&server, kind.into()) {
                    Duration::ZERO => match self.scale(&server, &scaling, kind).await {
                        Ok(notice) => notices.extend(notice),
                        Err(error) => failure = Some(error),
                    },
                    longer => wait = wait.min(longer),
                }
            }
        }
        if !plan.conditions.is_empty() {
            match self.waiting(&server, Target::Conditions) {
                Duration::ZERO => match self.write_conditions(&server, fresh, &plan.conditions).await {
                    Ok(told) => notices.extend(told),
                    Err(error) => failure = Some(error),
                },
                longer => wait = wait.min(longer),
            }
        }
        self.publish(&server, &uid, notices).await;
        match failure {
            Some(failure) => Err(failure),
            None if wait < Duration::MAX => Ok(Action::requeue(wait)),
            None => Ok(self.look_again(&server)),
        }
    }

    /// When to try a server again that could not be made right.
    pub fn retry(&self, server: &Server, failure: &Failure) -> Action {
        let wait = self.history().failed(&key(server), Instant::now());
        Action::requeue(wait.max(failure.retry_after().unwrap_or_default()))
    }

    /// Forgets what is over.
    pub fn prune(&self) {
        self.history().prune(Instant::now());
    }

    /// What a server declares and what it lacks, or what is wrong with its spec.
    fn plan<'s>(&self, server: &'s Server) -> Result<(Scaling, Plan), &'s str> {
        let scaling = server.scaling(self.options.default_session_storage)?;
        let live = self.live.of(server.namespace(), server.name());
        let is_wrong = live_warning(&scaling, live).is_some();
        let warned_lately = self.history().warned_lately(&key(server), is_wrong, is_warned_of(server), Instant::now());
        Ok((scaling, plan(server, &scaling, live, warned_lately)))
    }

    /// A server at rest is looked at again when it changes, or when a warning of it may go.
    fn look_again(&self, server: &Server) -> Action {
        match self.history().quiet_in(&key(server), Instant::now()) {
            Duration::ZERO => Action::await_change(),
            quiet_in => Action::requeue(quiet_in),
        }
    }

    fn waiting(&self, server: &Server, target: Target) -> Duration {
        self.history().wait(&key(server), target, server.meta.generation, Instant::now())
    }

    fn wrote(&self, server: &Server, target: Target) -> Written {
        let written = self.history().wrote(&key(server), target, server.meta.generation, Instant::now());
        if written == Written::Yielding {
            self.metrics.yields.inc();
            warn!(namespace = server.namespace(), name = server.name(), ?target, "another writer keeps reverting it");
        }
        written
    }

    /// The object as JSON, `None` where it is gone.
    async fn read(&self, seen: &Server) -> Result<Option<String>, Failure> {
        let path = Server::url_path(&self.resource, Some(seen.namespace()));
        let request = Request::new(path).get(seen.name(), &GetParams::default());
        let failed = |source| Failure::Call { what: "read the MCPServer", source };
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        match self.client.request_text(request).await {
            Ok(text) => Ok(Some(text)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// Sets the count of a workload, if it is still wrong.
    async fn scale(&self, server: &Server, scaling: &Scaling, kind: Kind) -> Result<Option<Notice>, Failure> {
        let (namespace, name) = (server.namespace(), server.name());
        let workloads: Api<Workload> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let failed = |what| move |source| Failure::Call { what, source };
        let scale = match workloads.get_scale(name).await {
            Ok(scale) => scale,
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(failed("read a workload's scale")(error)),
        };
        // A count of 0 is left out of a Scale.
        let live = scale.spec.and_then(|spec| spec.replicas).unwrap_or_default();
        let Some((live, wanted)) = u32::try_from(live).ok().and_then(|live| {
            let wanted = correction(kind, scaling, Some(live))?;
            Some((live, wanted))
        }) else {
            return Ok(None);
        };
        let notice = events::corrected(kind, live, wanted, scaling);
        if self.options.dry_run {
            info!(namespace, name, "would: {}", notice.note);
            return Ok(None);
        }
        let patch = serde_json::json!({
            "metadata": {"resourceVersion": scale.metadata.resource_version},
            "spec": {"replicas": wanted},
        });
        let patched = workloads.patch_scale(name, &by_us(), &Patch::Merge(patch)).await;
        patched.map_err(failed("scale a workload"))?;
        self.metrics.corrected(kind);
        info!(namespace, name, "{}", notice.note);
        Ok(match self.wrote(server, kind.into()) {
            Written::Anew => Some(notice),
            Written::Again => None,
            Written::Yielding => Some(events::yielding(kind.name())),
        })
    }

    /// Writes all conditions at once, unless somebody has written to the object since it was read.
    async fn write_conditions(
        &self,
        server: &Server,
        fresh: Fresh,
        wanted: &[Condition],
    ) -> Result<Vec<Notice>, Failure> {
        let (namespace, name) = (server.namespace(), server.name());
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let list = fresh.status.and_then(|status| status.conditions).unwrap_or_default();
        let (conditions, transitions) = with_conditions(list, wanted, server, &now)?;
        if self.options.dry_run {
            for condition in wanted {
                log_condition(server, condition, "would set");
            }
            return Ok(Vec::new());
        }

        #[derive(Debug, Serialize)]
        struct Write {
            metadata: Guard,
            status: Conditions,
        }
        #[derive(Debug, Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Guard {
            resource_version: String,
        }
        #[derive(Debug, Serialize)]
        struct Conditions {
            conditions: Vec<Box<RawValue>>,
        }
        let write = Write {
            metadata: Guard { resource_version: fresh.metadata.resource_version },
            status: Conditions { conditions },
        };
        let servers: Api<Server> = Api::namespaced_with(self.client.clone(), namespace, &self.resource);
        let patched = servers.patch_status(name, &by_us(), &Patch::Merge(write)).await;
        patched.map_err(|source| Failure::Call { what: "write the status", source })?;
        self.metrics.status_writes.inc();
        let mut notices: Vec<Notice> = transitions.iter().filter_map(events::transition).collect();
        for transition in &transitions {
            log_condition(server, &transition.to, "set");
        }
        if self.wrote(server, Target::Conditions) == Written::Yielding {
            notices.push(events::yielding("status.conditions"));
        }
        Ok(notices)
    }

    async fn publish(&self, server: &Server, uid: &str, notices: Vec<Notice>) {
        let mut reference = server.object_ref(&self.resource);
        reference.uid = Some(uid.to_owned());
        reference.resource_version = None;
        let events: Api<Event> = Api::namespaced(self.client.clone(), server.namespace());
        for notice in notices {
            let event = notice.event(&reference, FIELD_MANAGER, &self.instance, jiff::Timestamp::now());
            // An event that is lost changes nothing; what it tells is in the status and in the log.
            if let Err(error) = events.create(&PostParams::default(), &event).await {
                self.metrics.event_failures.inc();
                warn!(namespace = server.namespace(), name = server.name(), "cannot write an event: {error}");
            }
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<Kind> for Target {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Deployment => Self::Deployment,
            Kind::StatefulSet => Self::StatefulSet,
        }
    }
}

fn log_condition(server: &Server, condition: &Condition, what: &str) {
    info!(
        namespace = server.namespace(),
        name = server.name(),
        condition = condition.type_,
        status = condition.status,
        reason = condition.reason,
        "{what} the condition"
    );
}

fn by_us() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

fn is_warned_of(server: &Server) -> bool {
    server.condition(LIVE_REPLICAS_WARNING).is_some_and(|condition| condition.status == "True")
}

fn key(server: &Server) -> String {
    format!("{}/{}", server.namespace(), server.name())
}
