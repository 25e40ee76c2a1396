//! The client of the API server: from which configuration, and how long it waits.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::timeout::TimeoutLayer;
use tower::{BoxError, Service};
use tower_http::timeout::ResponseBodyTimeoutLayer;

/// How long the API server may take to begin an answer. A client that tries again meanwhile, since it was told to, is part
/// of it.
pub const ANSWER: Duration = Duration::from_secs(30);

/// For how long a watch runs, in seconds, until the API server ends it and it is begun again where it was.
pub const WATCH_SECONDS: u32 = 60;

/// How long an answer may pause. A watch is silent as long as nothing happens, so it is a little longer than one.
const PAUSE: Duration = Duration::from_secs(WATCH_SECONDS as u64 + 10);

/// A client for the cluster that a kubeconfig names: the `file`, else `$KUBECONFIG`, `~/.kube/config` or the pod's service
/// account; `context` chooses in it.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub async fn connect(file: Option<&Path>, context: Option<String>) -> Result<Client> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    let mut config = match file {
        Some(path) => {
            let file = Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &options).await?
        }
        None if options.context.is_some() => Config::from_kubeconfig(&options).await?,
        None => Config::infer().await.context("no cluster to talk to: give --kubeconfig")?,
    };
    config.connect_timeout = Some(ANSWER);
    // `patient` sees to it, for a socket and for whatever a test puts in its place.
    config.read_timeout = None;
    Ok(patient(ClientBuilder::try_from(config)?))
}

/// A client over a service, that waits for [`ANSWER`] and no longer.
pub fn patient<S, B>(builder: ClientBuilder<S>) -> Client
where
    S: Service<http::Request<Body>, Response = http::Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    builder.with_layer(&ResponseBodyTimeoutLayer::new(PAUSE)).with_layer(&TimeoutLayer::new(ANSWER)).build()
}
