//! What is asked of the process over HTTP: whether it lives, whether it is ready, and what it counted.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, info};

use crate::metrics::Metrics;

/// Connections that are served side by side; more wait. Probes and Prometheus need a few.
const CONNECTIONS: usize = 32;

/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(10);

/// What is told.
pub struct Endpoints {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether there is nothing to wait for: everything is listed, or another process leads.
    pub is_ready: watch::Receiver<bool>,
}

impl Endpoints {
    /// Answers on an address for as long as the process runs.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn serve(self, address: SocketAddr) -> Result<()> {
        let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
        info!(address = %listener.local_addr()?, "serving /healthz, /readyz and /metrics");
        tokio::spawn(Arc::new(self).accept(listener));
        Ok(())
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let endpoints = self.clone();
                    tokio::spawn(async move {
                        endpoints.answer_all(stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // No file descriptor left, say: accepting at once again would only burn the processor.
                    debug!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn answer_all(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.answer(request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(answer) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.await {
            debug!("a connection failed: {error}");
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            _ if method != Method::GET && method != Method::HEAD => {
                (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned())
            }
            "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" if *self.is_ready.borrow() => (StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "not everything is listed yet\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics.render()),
            _ => (StatusCode::NOT_FOUND, "there are /healthz, /readyz and /metrics\n".to_owned()),
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
    fn answers() {
        let (ready, is_ready) = watch::channel(false);
        let endpoints = Endpoints { metrics: Arc::new(Metrics::new()), is_ready };
        let status = |method: Method, path| endpoints.answer(&method, path).status();
        assert_eq!(status(Method::GET, "/healthz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/readyz"), StatusCode::SERVICE_UNAVAILABLE);
        ready.send_replace(true);
        assert_eq!(status(Method::GET, "/readyz"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/metrics"), StatusCode::OK);
        assert_eq!(status(Method::GET, "/"), StatusCode::NOT_FOUND);
        assert_eq!(status(Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
