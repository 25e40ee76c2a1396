//! Of several processes one leads: the holder of a Lease.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::reconcile::FIELD_MANAGER;

/// Name of the Lease; deploy/ allows no other.
pub const LEASE: &str = FIELD_MANAGER;

/// For how long a Lease is held, in seconds, and how long before its end it is renewed. Another process takes over when it
/// would have ended, whether this one died or was told to stop; whoever comes anew takes one that was given back at once.
const HELD: u64 = 15;
const RENEWED_BEFORE: u64 = 10;

/// How long to wait for the API server before asking for the Lease again.
const RETRY: Duration = Duration::from_secs(5);

/// How long giving the Lease back may take.
const RELEASE: Duration = Duration::from_secs(5);

/// Takes part in an election.
pub struct Election {
    leads: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Election {
    /// Stands for election in a namespace, under a name that no other process has.
    pub async fn stand(client: &Client, namespace: &str, identity: &str) -> Self {
        loop {
            let manager = LeaseManagerBuilder::new(client.clone(), LEASE)
                .with_namespace(namespace)
                .with_identity(identity)
                .with_duration(HELD)
                .with_grace(RENEWED_BEFORE)
                .with_field_manager(FIELD_MANAGER)
                .build()
                .await;
            match manager {
                Ok(manager) => {
                    let (leads, task) = manager.watch().await;
                    info!(namespace, identity, "standing for election");
                    return Self { leads, task };
                }
                Err(error) => warn!(namespace, "cannot read or make the Lease {LEASE}: {error}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether this process leads, and when that changes.
    pub fn leads(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }

    /// Gives the Lease back.
    ///
    /// # Errors
    /// Where the API server does not take it in time; it ends by itself then.
    pub async fn resign(self) -> Result<()> {
        drop(self.leads);
        let resigned = tokio::time::timeout(RELEASE, self.task).await;
        resigned.context("giving the Lease back took too long")???;
        Ok(())
    }
}
