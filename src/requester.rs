//! Who is behind a request.

use std::borrow::Cow;

use crate::request::Request;
use crate::settings::Settings;

/// Who is behind a request, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// A person, or a tool that acts for one (`kubectl`, Argo CD, Flux). Also a request that names no user, as those of
    /// Kubewarden's audit scanner do.
    Person,
    /// ToolHive's operator.
    Operator,
    /// A controller of Kubernetes itself, the HorizontalPodAutoscaler's among them.
    Controller,
}

impl Requester {
    /// Tells by the user name of the request.
    pub(crate) fn of(request: &Request<'_>, settings: &Settings) -> Self {
        let username = request
            .user_info
            .as_ref()
            .value()
            .and_then(|user| user.username.text().value());
        let username: Cow<'_, str> = username.unwrap_or_default();
        if settings.operator_service_accounts.iter().any(|name| *name == username) {
            Self::Operator
        } else if username.starts_with("system:serviceaccount:kube-system:")
            || username == "system:kube-controller-manager"
        {
            Self::Controller
        } else {
            Self::Person
        }
    }
}
