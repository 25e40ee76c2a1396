//! Leader election: of several processes, the holder of the Lease writes.

use std::future::Future;
use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::client::FIELD_MANAGER;
use crate::error::{LeaderElectionError, with_causes};

/// Name of the Lease. The Role in deploy/ permits no other.
const LEASE_NAME: &str = FIELD_MANAGER;

/// How long the Lease is valid after a renewal, in seconds. Another process takes over when it has expired, or at once where
/// it was released and that process starts afterwards.
const LEASE_DURATION: u64 = 15;

/// How long before it expires the leader renews the Lease, in seconds.
const RENEW_BEFORE_EXPIRY: u64 = 10;

/// How long to wait before the Lease is read or created again after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// How long a release may take.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// A candidate of the election, and the leader while it holds the Lease.
pub struct LeaderElection {
    is_leader: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl LeaderElection {
    /// Becomes a candidate. `identity` must be unique among the candidates. Retries until the Lease can be read or created.
    pub async fn start(client: &Client, namespace: &str, identity: &str) -> Self {
        loop {
            let manager = LeaseManagerBuilder::new(client.clone(), LEASE_NAME)
                .with_namespace(namespace)
                .with_identity(identity)
                .with_duration(LEASE_DURATION)
                .with_grace(RENEW_BEFORE_EXPIRY)
                .with_field_manager(FIELD_MANAGER)
                .build()
                .await;
            match manager {
                Ok(manager) => {
                    let (is_leader, task) = manager.watch().await;
                    info!(namespace, identity, "waiting to become the leader");
                    return Self { is_leader, task };
                }
                Err(error) => {
                    warn!(namespace, "cannot read or create the Lease {LEASE_NAME}: {}", with_causes(&error));
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Waits until this process holds the Lease. It is renewed in the background.
    ///
    /// # Errors
    /// [`LeaderElectionError::Ended`] where the election has ended; [`release`](Self::release) returns the cause.
    pub async fn acquire(&mut self) -> Result<(), LeaderElectionError> {
        let acquired = self.is_leader.wait_for(|is_leader| *is_leader).await;
        acquired.map(drop).map_err(|_| LeaderElectionError::Ended)
    }

    /// Waits until this process no longer holds the Lease. While such a future exists, the Lease is not released.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut is_leader = self.is_leader.clone();
        // An error means that the election has ended, which is a loss too.
        async move { drop(is_leader.wait_for(|is_leader| !*is_leader).await) }
    }

    /// Releases the Lease, so that another candidate need not wait until it expires.
    ///
    /// # Errors
    /// [`LeaderElectionError`] where the Lease could not be released in time or the election had failed before. The Lease
    /// expires by itself then.
    pub async fn release(self) -> Result<(), LeaderElectionError> {
        // The task releases the Lease once nobody watches its result.
        drop(self.is_leader);
        let released = tokio::time::timeout(RELEASE_TIMEOUT, self.task).await;
        released.map_err(|_| LeaderElectionError::ReleaseTimeout(RELEASE_TIMEOUT))???;
        Ok(())
    }
}
