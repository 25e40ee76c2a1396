//! The fields of a custom resource's spec that decide about scaling, as paths. `spec.replicas` is also the field of a
//! Deployment, a StatefulSet and a Scale.

/// `spec.transport`, as a path.
pub const TRANSPORT: &str = "spec.transport";
/// `spec.replicas`, as a path.
pub const REPLICAS: &str = "spec.replicas";
/// `spec.backendReplicas`, as a path.
pub const BACKEND_REPLICAS: &str = "spec.backendReplicas";
/// `spec.sessionStorage.provider`, as a path.
pub const SESSION_STORAGE_PROVIDER: &str = "spec.sessionStorage.provider";

/// `spec.authServerRef.name`, as a path. Of an `MCPServer` and an `MCPRemoteProxy`: the object that configures its embedded auth server.
pub const AUTH_SERVER_REF: &str = "spec.authServerRef.name";

/// Every field that [`crate::Scaling`] is read from, and the one that tells of an auth server, as paths: what is fetched of a custom
/// resource of any kind.
pub const FIELDS: [&str; 5] = [AUTH_SERVER_REF, BACKEND_REPLICAS, REPLICAS, SESSION_STORAGE_PROVIDER, TRANSPORT];

/// [`REPLICAS`], as the names that lead to it.
pub const REPLICAS_PATH: &[&str] = &["spec", "replicas"];
/// [`BACKEND_REPLICAS`], as the names that lead to it.
pub const BACKEND_REPLICAS_PATH: &[&str] = &["spec", "backendReplicas"];
