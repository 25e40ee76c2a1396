//! Kubeconfigs, and clients that use them.

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::certificates::Certificate;

/// A kubeconfig for a server with this certificate authority (in PEM). `user` is the entry of one of the functions
/// below.
pub(crate) fn kubeconfig(server: &str, authority: &str, user: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": encode(authority)}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": user}],
    })
}

/// The `user` entry for a client certificate.
pub(crate) fn user_with_certificate(certificate: &Certificate) -> Value {
    json!({
        "client-certificate-data": encode(&certificate.certificate), "client-key-data": encode(&certificate.key),
    })
}

/// The `user` entry for a bearer token.
pub(crate) fn user_with_token(token: &str) -> Value {
    json!({"token": token})
}

/// A client that uses a kubeconfig.
///
/// # Errors
/// If the kubeconfig is invalid.
pub async fn client(kubeconfig: &Value) -> Result<Client> {
    Ok(Client::try_from(config(kubeconfig).await?)?)
}

/// A client that repeats no request, whatever the API server answers.
///
/// # Errors
/// As [`client`].
pub(crate) async fn client_without_retries(kubeconfig: &Value) -> Result<Client> {
    let mut config = config(kubeconfig).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

/// A client that uses a kubeconfig and impersonates a user in these groups.
///
/// # Errors
/// As [`client`].
pub(crate) async fn impersonating_client(kubeconfig: &Value, user: &str, groups: &[&str]) -> Result<Client> {
    let mut config = config(kubeconfig).await?;
    config.auth_info.impersonate = Some(user.to_owned());
    config.auth_info.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
    Ok(Client::try_from(config)?)
}

async fn config(kubeconfig: &Value) -> Result<Config> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig.clone())?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// Text in base64, as fields that end in `-data` and `caBundle` have it.
pub(crate) fn encode(text: &str) -> String {
    STANDARD.encode(text)
}
