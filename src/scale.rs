//! `Scale`: what `kubectl scale` and autoscalers write, to `deployments/scale` and `statefulsets/scale`.
//!
//! A Scale has neither labels nor owners. Whose it is comes from the resource that the request goes to and from the label
//! selector that the API server itself put on the old object; the client has no say in either.

use crate::custom_resource::{BACKEND_REPLICAS, Declaration, REPLICAS};
use crate::lookup::GetResource;
use crate::replicas::{self, Change};
use crate::request::Request;
use crate::requester::Requester;
use crate::server::{self, Server};
use crate::settings::Settings;
use crate::verdict::Verdict;
use crate::view::Malformed;

/// The server behind the workload that is scaled, and the field that declares its count. `None` where the workload is not
/// ToolHive's.
pub(crate) fn server<'a>(request: &Request<'a>) -> Option<(Server<'a>, &'static Declaration)> {
    let resource = request.resource.as_ref().value()?;
    if resource.group.text().value()? != "apps" {
        return None;
    }
    let old = request.old_object.as_ref().value()?;
    let selector = old.status.as_ref().value()?.selector.text().value()?;
    match &*resource.resource.text().value()? {
        "deployments" => Some((server::of_deployment_selector(&selector)?, &REPLICAS)),
        "statefulsets" => {
            Some((server::of_statefulset_selector(request.name.text().value()?, &selector)?, &BACKEND_REPLICAS))
        }
        _ => None,
    }
}

/// Judges UPDATE of a Scale.
///
/// # Errors
/// [`Malformed`] where the count is.
pub(crate) fn evaluate<'a>(
    server: &Server<'a>,
    declaration: &'static Declaration,
    request: &Request<'a>,
    settings: &Settings,
    get: &GetResource<'_>,
) -> Result<Verdict<'a>, Malformed> {
    let mut verdict = Verdict::default();
    let replicas = request.spec()?.replicas;
    let change = Change {
        replicas,
        // Zero is written as an absent field.
        asked: replicas.count().optional()?.unwrap_or_default(),
        old: request.old_spec().map(|spec| spec.replicas.count().value().unwrap_or_default()),
        requester: Requester::of(request, settings, Some(server)),
        is_update: request.is_update(),
        declaration,
        is_main_resource: false,
        transport: None,
    };
    replicas::judge(&mut verdict, server, request, &change, settings, get);
    Ok(verdict)
}
