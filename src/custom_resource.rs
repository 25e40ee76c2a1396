//! `MCPServer`, `VirtualMCPServer` and `MCPRemoteProxy`: what they declare, and what the policy says of it.

use mcp_scaling_rules::{Scaling, ServerKind, SessionStorage, Transport, exceeds_stdio_cap, resolve, sessions_at_risk};

use crate::edit::quoted;
use crate::judge::{self, Ask};
use crate::request::{Request, Spec};
use crate::requester::Requester;
use crate::settings::{ExcessReplicas, Settings};
use crate::verdict::Verdict;
use crate::view::{Leaf, Malformed};

/// Where `declaredReplicas: cap` leaves what was asked for.
const REQUESTED_REPLICAS: &[&str] = &["metadata", "annotations", "mcpserver-scaling-policy/requested-replicas"];

/// A field of the spec that declares a count.
pub(crate) struct Declaration {
    /// The field, as people write it.
    pub(crate) field: &'static str,
    /// The count that it declares.
    pub(crate) count: fn(&Scaling) -> Option<u32>,
    path: &'static [&'static str],
    leaf: for<'a> fn(&Spec<'a>) -> Leaf<'a>,
}

/// Pods of the proxy runner: the Deployment.
pub(crate) static REPLICAS: Declaration = Declaration {
    field: "spec.replicas",
    count: |scaling| scaling.replicas,
    path: &["spec", "replicas"],
    leaf: |spec| spec.replicas,
};

/// Pods of the backend: the StatefulSet.
pub(crate) static BACKEND_REPLICAS: Declaration = Declaration {
    field: "spec.backendReplicas",
    count: |scaling| scaling.backend_replicas,
    path: &["spec", "backendReplicas"],
    leaf: |spec| spec.backend_replicas,
};

/// What a spec declares.
///
/// # Errors
/// [`Malformed`] where a field that decides is.
pub(crate) fn scaling(kind: &ServerKind, spec: &Spec<'_>, settings: &Settings) -> Result<Scaling, Malformed> {
    let transport = match spec.transport.text().optional()? {
        None => kind.default_transport,
        Some(name) => Transport::from_name(&name).ok_or(Malformed)?,
    };
    let provider = match spec.session_storage.as_ref().optional()? {
        None => None,
        Some(storage) => storage.provider.text().optional()?,
    };
    let session_storage = match provider {
        None => settings.default_session_storage,
        Some(name) => SessionStorage::from_name(&name).ok_or(Malformed)?,
    };
    Ok(Scaling {
        transport,
        replicas: spec.replicas.count().optional()?,
        backend_replicas: spec.backend_replicas.count().optional()?,
        session_storage,
    })
}

/// Judges CREATE and UPDATE of a custom resource by what its spec declares.
///
/// # Errors
/// [`Malformed`] where a field that decides is: the API server validates after mutation and refuses it then.
pub(crate) fn evaluate<'a>(
    kind: &'static ServerKind,
    request: &Request<'a>,
    settings: &Settings,
) -> Result<Verdict<'a>, Malformed> {
    let mut verdict = Verdict::default();
    let Some(object) = request.object.as_ref().optional()? else {
        return Ok(verdict);
    };
    let Some(spec) = object.spec.as_ref().optional()? else {
        return Ok(verdict);
    };
    let asked = scaling(kind, spec, settings)?;
    // An old object that cannot be read broke no rule that could excuse this one.
    let old = request.old_spec().and_then(|spec| scaling(kind, spec, settings).ok());
    let by_person = Requester::of(request, settings, None) == Requester::Person;

    let mut capped = Vec::new();
    for declaration in [&REPLICAS, &BACKEND_REPLICAS] {
        let Some(declared) = (declaration.count)(&asked) else {
            continue;
        };
        let old_count = |broke: fn(&Scaling, u32) -> bool| {
            let old = old.as_ref()?;
            (declaration.count)(old).filter(|count| broke(old, *count))
        };
        let ask = Ask {
            field: declaration.field,
            count: declared,
            broken_before: old_count(|old, count| exceeds_stdio_cap(old.transport, count)),
            by_person,
        };
        judge::stdio(&mut verdict, settings.declared_replicas, asked.transport, ask);

        let count = match settings.declared_replicas {
            ExcessReplicas::Cap => resolve(asked.transport, Some(declared)).unwrap_or(declared),
            ExcessReplicas::Reject | ExcessReplicas::Warn => declared,
        };
        if count != declared {
            verdict.edit(declaration.path, (declaration.leaf)(spec), count.to_string());
            capped.push(format!("{}={declared}", declaration.field));
        }
        let ask =
            Ask { count, broken_before: old_count(|old, count| sessions_at_risk(old.session_storage, count)), ..ask };
        judge::sessions(&mut verdict, settings, kind, asked.session_storage, ask);
    }
    if !capped.is_empty() {
        verdict.edit(REQUESTED_REPLICAS, Leaf::default(), quoted(&capped.join(",")));
    }
    Ok(verdict)
}
