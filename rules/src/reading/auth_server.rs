//! What the configuration of an embedded auth server says about logins.

use crate::facts::session_storage::SessionStorage;
use crate::facts::transport::Transport;
use crate::reading::field::Field;

/// What decides about logins in `spec.authServerConfig` of a `VirtualMCPServer`, as it came.
#[derive(Clone, Copy, Debug)]
pub struct RawAuthServer<'a> {
    /// `storage.type`.
    pub storage_type: Field<&'a str>,
    /// The number of entries of `signingKeySecretRefs`.
    pub signing_keys: Field<usize>,
    /// The number of entries of `hmacSecretRefs`.
    pub hmac_secrets: Field<usize>,
}

/// What each pod of an embedded auth server has for itself, so that another pod does not know its logins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unshared {
    /// Clients, codes and tokens are in memory, which is the default.
    pub storage: bool,
    /// The pod makes its own key for tokens: `signingKeySecretRefs` names none.
    pub signing_keys: bool,
    /// The pod makes its own secret for codes and refresh tokens: `hmacSecretRefs` names none.
    pub hmac_secrets: bool,
}

impl Unshared {
    /// Reads what each pod has for itself. A malformed field counts as shared: the API server refuses the object.
    ///
    /// Source: `AuthServerConfig` in `cmd/thv-operator/api/*/virtualmcpserver_types.go`; `createStorage` in
    /// `pkg/authserver/runner/embeddedauthserver.go`, and `pkg/authserver/config.go`, in ToolHive v0.44.0 to v0.63.0.
    pub fn read(raw: RawAuthServer<'_>) -> Self {
        let is_empty = |count| matches!(count, Field::Absent | Field::Value(0));
        Self {
            storage: match raw.storage_type {
                Field::Absent => true,
                Field::Malformed => false,
                Field::Value(name) => name == SessionStorage::Memory.name(),
            },
            signing_keys: is_empty(raw.signing_keys),
            hmac_secrets: is_empty(raw.hmac_secrets),
        }
    }

    /// The fields of the configuration that have to be set so that pods share their logins, as a list for people.
    fn missing_fields(self) -> String {
        let Self { storage, signing_keys, hmac_secrets } = self;
        let fields =
            [(storage, "storage.type redis"), (signing_keys, "signingKeySecretRefs"), (hmac_secrets, "hmacSecretRefs")];
        let missing: Vec<_> =
            fields.into_iter().filter_map(|(is_missing, field)| is_missing.then_some(field)).collect();
        missing.join(", ")
    }
}

/// The embedded auth server of a custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthServer {
    /// Its spec configures one, whose pods have this for themselves.
    InSpec(Unshared),
    /// It refers to one, which another object configures. Nobody reads that.
    Referenced,
}

impl AuthServer {
    /// Returns whether the logins of `replicas` proxies are lost, or may be: there are several, and they do not share something.
    /// With `stdio` only one of them serves anybody.
    pub fn may_lose_logins(self, transport: Transport, replicas: u32) -> bool {
        transport != Transport::Stdio && replicas > 1 && self != Self::InSpec(Unshared::default())
    }

    /// What so many `replicas` have to share, in a sentence for people.
    pub fn requirement(self, replicas: &str) -> String {
        match self {
            Self::InSpec(unshared) => {
                let missing = unshared.missing_fields();
                format!("{replicas} replicas do not share logins; authServerConfig needs {missing}")
            }
            Self::Referenced => format!(
                "{replicas} replicas share logins only if their auth server has Redis, signingKeySecretRefs, hmacSecretRefs"
            ),
        }
    }
}
