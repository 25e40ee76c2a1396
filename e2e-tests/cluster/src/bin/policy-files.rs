//! Writes what a cluster needs to call the binary `policy-webhook`, for tests that start their cluster otherwise than these: the
//! configuration of the webhook, as Kubewarden's controller writes it for policy-server, and the object with which the API server
//! calls it.

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use cluster_tests::webhook::{called_at, policy_server_configuration, read_policy, webhook_configuration};
use serde_json::Value;

/// Writes policies.json and webhook.json for the policy that corrects counts
#[derive(Parser)]
struct Arguments {
    /// The settings of the policy, in JSON
    #[arg(long, default_value = "{}")]
    settings: String,
    /// The policy module
    #[arg(long)]
    module: PathBuf,
    /// Where the API server reaches the webhook, such as https://127.0.0.1:8443
    #[arg(long)]
    url: String,
    /// The certificate authority of the webhook, in PEM
    #[arg(long)]
    authority: PathBuf,
    /// The folder to write to
    folder: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut policy = read_policy("mcpserver-scaling")?;
    policy["spec"]["settings"] = serde_json::from_str::<Value>(&arguments.settings)?;
    let mut policies = policy_server_configuration(std::slice::from_ref(&policy));
    for served in policies.values_mut() {
        served["module"] = format!("file://{}", fs::canonicalize(&arguments.module)?.display()).into();
    }
    fs::write(arguments.folder.join("policies.json"), serde_json::to_string(&policies)?)?;
    let webhook =
        called_at(webhook_configuration(&policy), &policy, &arguments.url, &fs::read_to_string(&arguments.authority)?);
    fs::write(arguments.folder.join("webhook.json"), webhook.to_string())?;
    Ok(())
}
