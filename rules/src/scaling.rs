//! What the spec of a custom resource says about scaling.

use std::borrow::Cow;
use std::fmt;

use crate::field::{Field, replica_count};
use crate::kind::ServerKind;
use crate::session_storage::SessionStorage;
use crate::transport::Transport;
use crate::workload::Workload;

/// `spec.transport`, as a path.
pub const TRANSPORT: &str = "spec.transport";
/// `spec.replicas`, as a path.
pub const REPLICAS: &str = "spec.replicas";
/// `spec.backendReplicas`, as a path.
pub const BACKEND_REPLICAS: &str = "spec.backendReplicas";
/// `spec.sessionStorage.provider`, as a path.
pub const SESSION_STORAGE_PROVIDER: &str = "spec.sessionStorage.provider";

/// Every field that [`Scaling`] is read from, as a path. Nothing else of a custom resource has to be fetched.
pub const FIELDS: [&str; 4] = [BACKEND_REPLICAS, REPLICAS, SESSION_STORAGE_PROVIDER, TRANSPORT];

/// The part of a custom resource's spec that decides how it may scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// `spec.transport`, or what the kind defaults to.
    pub transport: Transport,
    /// `spec.replicas`: pods of the Deployment. `None` where the field is absent and an autoscaler or a person owns the
    /// count.
    pub replicas: Option<u32>,
    /// `spec.backendReplicas`: pods of the StatefulSet, with the same meaning of `None`.
    pub backend_replicas: Option<u32>,
    /// `spec.sessionStorage.provider`. `None` where the field is absent and the cluster's default applies.
    pub session_storage: Option<SessionStorage>,
}

/// The members of a spec as they came, before anything is known of their values.
#[derive(Clone, Debug, Default)]
pub struct RawSpec<'a> {
    /// `spec.transport`.
    pub transport: Field<Cow<'a, str>>,
    /// `spec.replicas`.
    pub replicas: Field<i64>,
    /// `spec.backendReplicas`.
    pub backend_replicas: Field<i64>,
    /// `spec.sessionStorage.provider`; malformed where `spec.sessionStorage` is no object.
    pub session_storage_provider: Field<Cow<'a, str>>,
}

/// A field of a spec with a value that ToolHive's CRD does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidField(
    /// The path of the field.
    pub &'static str,
);

impl fmt::Display for InvalidField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} has a value that ToolHive's CRD does not allow", self.0)
    }
}

impl std::error::Error for InvalidField {}

impl Scaling {
    /// Reads what a spec of this kind says.
    ///
    /// # Errors
    /// [`InvalidField`] with the first field, in the order of [`RawSpec`], that has the wrong type, a count that is no
    /// `int32` of 0 or more, or a name that ToolHive does not know.
    pub fn read(kind: ServerKind, spec: RawSpec<'_>) -> Result<Self, InvalidField> {
        let transport = spec.transport.and_then(|name| Transport::from_name(&name));
        let storage = spec.session_storage_provider.and_then(|name| SessionStorage::from_name(&name));
        Ok(Self {
            transport: valid(TRANSPORT, transport)?.unwrap_or(kind.default_transport()),
            replicas: valid(REPLICAS, spec.replicas.and_then(replica_count))?,
            backend_replicas: valid(BACKEND_REPLICAS, spec.backend_replicas.and_then(replica_count))?,
            session_storage: valid(SESSION_STORAGE_PROVIDER, storage)?,
        })
    }

    /// The workload that is declared as stopped while the other one is not. Only an `MCPServer` has both.
    ///
    /// Proxies at 0 leave the backend running, which nobody can reach then (ToolHive #4484). Proxies without a backend answer
    /// with errors, and each one that starts ends within a second (seen with ToolHive v0.10.0 and v0.47.0).
    pub fn stopped_alone(&self) -> Option<Workload> {
        let is_stopped = |workload: Workload| workload.declared(self) == Some(0);
        Workload::ALL.into_iter().find(|workload| is_stopped(*workload) && !is_stopped(workload.other()))
    }

    /// Where the server keeps its sessions; `default` applies where the spec does not say.
    pub fn session_storage_or(&self, default: SessionStorage) -> SessionStorage {
        self.session_storage.unwrap_or(default)
    }
}

fn valid<T>(path: &'static str, field: Field<T>) -> Result<Option<T>, InvalidField> {
    field.optional().map_err(|_| InvalidField(path))
}
