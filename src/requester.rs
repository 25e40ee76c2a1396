//! Who is behind a request.

use crate::request::Request;
use crate::server::Server;
use crate::settings::Settings;

/// Who is behind a request, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A person, or a tool that acts for one (`kubectl`, Argo CD, Flux). Also a request that names no user, as those of
    /// Kubewarden's audit scanner do.
    Person,
    /// ToolHive itself: its operator, or the proxy runner of the server.
    ToolHive,
    /// A controller of Kubernetes itself, the HorizontalPodAutoscaler's among them.
    Controller,
}

impl Requester {
    /// Tells by the user name of the request, which is about something of `server`'s, if of anybody's.
    pub(crate) fn of(request: &Request<'_>, settings: &Settings, server: Option<&Server<'_>>) -> Self {
        let user = request.user_info.as_ref().value();
        let username = user.and_then(|user| user.username.text().value()).unwrap_or_default();
        if settings.operator_service_accounts.iter().any(|name| *name == username)
            || server.is_some_and(|server| is_proxy_runner(&username, server, request))
        {
            Self::ToolHive
        } else if username.starts_with("system:serviceaccount:kube-system:")
            || username == "system:kube-controller-manager"
        {
            Self::Controller
        } else {
            Self::Person
        }
    }
}

/// Whether this is the service account that the operator makes for the server's proxy runner.
fn is_proxy_runner(username: &str, server: &Server<'_>, request: &Request<'_>) -> bool {
    let account = username.strip_prefix("system:serviceaccount:").and_then(|account| account.split_once(':'));
    account.is_some_and(|(namespace, name)| {
        name.strip_suffix("-proxy-runner") == Some(&server.name)
            && request.namespace.text().value().is_some_and(|own| own == namespace)
    })
}
