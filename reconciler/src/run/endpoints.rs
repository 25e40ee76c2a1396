//! The HTTP endpoints: `/healthz` and `/readyz` for probes, `/metrics` for Prometheus.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info};

use crate::error::ListenError;
use crate::metrics::Metrics;

/// Connections that are served at the same time; further ones wait. Probes and Prometheus need a few.
const MAX_CONNECTIONS: usize = 32;

/// How long the head of a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// The HTTP endpoints.
pub struct Endpoints {
    /// Served at `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Served at `/readyz`: all objects are listed, or this process waits to become the leader.
    pub is_ready: watch::Receiver<bool>,
}

impl Endpoints {
    /// Listens on an address and serves it in the background for as long as the process runs.
    ///
    /// # Errors
    /// [`ListenError`] if the address is in use or not ours.
    pub async fn serve(self, address: SocketAddr) -> Result<(), ListenError> {
        let failed = |source| ListenError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        info!(%address, "serving /healthz, /readyz and /metrics");
        tokio::spawn(Arc::new(self).accept(listener));
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let endpoints = self.clone();
                    tokio::spawn(async move {
                        endpoints.serve_connection(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // If no file descriptor is left, retrying at once would only use up the processor.
                    debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn serve_connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let response = self.respond(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            debug!("a connection failed: {error}");
        }
    }

    fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            _ if method != Method::GET && method != Method::HEAD => {
                (StatusCode::METHOD_NOT_ALLOWED, "use GET\n".to_owned())
            }
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if *self.is_ready.borrow() => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not all objects are listed yet\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics.render()),
            _ => (StatusCode::NOT_FOUND, "not found; use /healthz, /readyz or /metrics\n".to_owned()),
        };
        let content_type = match (path, status) {
            ("/metrics", StatusCode::OK) => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hyper::{Method, StatusCode};
    use tokio::sync::watch;

    use super::Endpoints;
    use crate::metrics::Metrics;

    #[test]
    fn responds_with_the_status_of_each_path() {
        let (ready, is_ready) = watch::channel(false);
        let endpoints = Endpoints { metrics: Arc::new(Metrics::new()), is_ready };
        let status = |method: Method, path| endpoints.respond(&method, path).status();
        assert_eq!(status(Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        ready.send_replace(true);
        assert_eq!(status(Method::GET, "/readyz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/metrics"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
