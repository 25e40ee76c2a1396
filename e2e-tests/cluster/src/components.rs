//! What runs beside the control plane of a test cluster, and what it has installed there.

use serde_json::Value;

use crate::process::Process;

/// The operator that runs.
#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) process: Process,
    /// The name of its log.
    pub(crate) log: String,
}

/// The controller that runs.
#[derive(Debug)]
pub(crate) struct Controller {
    pub(crate) process: Process,
    /// The webhooks with which it validates policies, as they are in the cluster.
    pub(crate) webhooks: Vec<Value>,
}

/// The webhook of a test cluster.
#[derive(Default)]
pub(crate) struct Webhook {
    pub(crate) process: Option<Process>,
    /// Its port.
    pub(crate) port: u16,
    /// The settings and the match conditions of the policies, if the API server has the webhook's configuration.
    pub(crate) configured: Option<Value>,
}

impl Webhook {
    /// Says whether the process was started and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }
}

/// ToolHive's definitions in the API server.
pub(crate) struct Definitions {
    /// The name of [`ToolHiveCrds`]. `None` if it failed to install or to remove them all.
    pub(crate) name: Option<String>,
    /// The version of the API group that the API server prefers.
    pub(crate) version: &'static str,
    pub(crate) installed: Vec<Value>,
}
