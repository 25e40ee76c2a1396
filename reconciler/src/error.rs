//! The errors of the library, one enum for each thing that can fail.
//!
//! `Display` names the operation that failed, and `source()` is the cause. [`with_causes`] puts both on one line.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kube::config::{InferConfigError, KubeconfigError};
use mcp_scaling_rules::ServerKind;
use mcp_scaling_rules::kind::GROUP;

/// An error and its causes on one line, for log entries.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Many errors of kube and hyper repeat their cause in their own text.
        if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
        cause = error.source();
    }
    text
}

/// Why there is no client for the API server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig file that was named cannot be read.
    #[error("cannot read {}", .path.display())]
    KubeconfigFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: KubeconfigError,
    },
    /// The kubeconfig does not describe the cluster to connect to.
    #[error("cannot use the kubeconfig")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is neither a kubeconfig nor a service account.
    #[error("no cluster is configured; use --kubeconfig")]
    NoConfig(#[from] InferConfigError),
    /// The configuration is complete and cannot be used, a malformed certificate for one.
    #[error("cannot make a client for the API server")]
    Client(#[from] kube::Error),
}

/// Why the servers of a cluster cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The API server does not serve ToolHive's API group.
    #[error("the cluster does not serve {GROUP}; is ToolHive installed?")]
    GroupNotServed,
    /// The API server serves ToolHive's API group without `MCPServer`.
    #[error("the cluster does not serve {} of {GROUP}", ServerKind::McpServer.name())]
    KindNotServed,
    /// The API server does not tell which resources it serves.
    #[error("cannot read which resources the API server serves")]
    Discovery(#[source] kube::Error),
    /// The namespace does not exist.
    #[error("the namespace {namespace} does not exist")]
    NamespaceNotFound {
        /// The namespace.
        namespace: String,
    },
    /// A list failed.
    #[error("cannot list {resource}")]
    List {
        /// The name of the resource, `deployments` for one.
        resource: String,
        /// The cause.
        source: kube::Error,
    },
}

/// Why the HTTP endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// The cause.
    pub source: std::io::Error,
}

/// Why leader election ended, or the Lease could not be released.
#[derive(Debug, thiserror::Error)]
pub enum LeaderElectionError {
    /// The election ended before this process became the leader.
    #[error("leader election ended")]
    Ended,
    /// Releasing the Lease took too long. It expires by itself.
    #[error("the Lease was not released within {} s", .0.as_secs())]
    ReleaseTimeout(Duration),
    /// The task that renews the Lease panicked.
    #[error("the task that renews the Lease failed")]
    Task(#[from] tokio::task::JoinError),
    /// The Lease could not be read or written.
    #[error("cannot release the Lease")]
    Lease(#[from] kube::Error),
}

/// Why a reconcile failed. It is retried.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A call to the API server failed.
    #[error("cannot {action}")]
    Call {
        /// The purpose of the call, as a verb and an object.
        action: &'static str,
        /// The cause.
        source: kube::Error,
    },
    /// The API server sent something else than an `MCPServer`.
    #[error("cannot parse the MCPServer that the API server sent")]
    Json(#[from] serde_json::Error),
}

/// Returns whether the API server refused a write because the object has changed since it was read, or exists already.
pub(crate) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

impl ReconcileError {
    /// Returns whether another writer changed the object after it was read.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Call { source, .. } if is_conflict(source))
    }

    /// The time that the API server asked to wait before the next call.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let Self::Call { source: kube::Error::Api(status), .. } = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        Some(Duration::from_secs(seconds.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::{LeaderElectionError, ListenError, with_causes};

    #[test]
    fn names_each_cause_once() {
        let source = std::io::Error::other("address in use");
        let error = ListenError { address: ([127, 0, 0, 1], 80).into(), source };
        assert_eq!(with_causes(&error), "cannot listen on 127.0.0.1:80: address in use");
        assert_eq!(with_causes(&LeaderElectionError::Ended), "leader election ended");
    }
}
