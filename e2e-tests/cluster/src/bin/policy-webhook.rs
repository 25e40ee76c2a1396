//! An admission webhook that runs the policy module as policy-server does: with the same configuration file and paths, with
//! a fresh instance for each request, and with lookups under the webhook's own account. The test cluster starts it, unless
//! it is told to start policy-server.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fs;
use std::future::ready;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use cluster_tests::kubeconfig::client;
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use kube::api::{ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, discovery};
use policy_host::admission::{AdmissionRequest, AdmissionResponse, Status};
use policy_host::host::keep_masked;
use policy_host::host::{self, GetResourceRequest, Host, ListResourcesRequest};
use policy_host::policy::Policy;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use wasmtime_host::Compiled;

/// Serves policies as policy-server does. Reads the kubeconfig for lookups, in JSON, from the file in KUBECONFIG. Both files are
/// read again if they change
#[derive(Parser)]
struct Arguments {
    /// The policies, in JSON, in the form that Kubewarden's controller gives policy-server
    #[arg(long)]
    policies: PathBuf,
    /// The address to listen on
    #[arg(long)]
    addr: IpAddr,
    /// The port to listen on
    #[arg(long)]
    port: u16,
    /// The certificate of this server, in PEM
    #[arg(long)]
    cert_file: PathBuf,
    /// The key of the certificate, in PEM
    #[arg(long)]
    key_file: PathBuf,
}

/// A policy in the configuration file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Configuration {
    /// `file://` and a path.
    module: String,
    policy_mode: Mode,
    allowed_to_mutate: bool,
    settings: Value,
    context_aware_resources: Vec<Resource>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Protect,
    Monitor,
}

#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
struct Resource {
    api_version: String,
    kind: String,
}

/// The audit scanner sends it without `apiVersion` and `kind`.
#[derive(Deserialize)]
struct AdmissionReview {
    request: AdmissionRequest,
}

/// A policy that is served.
struct ServedPolicy {
    id: String,
    policy: Policy,
    mode: Mode,
    allowed_to_mutate: bool,
    settings: Value,
    lookups: Arc<Lookups>,
}

/// Who asks for an evaluation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    ApiServer,
    AuditScanner,
}

struct Webhook {
    /// The file with the policies.
    policies: PathBuf,
    /// The file with the kubeconfig for lookups.
    kubeconfig: PathBuf,
    loaded: Mutex<Loaded>,
}

/// What was made of the two files.
#[derive(Default)]
struct Loaded {
    /// The content of the files.
    files: [String; 2],
    policies: Arc<Vec<ServedPolicy>>,
    /// The module of each path. It does not change while the process runs.
    modules: HashMap<String, Policy>,
}

/// Serves until the process is killed.
#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kubeconfig = std::env::var_os("KUBECONFIG").context("KUBECONFIG is not set")?.into();
    let webhook = Arc::new(Webhook { policies: arguments.policies, kubeconfig, loaded: Mutex::default() });
    let first = webhook.clone();
    tokio::task::spawn_blocking(move || first.policies()).await??;

    let certificates = CertificateDer::pem_file_iter(&arguments.cert_file)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&arguments.key_file)?;
    let mut tls = ServerConfig::builder().with_no_client_auth().with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind((arguments.addr, arguments.port)).await.context("cannot listen")?;
    println!("listening on {}:{}", arguments.addr, arguments.port);
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

/// Compiles the modules that are new, and validates the settings.
fn load(
    configurations: BTreeMap<String, Configuration>,
    client: &Client,
    modules: &mut HashMap<String, Policy>,
) -> Result<Vec<ServedPolicy>> {
    let mut policies = Vec::new();
    for (id, configuration) in configurations {
        let path = configuration.module.strip_prefix("file://").context("the module is not a file")?;
        let policy = match modules.get(path) {
            Some(policy) => policy.clone(),
            None => Policy::from_module(Arc::new(Compiled::new(&fs::read(path)?, false)?)),
        };
        modules.insert(path.to_owned(), policy.clone());
        let validity = policy.validate_settings(&configuration.settings)?;
        if !validity.valid {
            return Err(anyhow!("the settings of {id} are not valid: {}", validity.message.unwrap_or_default()));
        }
        let lookups = Lookups {
            client: client.clone(),
            runtime: Handle::current(),
            allowed: configuration.context_aware_resources,
            resources: Mutex::default(),
            lists: Mutex::default(),
        };
        policies.push(ServedPolicy {
            id,
            policy,
            mode: configuration.policy_mode,
            allowed_to_mutate: configuration.allowed_to_mutate,
            settings: configuration.settings,
            lookups: Arc::new(lookups),
        });
    }
    Ok(policies)
}

impl Webhook {
    /// The policies, as the files have them now. It blocks.
    fn policies(&self) -> Result<Arc<Vec<ServedPolicy>>> {
        let read = |file: &PathBuf| fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()));
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let files = [read(&self.policies)?, read(&self.kubeconfig)?];
        if loaded.files != files {
            let [policies, kubeconfig] = &files;
            let configurations = serde_json::from_str(policies).context("the policies are not valid")?;
            let kubeconfig = serde_json::from_str(kubeconfig).context("the kubeconfig is not JSON")?;
            let client = Handle::current().block_on(client(&kubeconfig))?;
            loaded.policies = Arc::new(load(configurations, &client, &mut loaded.modules)?);
            loaded.files = files;
        }
        Ok(loaded.policies.clone())
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        let evaluated = tokio::task::spawn_blocking(move || self.evaluate(&path, body)).await;
        let evaluated = evaluated.unwrap_or_else(|error| Err((StatusCode::INTERNAL_SERVER_ERROR, error.into())));
        Ok(match evaluated {
            Ok(review) => response(StatusCode::OK, &review),
            Err((status, error)) => {
                eprintln!("a request is answered with {status}: {error:#}");
                response(status, &json!({"message": format!("{error:#}"), "status": status.as_u16()}))
            }
        })
    }

    /// The AdmissionReview to answer with, or an error and its status.
    fn evaluate(&self, path: &str, body: Result<Bytes, hyper::Error>) -> Result<Value, (StatusCode, anyhow::Error)> {
        let policies = self.policies().map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let (policy, origin) =
            find(&policies, path).ok_or_else(|| (StatusCode::NOT_FOUND, anyhow!("no policy at {path}")))?;
        let review = body.map_err(Into::into).and_then(|body| policy.review(&body, origin));
        review.map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error))
    }
}

/// The policy that a path names, and who asks for it there.
fn find<'p>(policies: &'p [ServedPolicy], path: &str) -> Option<(&'p ServedPolicy, Origin)> {
    let (origin, id) = match path.strip_prefix("/audit/") {
        Some(id) => (Origin::AuditScanner, id),
        None => (Origin::ApiServer, path.strip_prefix("/validate/")?),
    };
    Some((policies.iter().find(|policy| policy.id == id)?, origin))
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    response
}

impl ServedPolicy {
    /// Answers an AdmissionReview.
    ///
    /// Source: `policy-server`, `api/service.rs`.
    fn review(&self, body: &[u8], origin: Origin) -> Result<Value> {
        let AdmissionReview { request } = serde_json::from_slice(body)?;
        let response = match self.policy.validate(&request, &self.settings, self.lookups.clone()) {
            // An audit tells what the policy itself says.
            Ok(response) if origin == Origin::AuditScanner => response,
            Ok(response) => self.constrained(response),
            Err(error) => {
                eprintln!("the policy failed: {error:#}");
                let status = Status { message: Some(format!("internal server error: {error}")), code: Some(500) };
                AdmissionResponse { status: Some(status), ..rejection(request.uid) }
            }
        };
        Ok(json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}))
    }

    /// The response as the mode of the policy and the right to mutate have it.
    ///
    /// Source: `policy-evaluator`, `admission_response_handler.rs`.
    fn constrained(&self, response: AdmissionResponse) -> AdmissionResponse {
        if self.mode == Mode::Monitor {
            return AdmissionResponse { allowed: true, patch: None, patch_type: None, status: None, ..response };
        }
        if self.allowed_to_mutate || response.patch.is_none() {
            return response;
        }
        let message = format!(
            "Request rejected by policy {}. The policy attempted to mutate the request, but it is currently configured \
             to not allow mutations.",
            self.id
        );
        let status = Some(Status { message: Some(message), code: None });
        AdmissionResponse { allowed: false, patch: None, patch_type: None, status, ..response }
    }
}

fn rejection(uid: String) -> AdmissionResponse {
    AdmissionResponse {
        uid,
        allowed: false,
        patch_type: None,
        patch: None,
        status: None,
        audit_annotations: None,
        warnings: None,
    }
}

/// Answers lookups from the API server, without a cache.
struct Lookups {
    client: Client,
    runtime: Handle,
    /// What the policy may read.
    allowed: Vec<Resource>,
    /// The resource of each API version and kind that was discovered.
    resources: Mutex<HashMap<(String, String), ApiResource>>,
    /// The objects of each API version, kind and namespace that are watched.
    lists: Mutex<HashMap<(String, String, String), Store<DynamicObject>>>,
}

impl Host for Lookups {
    fn get_resource(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        self.runtime.block_on(self.get(request))
    }

    fn list_resources(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        self.runtime.block_on(self.list(request))
    }
}

fn failure(error: &dyn std::fmt::Display) -> String {
    host::callback_failure(&error.to_string())
}

impl Lookups {
    async fn get(&self, request: &GetResourceRequest) -> Result<Vec<u8>, String> {
        let namespace = request.namespace.as_deref().unwrap_or("default");
        let objects = self.objects(&request.api_version, &request.kind, namespace).await?;
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

    /// Answers from a watch, which begins with the first request for a list and has no end, as in policy-server.
    ///
    /// Source: `policy-evaluator`, `callback_handler/kubernetes/reflector.rs`.
    async fn list(&self, request: &ListResourcesRequest) -> Result<Vec<u8>, String> {
        let ListResourcesRequest { api_version, kind, namespace, .. } = request;
        let key = (api_version.clone(), kind.clone(), namespace.clone());
        let watched = || self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let store = watched().get(&key).cloned();
        let store = match store {
            Some(store) => store,
            None => {
                let objects = self.objects(api_version, kind, namespace).await?;
                let resource = self.resource(api_version, kind).await.map_err(|error| failure(&error))?;
                let writer = Writer::<DynamicObject>::new(resource);
                let store = writer.as_reader();
                let events = reflector(writer, watcher(objects, watcher::Config::default())).default_backoff();
                self.runtime.spawn(events.for_each(|_| ready(())));
                store.wait_until_ready().await.map_err(|error| failure(&error))?;
                watched().insert(key, store.clone());
                store
            }
        };
        let items: Result<Vec<Value>, _> =
            store.state().iter().map(|object| serde_json::to_value(object.as_ref())).collect();
        Ok(host::list(request, items.map_err(|error| failure(&error))?))
    }

    /// The objects of a kind in a namespace, if the policy may read it.
    async fn objects(&self, api_version: &str, kind: &str, namespace: &str) -> Result<Api<DynamicObject>, String> {
        let resource = Resource { api_version: api_version.to_owned(), kind: kind.to_owned() };
        if !self.allowed.contains(&resource) {
            return Err(host::not_granted(api_version, kind));
        }
        let resource = self.resource(api_version, kind).await.map_err(|_| host::not_served(api_version, kind))?;
        Ok(Api::namespaced_with(self.client.clone(), namespace, &resource))
    }

    async fn resource(&self, api_version: &str, kind: &str) -> Result<ApiResource> {
        let key = (api_version.to_owned(), kind.to_owned());
        let discovered = || self.resources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resource) = discovered().get(&key) {
            return Ok(resource.clone());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = discovery::pinned_kind(&self.client, &kind).await?;
        discovered().insert(key, resource.clone());
        Ok(resource)
    }
}
