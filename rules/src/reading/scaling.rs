//! What the spec of a custom resource says about scaling.

use std::fmt;

use serde::Deserialize;

use crate::facts::kind::ServerKind;
use crate::facts::session_storage::SessionStorage;
use crate::facts::spec_fields::{BACKEND_REPLICAS, REPLICAS, SESSION_STORAGE_PROVIDER, TRANSPORT};
use crate::facts::transport::Transport;
use crate::facts::workload::Workload;
use crate::reading::field::Field;

/// The part of a custom resource's spec that decides how it may scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scaling {
    /// `spec.transport`, or what the kind defaults to.
    pub transport: Transport,
    /// `spec.replicas`: pods of the Deployment. `None` if the field is absent and an autoscaler or a person owns the
    /// count.
    pub replicas: Option<u32>,
    /// `spec.backendReplicas`: pods of the StatefulSet, with the same meaning of `None`.
    pub backend_replicas: Option<u32>,
    /// `spec.sessionStorage.provider`. `None` if the field is absent and the cluster's default applies.
    pub session_storage: Option<SessionStorage>,
}

/// The members of a spec as they came, before anything is known of their values.
#[derive(Clone, Copy, Debug)]
pub struct RawSpec<'a> {
    /// `spec.transport`.
    pub transport: &'a Field<String>,
    /// `spec.replicas`.
    pub replicas: Field<i64>,
    /// `spec.backendReplicas`.
    pub backend_replicas: Field<i64>,
    /// `spec.sessionStorage`.
    pub session_storage: &'a Field<SessionStorageSpec>,
}

/// `spec.sessionStorage`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SessionStorageSpec {
    /// `spec.sessionStorage.provider`.
    pub provider: Field<String>,
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
        let provider = match spec.session_storage {
            Field::Absent => Field::Absent,
            Field::Malformed => Field::Malformed,
            Field::Value(storage) => storage.provider.as_ref(),
        };
        let transport = spec.transport.as_ref().and_then(|name| Transport::from_name(name));
        Ok(Self {
            transport: valid(TRANSPORT, transport)?.unwrap_or(kind.default_transport()),
            replicas: valid(REPLICAS, spec.replicas.count())?,
            backend_replicas: valid(BACKEND_REPLICAS, spec.backend_replicas.count())?,
            session_storage: valid(
                SESSION_STORAGE_PROVIDER,
                provider.and_then(|name| SessionStorage::from_name(name)),
            )?,
        })
    }

    /// Where the server keeps its sessions; `default` applies if the spec does not say.
    pub fn session_storage_or(&self, default: SessionStorage) -> SessionStorage {
        self.session_storage.unwrap_or(default)
    }
}

impl Workload {
    /// The count that the custom resource declares for this workload.
    pub fn declared(self, scaling: &Scaling) -> Option<u32> {
        match self {
            Self::Deployment => scaling.replicas,
            Self::StatefulSet => scaling.backend_replicas,
        }
    }
}

fn valid<T>(path: &'static str, field: Field<T>) -> Result<Option<T>, InvalidField> {
    field.optional().map_err(|_| InvalidField(path))
}
