//! Who makes a request.

use mcp_scaling_rules::{Owner, accounts};

use crate::request::Request;
use crate::settings::Settings;

/// Who makes a request, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A person, or a tool that acts for one (`kubectl`, Argo CD, Flux). Also a request that names no user, as those of
    /// Kubewarden's audit scanner do.
    Person,
    /// ToolHive itself: its operator, or the proxy runner of the server.
    ToolHive,
    /// Another controller: those of Kubernetes itself that write workloads or Scales, KEDA's operator, those that the settings
    /// name, and a ToolHive operator that the settings do not name.
    Controller,
}

impl Requester {
    /// Tells by the user name of the request. `owner` is the custom resource that the request's object belongs to, if any:
    /// its proxy runner counts as ToolHive.
    pub(crate) fn of(request: &Request<'_>, settings: &Settings, owner: Option<&Owner<'_>>) -> Self {
        let username = request.user_info.get().and_then(|user| user.username.get()).map_or("", String::as_str);
        let is_operator = settings.operator_service_accounts.iter().any(|name| name == username);
        if is_operator
            || owner.is_some_and(|owner| accounts::is_proxy_runner(username, request.namespace(), &owner.name))
        {
            Self::ToolHive
        } else if accounts::is_kubernetes_controller(username)
            || accounts::is_operator_by_name(username)
            || accounts::is_keda_by_name(username)
            || settings.controller_service_accounts.iter().any(|name| name == username)
        {
            Self::Controller
        } else {
            Self::Person
        }
    }
}
