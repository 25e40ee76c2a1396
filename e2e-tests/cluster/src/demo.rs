//! The story in a terminal: what goes wrong, and the same steps with the policy and the reconciler on.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::world::{Artefacts, OPERATOR, World, deployment, eventually};

/// Tells it.
///
/// # Errors
/// Where there is no cluster or no kubectl.
pub(crate) async fn tell(artefacts: Artefacts) -> Result<()> {
    say("A cluster with ToolHive's definitions: kube-apiserver and etcd, started for this.");
    let mut world = World::begin(artefacts).await?;
    if !world.has_kubectl() {
        bail!("the demo shows what kubectl prints, and there is none");
    }
    let namespace = "demo";
    world.namespace(namespace).await?;
    let operator = world.actor(OPERATOR).await?;
    for (name, transport) in [("github", "stdio"), ("search", "streamable-http")] {
        let server = world.server(name, json!({"transport": transport}));
        let server = world.admin.create("mcpservers", namespace, &server).await?.done()?.body;
        operator.create("deployments", namespace, &deployment(&server, 1)).await?.done()?;
    }
    let transports = "-o=custom-columns=NAME:.metadata.name,TRANSPORT:.spec.transport,REPLICAS:.spec.replicas";
    kubectl(&world, &["get", "mcpservers", transports]).await?;

    say("1. Without the policy. Somebody scales the stdio server; its one client will reach one of three pods.");
    kubectl(&world, &["scale", "deployment", "github", "--replicas=3"]).await?;
    let counts = "-o=custom-columns=NAME:.metadata.name,REPLICAS:.spec.replicas";
    kubectl(&world, &["get", "deployments", counts]).await?;
    say("   An autoscaler scales the other one to 4, and an old operator writes its 1 back (ToolHive #3329).");
    kubectl(&world, &["scale", "deployment", "search", "--replicas=4"]).await?;
    operator.update("deployments", namespace, "search", |it| it["spec"]["replicas"] = 1.into()).await?.done()?;
    kubectl(&world, &["get", "deployments", counts]).await?;

    say("2. The reconciler starts. It finds what is there already.");
    world.start_reconciler(&[]).await?;
    eventually("the count is set back", || async {
        Ok(world.admin.replicas("deployments", namespace, "github").await? == 1)
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    kubectl(&world, &["get", "deployments", counts]).await?;
    kubectl(
        &world,
        &["get", "events", "-o=custom-columns=TYPE:.type,REASON:.reason,OBJECT:.involvedObject.name,MESSAGE:.message"],
    )
    .await?;
    let conditions = "-o=jsonpath={range .status.conditions[*]}{.type}={.status} ({.reason}){\"\\n\"}{end}";
    kubectl(&world, &["get", "mcpserver", "github", conditions]).await?;

    say("3. The policy stands in the way. The same steps:");
    world.webhook_on(&json!({})).await?;
    kubectl(&world, &["scale", "deployment", "github", "--replicas=3"]).await?;
    kubectl(&world, &["scale", "deployment", "search", "--replicas=4"]).await?;
    say("   The old operator writes 1 again:");
    operator.update("deployments", namespace, "search", |it| it["spec"]["replicas"] = 1.into()).await?.done()?;
    kubectl(&world, &["get", "deployments", counts]).await?;
    eventually("the live count is told of", || async {
        Ok(world.admin.condition(namespace, "search", "LiveReplicasWarning").await?.0 == "True")
    })
    .await?;
    say("   Nobody declared a count for it, so that the 4 stays; that its pods share no sessions is on the server:");
    kubectl(&world, &["get", "mcpserver", "search", conditions]).await?;
    world.stop_reconcilers().await
}

fn say(text: &str) {
    println!("\n{text}\n");
}

/// Shows a command and what it prints.
async fn kubectl(world: &World, arguments: &[&str]) -> Result<()> {
    let shown: Vec<&str> = arguments.iter().copied().filter(|argument| !argument.starts_with("-o")).collect();
    println!("  $ kubectl {}", shown.join(" "));
    let all = [&["--namespace", "demo"], arguments].concat();
    if let Some((output, error)) = world.kubectl(&all).await? {
        for line in error.lines().chain(output.lines()) {
            println!("  {line}");
        }
    }
    println!();
    Ok(())
}
