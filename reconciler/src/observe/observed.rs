//! What the watches tell of the objects that belong to a server.

use mcp_scaling_rules::{SessionStorage, Workload};

use crate::observe::autoscaler::{Autoscaler, Autoscalers};
use crate::observe::run_config::SessionStorages;
use crate::observe::server::Server;
use crate::observe::servers::Servers;
use crate::observe::workload_replicas::{WorkloadReplicas, WorkloadReplicasCache};
use crate::options::StorageSource;

/// What the watches tell of the objects that belong to one server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The replicas of its workloads.
    pub workloads: WorkloadReplicas,
    /// The autoscalers of its workloads, in the order of [`Workload::ALL`].
    pub(crate) autoscalers: [Option<Autoscaler>; 2],
    /// The session storage in its run configuration.
    pub(crate) run_config: Option<SessionStorage>,
}

/// What the watches tell of all servers.
#[derive(Debug, Default)]
pub(crate) struct WatchedObjects {
    pub(crate) servers: Servers,
    pub(crate) workload_replicas: WorkloadReplicasCache,
    /// The autoscalers of workloads. Nothing waits for them: who may not read them loses the events about them only.
    pub(crate) autoscalers: Autoscalers,
    /// The storages that servers really use, if they are read from run configurations.
    pub(crate) session_storages: SessionStorages,
}

impl WatchedObjects {
    /// What belongs to one server.
    pub(crate) fn of(&self, server: &Server) -> Observed {
        let (namespace, name, key) = (server.namespace(), server.name(), server.key());
        Observed {
            workloads: self.workload_replicas.get(key),
            autoscalers: Workload::ALL.map(|workload| self.autoscalers.get(workload, namespace, name)),
            run_config: self.session_storages.get(key),
        }
    }

    /// Returns whether everything beside the servers that they are planned on is listed.
    pub(crate) fn is_complete(&self, source: StorageSource) -> bool {
        let has_storages = source != StorageSource::RunConfig || self.session_storages.is_complete();
        has_storages && self.workload_replicas.is_complete()
    }
}
