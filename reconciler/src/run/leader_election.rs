//! Leader election: of several processes, the holder of the Lease writes. `candidate` decides, and this module makes the calls.

use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::client::{FIELD_MANAGER, patch_params};
use crate::error::{LeaderElectionError, is_conflict, with_causes};
use crate::run::candidate::{Candidate, Record, Step, Timing};

/// Name of the Lease. The Role in deploy/ permits no other.
const LEASE_NAME: &str = FIELD_MANAGER;

/// Another process takes over when it has seen no renewal for 15 s, or at once if the Lease was released. The leader stops
/// leading 10 s after its last renewal.
const TIMING: Timing = Timing { lease: Duration::from_secs(15), deadline: Duration::from_secs(10) };

/// How long to wait before the next look at the Lease: the leader renews it then, the others read it.
const PERIOD: Duration = Duration::from_secs(2);

/// How long reading and writing the Lease may take. Shorter than the deadline, so that a leader whose call hangs can try again.
const CALLS_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a release may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A candidate of the election, and the leader while it holds the Lease.
pub struct LeaderElection {
    is_leader: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    task: JoinHandle<kube::Result<()>>,
}

impl LeaderElection {
    /// Becomes a candidate. `identity` must be unique among the candidates.
    pub fn start(client: &Client, namespace: &str, identity: &str) -> Self {
        let (leader, is_leader) = watch::channel(false);
        let (stop, stopped) = watch::channel(false);
        let election = Election {
            leases: Api::namespaced(client.clone(), namespace),
            identity: identity.to_owned(),
            candidate: Candidate::new(identity, TIMING),
            started: Instant::now(),
            leader,
        };
        info!(namespace, identity, "waiting to become the leader");
        Self { is_leader, stop, task: tokio::spawn(election.run(stopped)) }
    }

    /// Waits until this process leads. The Lease is renewed in the background, and made again if somebody deletes it.
    ///
    /// # Errors
    /// [`LeaderElectionError::Ended`] if the election has ended; [`release`](Self::release) returns the cause.
    pub async fn acquire(&mut self) -> Result<(), LeaderElectionError> {
        let acquired = self.is_leader.wait_for(|is_leader| *is_leader).await;
        acquired.map(drop).map_err(|_| LeaderElectionError::Ended)
    }

    /// Waits until this process no longer leads: another one holds the Lease, or its own renewals failed for too long.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut is_leader = self.is_leader.clone();
        // An error means that the election has ended, which is a loss too.
        async move { drop(is_leader.wait_for(|is_leader| !*is_leader).await) }
    }

    /// Stops leading and releases the Lease, so that another candidate need not wait until it expires.
    ///
    /// # Errors
    /// [`LeaderElectionError`] if the Lease could not be released in time. It expires by itself then.
    pub async fn release(self) -> Result<(), LeaderElectionError> {
        self.stop.send_replace(true);
        let released = timeout(RELEASE_TIMEOUT, self.task).await;
        released.map_err(|_| LeaderElectionError::ReleaseTimeout(RELEASE_TIMEOUT))???;
        Ok(())
    }
}

/// The task that takes part in the election.
struct Election {
    leases: Api<Lease>,
    identity: String,
    candidate: Candidate,
    /// Times of the candidate are those since this one.
    started: Instant,
    leader: watch::Sender<bool>,
}

impl Election {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> kube::Result<()> {
        loop {
            tokio::select! {
                () = self.look_at_lease() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            let mut pause = PERIOD;
            if let Some(end) = self.set_leader() {
                pause = pause.min(end.saturating_sub(self.now()));
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        let is_leader = self.set_leader().is_some();
        self.leader.send_replace(false);
        if is_leader { self.release().await } else { Ok(()) }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads and writes the Lease once, for no longer than this process leads.
    async fn look_at_lease(&mut self) {
        let now = self.now();
        let limit = self.candidate.leads_until(now).map_or(CALLS_TIMEOUT, |end| CALLS_TIMEOUT.min(end - now));
        match timeout(limit, self.read_and_write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_conflict(&error) => debug!("another process wrote the Lease {LEASE_NAME} first"),
            Ok(Err(error)) => warn!("cannot read or write the Lease {LEASE_NAME}: {}", with_causes(&error)),
            Err(_) => warn!("reading and writing the Lease {LEASE_NAME} took longer than {limit:?}"),
        }
    }

    /// Tells whether this process leads, and until when it does.
    fn set_leader(&self) -> Option<Duration> {
        let end = self.candidate.leads_until(self.now());
        self.leader.send_if_modified(|is_leader| std::mem::replace(is_leader, end.is_some()) != end.is_some());
        end
    }

    async fn read_and_write(&mut self) -> kube::Result<()> {
        let lease = self.leases.get_opt(LEASE_NAME).await?;
        let record = lease.as_ref().map(record);
        let step = self.candidate.next_step(record.as_ref(), self.now());
        // A process that finds another holder stops leading at once.
        self.set_leader();
        let sent = self.now();
        let time = MicroTime(Timestamp::now());
        let seconds = TIMING.lease.as_secs() as i32;
        match (step, lease) {
            (Step::Wait, _) => return Ok(()),
            (Step::Renew, Some(lease)) => {
                let spec = json!({"renewTime": time, "leaseDurationSeconds": seconds});
                self.patch(&lease, &spec).await?;
            }
            (Step::Take, Some(lease)) => {
                let transitions = record.map_or(0, |record| record.transitions).saturating_add(1);
                let spec = json!({
                    "holderIdentity": self.identity, "leaseDurationSeconds": seconds,
                    "acquireTime": time, "renewTime": time, "leaseTransitions": transitions,
                });
                self.patch(&lease, &spec).await?;
            }
            (Step::Create | Step::Renew | Step::Take, _) => {
                let spec = LeaseSpec {
                    holder_identity: Some(self.identity.clone()),
                    lease_duration_seconds: Some(seconds),
                    acquire_time: Some(time.clone()),
                    renew_time: Some(time),
                    lease_transitions: Some(0),
                    ..LeaseSpec::default()
                };
                let metadata = ObjectMeta { name: Some(LEASE_NAME.to_owned()), ..ObjectMeta::default() };
                let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
                self.leases.create(&parameters, &Lease { metadata, spec: Some(spec) }).await?;
            }
        }
        self.candidate.renewed(sent);
        Ok(())
    }

    /// Changes the spec of a Lease, if nobody has changed it since it was read.
    async fn patch(&self, read: &Lease, spec: &Value) -> kube::Result<()> {
        let patch = json!({"metadata": {"resourceVersion": read.metadata.resource_version}, "spec": spec});
        self.leases.patch(LEASE_NAME, &patch_params(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn release(&self) -> kube::Result<()> {
        let Some(lease) = self.leases.get_opt(LEASE_NAME).await? else { return Ok(()) };
        if record(&lease).holder.as_deref() != Some(&self.identity) {
            return Ok(());
        }
        let spec =
            json!({"holderIdentity": null, "leaseDurationSeconds": null, "acquireTime": null, "renewTime": null});
        self.patch(&lease, &spec).await
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        renewed: spec.renew_time.map(|time| time.0.to_string()),
        transitions: spec.lease_transitions.unwrap_or_default(),
        duration: Duration::from_secs(spec.lease_duration_seconds.unwrap_or_default().max(0) as u64),
    }
}
