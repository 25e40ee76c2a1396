//! The client of the API server: which cluster it connects to, its timeouts, and the name under which it writes.

use std::path::Path;
use std::time::Duration;

use kube::api::PatchParams;
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};
use tower_http::timeout::ResponseBodyTimeoutLayer;

use crate::error::ConnectError;

/// The field manager of every write, the name of the reporting controller in events, and the name of the Lease.
pub(crate) const FIELD_MANAGER: &str = "mcpserver-scaling-reconciler";

/// How long a response may take to begin, with the retries of kube's client included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a watch runs, in seconds, until the API server ends it and the watcher resumes it.
pub(crate) const WATCH_SECONDS: u32 = 60;

/// How long the body of a response may pause. A watch without events is silent for its whole duration, so this is longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// A client for the cluster of a kubeconfig: of the `file` if there is one, else of `$KUBECONFIG`, `~/.kube/config` or the
/// pod's service account. `context` selects a context of the kubeconfig.
///
/// # Errors
/// [`ConnectError`] if no configuration is found, or it cannot be read or used.
pub async fn connect(file: Option<&Path>, context: Option<String>) -> Result<Client, ConnectError> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = match file {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .map_err(|source| ConnectError::KubeconfigFile { path: path.to_owned(), source })?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await?,
    };
    config.connect_timeout = Some(RESPONSE_TIMEOUT);
    // `with_timeouts` sets the read timeout, so that tests without a socket have the same one.
    config.read_timeout = None;
    Ok(with_timeouts(ClientBuilder::try_from(config)?))
}

/// A client whose calls fail after a timeout: 30 s for the response to begin, 70 s without any data of its body.
pub fn with_timeouts<S, B>(builder: ClientBuilder<S>) -> Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    builder
        .with_layer(&ResponseBodyTimeoutLayer::new(BODY_TIMEOUT))
        .with_layer(&TimeoutLayer::new(RESPONSE_TIMEOUT))
        .build()
}

/// The parameters of a patch under our field manager.
pub(crate) fn patch_params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
