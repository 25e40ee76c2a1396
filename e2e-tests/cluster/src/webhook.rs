//! An admission webhook that hosts the policy module as policy-server does: a fresh instance for each request, lookups with a
//! client of its own.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use policy_host::admission::AdmissionRequest;
use policy_host::cluster::keep_masked;
use policy_host::host::{self, Host};
use policy_host::policy::Policy;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::{Api, Client, discovery};
use kubewarden_policy_sdk::host_capabilities::kubernetes::GetResourceRequest;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::control_plane;

/// What the webhook is made of.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The policy module
    #[arg(long)]
    policy: PathBuf,
    /// The settings, in JSON
    #[arg(long)]
    settings: PathBuf,
    /// The kubeconfig for lookups, in JSON
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The certificate of the server, in PEM
    #[arg(long)]
    certificate: PathBuf,
    /// Its key
    #[arg(long)]
    key: PathBuf,
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
}

struct Webhook {
    policy: Policy,
    settings: Value,
    lookups: Arc<Lookups>,
}

/// Serves until the process ends.
pub(crate) async fn serve(arguments: Arguments) -> Result<()> {
    let settings: Value = serde_json::from_str(&fs::read_to_string(&arguments.settings)?)?;
    let policy = Policy::from_file(&arguments.policy)?;
    let validity = policy.validate_settings(&settings)?;
    if !validity.valid {
        return Err(anyhow!("the settings are not valid: {}", validity.message.unwrap_or_default()));
    }
    let kubeconfig: Value = serde_json::from_str(&fs::read_to_string(&arguments.kubeconfig)?)?;
    let client = control_plane::client(&kubeconfig, None).await?;
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
            // Whoever only looks whether the port is open does not shake hands.
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
                eprintln!("no answer: {error:#}");
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
                // What policy-server says of a policy that fails.
                eprintln!("the policy failed: {error:#}");
                let status = json!({"message": format!("internal server error: {error}"), "code": 500});
                json!({"uid": request.uid, "allowed": false, "status": status})
            }
        };
        Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    }
}

/// `get_resource` against the API server, never cached.
struct Lookups {
    client: Client,
    runtime: Handle,
    /// Which resource a kind is, as long as it is served; asking costs a call.
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
        let failed = |error: &dyn std::fmt::Display| host::callback_failure(&error.to_string());
        let object = match objects.get_opt(&request.name).await {
            Ok(Some(object)) => object,
            Ok(None) => return Err(host::not_found(request)),
            Err(error) => return Err(failed(&error)),
        };
        let mut object = serde_json::to_value(object).map_err(|error| failed(&error))?;
        if let Some(masks) = &request.field_masks {
            keep_masked(&mut object, masks.iter().map(String::as_str));
        }
        Ok(object.to_string().into_bytes())
    }

    async fn resource(&self, request: &GetResourceRequest) -> Result<ApiResource> {
        let key = (request.api_version.clone(), request.kind.clone());
        let known = || self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = known().get(&key) {
            return Ok(resource.clone());
        }
        let (group, version) = request.api_version.split_once('/').unwrap_or(("", &request.api_version));
        let kind = GroupVersionKind::gvk(group, version, &request.kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        known().insert(key, resource.clone());
        Ok(resource)
    }
}
