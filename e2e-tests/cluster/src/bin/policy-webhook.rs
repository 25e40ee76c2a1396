//! An admission webhook that runs the policy module as policy-server does: with a fresh instance for each request, and
//! with lookups under the webhook's own account. The test cluster starts it.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use cluster_tests::kubeconfig::client;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client, discovery};
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::keep_masked;
use policy_host::host::{self, GetResourceRequest, Host};
use policy_host::policy::Policy;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Serves the policy module as an admission webhook
#[derive(Parser)]
struct Arguments {
    /// The policy module
    #[arg(long)]
    policy: PathBuf,
    /// The settings of the policy, in JSON
    #[arg(long)]
    settings: PathBuf,
    /// The kubeconfig for lookups, in JSON
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The certificate of this server, in PEM
    #[arg(long)]
    certificate: PathBuf,
    /// The key of the certificate, in PEM
    #[arg(long)]
    key: PathBuf,
    /// The address to listen on
    #[arg(long)]
    listen: SocketAddr,
}

struct Webhook {
    policy: Policy,
    settings: Value,
    lookups: Arc<Lookups>,
}

/// Serves until the process is killed.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings: Value = serde_json::from_str(&fs::read_to_string(&arguments.settings)?)?;
    let policy = Policy::from_file(&arguments.policy)?;
    let validity = policy.validate_settings(&settings)?;
    if !validity.valid {
        return Err(anyhow!("the settings are not valid: {}", validity.message.unwrap_or_default()));
    }
    let kubeconfig: Value = serde_json::from_str(&fs::read_to_string(&arguments.kubeconfig)?)?;
    let client = client(&kubeconfig).await?;
    let lookups = Lookups { client, runtime: Handle::current(), resources: Mutex::default() };
    let webhook = Arc::new(Webhook { policy, settings, lookups: Arc::new(lookups) });

    let certificates = CertificateDer::pem_file_iter(&arguments.certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key)?;
    let mut tls = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind(arguments.listen).await.context("cannot listen")?;
    println!("listening on {}", arguments.listen);
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, webhook) = (acceptor.clone(), webhook.clone());
        tokio::spawn(async move {
            // A probe that only opens the port makes no handshake.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| webhook.clone().answer(request));
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

impl Webhook {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let review = match request.into_body().collect().await {
            Ok(body) => tokio::task::spawn_blocking(move || self.review(&body.to_bytes())).await.map_err(Into::into),
            Err(error) => Err(anyhow!(error)),
        };
        Ok(match review.and_then(|review| review) {
            Ok(review) => {
                let mut response = Response::new(Full::from(review.to_string()));
                let json = http::HeaderValue::from_static("application/json");
                response.headers_mut().insert(http::header::CONTENT_TYPE, json);
                response
            }
            Err(error) => {
                eprintln!("the request is not an AdmissionReview: {error:#}");
                let mut response = Response::new(Full::from(format!("{error:#}")));
                *response.status_mut() = http::StatusCode::UNPROCESSABLE_ENTITY;
                response
            }
        })
    }

    fn review(&self, body: &[u8]) -> Result<Value> {
        let request = AdmissionRequest::from_json(std::str::from_utf8(body)?)?;
        let response = match self.policy.validate(&request, &self.settings, self.lookups.clone()) {
            Ok(response) => serde_json::to_value(response)?,
            Err(error) => {
                // The response of policy-server for a policy that fails.
                eprintln!("the policy failed: {error:#}");
                let status = json!({"message": format!("internal server error: {error}"), "code": 500});
                json!({"uid": request.uid, "allowed": false, "status": status})
            }
        };
        Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    }
}

/// Answers `get_resource` from the API server, without a cache.
struct Lookups {
    client: Client,
    runtime: Handle,
    /// The resource of each API version and kind that was discovered.
    resources: Mutex<HashMap<(String, String), ApiResource>>,
}

impl Host for Lookups {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self.runtime.block_on(self.get(request))
    }
}

impl Lookups {
    async fn get(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        let resource = self.resource(request).await.map_err(|_| host::not_served(request))?;
        let namespace = request.namespace.as_deref().unwrap_or("default");
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let failure = |error: &dyn std::fmt::Display| host::callback_failure(&error.to_string());
        let object = match objects.get_opt(&request.name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Err(host::not_found(request)),
            Err(error) => return Err(failure(&error)),
        };
        let mut object = serde_json::to_value(object).map_err(|error| failure(&error))?;
        if let Some(masks) = &request.field_masks {
            keep_masked(&mut object, masks.iter().map(String::as_str));
        }
        Ok(object.to_string().into_bytes())
    }

    async fn resource(&self, request: &GetResourceRequest) -> Result<ApiResource> {
        let key = (request.api_version.clone(), request.kind.clone());
        let discovered = || self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = discovered().get(&key) {
            return Ok(resource.clone());
        }
        let (group, version) = request.api_version.split_once('/').unwrap_or(("", &request.api_version));
        let kind = GroupVersionKind::gvk(group, version, &request.kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        discovered().insert(key, resource.clone());
        Ok(resource)
    }
}
