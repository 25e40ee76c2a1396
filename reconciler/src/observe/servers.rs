//! All servers, as the watch tells of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::watcher::Event;

use crate::observe::server::{Server, ServerObject};
use crate::observe::server_key::ServerKey;
use crate::observe::watch_cache::WatchCache;

/// The servers of a cluster, updated by the events of a watch.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    listed: Mutex<WatchCache<Arc<Server>>>,
}

impl Servers {
    /// Applies an event of a watch and returns the servers that changed.
    pub(crate) fn apply(&self, event: Event<ServerObject>) -> Vec<ServerKey> {
        self.listed().apply(event, |ServerObject { server, .. }| (server.key(), Some(Arc::new(server))))
    }

    /// Returns whether there is a server of this key.
    pub(crate) fn contains(&self, key: ServerKey) -> bool {
        self.listed().contains(key)
    }

    /// A server, `None` if there is none of this key.
    pub(crate) fn get(&self, key: ServerKey) -> Option<Arc<Server>> {
        self.listed().get(key)
    }

    /// Calls `visit` for each server.
    pub(crate) fn for_each(&self, visit: impl FnMut(&Server)) {
        self.listed().values().map(Arc::as_ref).for_each(visit);
    }

    /// Returns whether the servers have been listed.
    pub(crate) fn is_complete(&self) -> bool {
        self.listed().is_complete()
    }

    fn listed(&self) -> MutexGuard<'_, WatchCache<Arc<Server>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
