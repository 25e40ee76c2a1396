//! The policy behind a webhook, without the reconciler.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::world::{AUTOSCALER, OPERATOR, World, deployment, eventually, statefulset};

/// A namespace with a server in it, and its Deployment and StatefulSet at one replica.
async fn with_server(world: &World, namespace: &str, spec: serde_json::Value) -> Result<()> {
    world.namespace(namespace).await?;
    let transport = spec["transport"].as_str().unwrap_or("stdio").to_owned();
    let server = world.make_server(namespace, "github", spec).await?.body;
    let operator = world.actor(OPERATOR).await?;
    operator.create("deployments", namespace, &deployment(&server, 1)).await?.done()?;
    operator.create("statefulsets", namespace, &statefulset("github", &transport, 1)).await?.done()?;
    Ok(())
}

fn ensure_warned(warnings: &[String], of: &str) -> Result<()> {
    ensure!(warnings.iter().any(|warning| warning.contains(of)), "no warning of {of:?}: {warnings:?}");
    Ok(())
}

pub(super) async fn stdio_server(world: &mut World) -> Result<()> {
    let namespace = world.namespace("stdio-server").await?;
    let created = world.make_server(&namespace, "github", json!({"replicas": 3})).await?;
    ensure_warned(&created.warnings, "stdio runs 1 replica; 3 requested")?;
    ensure!(created.body["spec"]["replicas"] == 3, "the declared count is GitOps' to keep");

    let operator = world.actor(OPERATOR).await?;
    let made = operator.create("deployments", &namespace, &deployment(&created.body, 3)).await?.done()?;
    ensure!(made.warnings.is_empty(), "operators read no warnings: {:?}", made.warnings);
    ensure!(world.admin.replicas("deployments", &namespace, "github").await? == 1);
    let pod = &made.body["spec"]["template"]["spec"];
    ensure!(pod["terminationGracePeriodSeconds"] == 30, "{}", pod["terminationGracePeriodSeconds"]);

    let shorter = |deployment: &mut serde_json::Value| {
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5.into();
        deployment["spec"]["replicas"] = 3.into();
    };
    let updated = operator.update("deployments", &namespace, "github", shorter).await?.done()?.body;
    ensure!(updated["spec"]["replicas"] == 1);
    ensure!(updated["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30);
    Ok(())
}

pub(super) async fn person_scales_stdio(world: &mut World) -> Result<()> {
    with_server(world, "person-stdio", json!({})).await?;
    for resource in ["deployments", "statefulsets"] {
        let warnings = world.person_scales(resource, "person-stdio", "github", 3).await?;
        ensure_warned(&warnings, "stdio runs 1 replica; 3 requested")?;
        ensure!(world.admin.replicas(resource, "person-stdio", "github").await? == 1, "{resource}");
        world.person_scales(resource, "person-stdio", "github", 0).await?;
        ensure!(world.admin.replicas(resource, "person-stdio", "github").await? == 0, "scale to zero works");
    }
    let audited = world.audit()?.into_iter().any(|entry| {
        let annotation = &entry["annotations"]["mcpserver-scaling-policy.kubewarden.admission/replicas"];
        entry["objectRef"]["subresource"] == "scale" && *annotation == "requested=3 admitted=1 reason=stdio"
    });
    ensure!(audited, "the audit log says what was asked");
    Ok(())
}

pub(super) async fn person_scales_sse(world: &mut World) -> Result<()> {
    with_server(world, "person-sse", json!({"transport": "sse"})).await?;
    let warnings = world.person_scales("deployments", "person-sse", "github", 3).await?;
    ensure_warned(&warnings, "Redis")?;
    ensure!(world.admin.replicas("deployments", "person-sse", "github").await? == 3);
    let redis = json!({"spec": {"sessionStorage": {"provider": "redis", "address": "redis:6379"}}});
    world.admin.merge("mcpservers", "person-sse", "github", &redis).await?.done()?;
    let warnings = world.person_scales("deployments", "person-sse", "github", 4).await?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    Ok(())
}

pub(super) async fn autoscaler_scales(world: &mut World) -> Result<()> {
    let autoscaler = world.actor(AUTOSCALER).await?;
    for (namespace, spec, reached) in [("hpa-stdio", json!({}), 1), ("hpa-sse", json!({"transport": "sse"}), 4)] {
        with_server(world, namespace, spec).await?;
        let scaled = autoscaler.scale("deployments", namespace, "github", 4).await?.done()?;
        ensure!(scaled.warnings.is_empty(), "controllers read no warnings: {:?}", scaled.warnings);
        ensure!(world.admin.replicas("deployments", namespace, "github").await? == reached, "{namespace}");
    }
    Ok(())
}

pub(super) async fn autoscaler_created(world: &mut World) -> Result<()> {
    with_server(world, "hpa-created", json!({})).await?;
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "github"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "github"}},
    });
    let created = world.admin.create("horizontalpodautoscalers", "hpa-created", &autoscaler).await?.done()?;
    ensure_warned(&created.warnings, "stdio")
}

pub(super) async fn old_operator_resets(world: &mut World) -> Result<()> {
    with_server(world, "old-operator", json!({"transport": "sse"})).await?;
    world.actor(AUTOSCALER).await?.scale("deployments", "old-operator", "github", 3).await?.done()?;
    let operator = world.actor(OPERATOR).await?;
    // It insists.
    for _ in 0..3 {
        operator
            .update("deployments", "old-operator", "github", |it| it["spec"]["replicas"] = 1.into())
            .await?
            .done()?;
        ensure!(
            world.admin.replicas("deployments", "old-operator", "github").await? == 3,
            "the autoscaler's count stays"
        );
    }
    world
        .admin
        .update("deployments", "old-operator", "github", |it| it["spec"]["replicas"] = 2.into())
        .await?
        .done()?;
    ensure!(world.admin.replicas("deployments", "old-operator", "github").await? == 2, "a person's does not");
    Ok(())
}

pub(super) async fn present_operator_sets(world: &mut World) -> Result<()> {
    with_server(world, "present-operator", json!({"transport": "sse", "replicas": 2})).await?;
    let operator = world.actor(OPERATOR).await?;
    operator
        .update("deployments", "present-operator", "github", |it| it["spec"]["replicas"] = 2.into())
        .await?
        .done()?;
    ensure!(world.admin.replicas("deployments", "present-operator", "github").await? == 2);
    let warnings = world.person_scales("deployments", "present-operator", "github", 5).await?;
    ensure_warned(&warnings, "spec.replicas")?;
    Ok(())
}

pub(super) async fn proxy_runner_starts(world: &mut World) -> Result<()> {
    with_server(world, "runner", json!({"transport": "sse"})).await?;
    let user = "system:serviceaccount:runner:github-proxy-runner";
    world.allow_everything("e2e-runner", user).await?;
    let runner = world.actor(user).await?;
    world.person_scales("statefulsets", "runner", "github", 3).await?;
    let mut version = None;
    for start in 0..3 {
        let manifest = statefulset("github", "sse", 1);
        let applied = runner.apply("statefulsets", "runner", "toolhive-container-manager", true, &manifest).await?;
        let applied = applied.done()?.body;
        ensure!(applied["spec"]["replicas"] == 3, "start {start}: {}", applied["spec"]["replicas"]);
        let version_now = applied["metadata"]["resourceVersion"].clone();
        if start > 1 {
            ensure!(version.as_ref() == Some(&version_now), "another start is another write");
        }
        version = Some(version_now);
    }
    Ok(())
}

pub(super) async fn gitops(world: &mut World) -> Result<()> {
    let namespace = world.namespace("gitops").await?;
    let mut versions = Vec::new();
    for _ in 0..3 {
        let server = world.server("github", json!({"transport": "stdio", "replicas": 3}));
        let applied = world.admin.apply("mcpservers", &namespace, "argocd-controller", false, &server).await?.done()?;
        ensure_warned(&applied.warnings, "stdio runs 1 replica")?;
        ensure!(applied.body["spec"]["replicas"] == 3, "what is in Git is in the cluster");
        versions.push(applied.body["metadata"]["resourceVersion"].clone());
    }
    ensure!(versions.windows(2).all(|pair| pair[0] == pair[1]), "the same manifest is written again: {versions:?}");
    Ok(())
}

pub(super) async fn dry_run(world: &mut World) -> Result<()> {
    with_server(world, "dry-run", json!({})).await?;
    let path = format!("{}/github/scale?dryRun=All", world.admin.path("deployments", "dry-run"));
    let answer = world
        .admin
        .send("PATCH", &path, "application/merge-patch+json", &json!({"spec": {"replicas": 3}}))
        .await?
        .done()?;
    ensure_warned(&answer.warnings, "stdio runs 1 replica; 3 requested")?;
    ensure!(answer.body["spec"]["replicas"] == 1, "the answer is what would be: {}", answer.body["spec"]);
    ensure!(world.admin.replicas("deployments", "dry-run", "github").await? == 1);
    Ok(())
}

pub(super) async fn older_version(world: &mut World) -> Result<()> {
    let namespace = world.namespace("older-version").await?;
    let mut server = world.server("github", json!({"replicas": 2}));
    server["apiVersion"] = "toolhive.stacklok.dev/v1alpha1".into();
    let path = format!("/apis/toolhive.stacklok.dev/v1alpha1/namespaces/{namespace}/mcpservers");
    let created = world.admin.send("POST", &path, "application/json", &server).await?.done()?;
    ensure_warned(&created.warnings, "stdio runs 1 replica; 2 requested")?;
    // Its Deployment says the version that it was made under, for ever.
    let made =
        world.actor(OPERATOR).await?.create("deployments", &namespace, &deployment(&created.body, 2)).await?.done()?;
    ensure!(made.body["spec"]["replicas"] == 1);
    Ok(())
}

pub(super) async fn other_kinds(world: &mut World) -> Result<()> {
    let namespace = world.namespace("other-kinds").await?;
    let operator = world.actor(OPERATOR).await?;
    for (kind, resource) in [("VirtualMCPServer", "virtualmcpservers"), ("MCPRemoteProxy", "mcpremoteproxies")] {
        let name = kind.to_lowercase();
        let mut server = world.server(&name, json!({"replicas": 2}));
        server["kind"] = kind.into();
        let created = world.admin.create(resource, &namespace, &server).await?.done()?;
        ensure_warned(&created.warnings, "Redis")?;
        let mut deployment = deployment(&created.body, 5);
        deployment["metadata"]["ownerReferences"][0]["kind"] = kind.into();
        for labels in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
            if let Some(labels) = deployment.pointer_mut(labels) {
                labels["app.kubernetes.io/name"] = name.as_str().into();
                labels["app"] = name.as_str().into();
            }
        }
        operator.create("deployments", &namespace, &deployment).await?.done()?;
        ensure!(world.admin.replicas("deployments", &namespace, &name).await? == 2, "the declared count of {kind}");
    }
    Ok(())
}

pub(super) async fn foreign(world: &mut World) -> Result<()> {
    let namespace = world.namespace("foreign").await?;
    let mut foreign = deployment(&world.server("web", json!({})), 7);
    foreign["metadata"]["labels"] = json!({"app": "web"});
    foreign["metadata"]["ownerReferences"] = json!([]);
    let created = world.admin.create("deployments", &namespace, &foreign).await?.done()?;
    ensure!(created.warnings.is_empty() && created.body["spec"]["replicas"] == 7);
    let warnings = world.person_scales("deployments", &namespace, "web", 9).await?;
    ensure!(warnings.is_empty(), "{warnings:?}");
    ensure!(world.admin.replicas("deployments", &namespace, "web").await? == 9);
    Ok(())
}

pub(super) async fn reject_ratchets(world: &mut World) -> Result<()> {
    world.webhook_off().await?;
    let namespace = world.namespace("reject").await?;
    let server = world.make_server(&namespace, "github", json!({"replicas": 3})).await?.body;
    let mut before = deployment(&server, 3);
    before["metadata"]["finalizers"] = json!(["example.com/e2e"]);
    world.admin.create("deployments", &namespace, &before).await?.done()?;

    let settings = json!({"stdioReplicas": "reject", "declaredReplicas": "reject", "sessionStorage": "reject", "onLookupFailure": "reject"});
    world.webhook_on(&settings).await?;
    let admin = &world.admin;
    let refused = admin.scale("deployments", &namespace, "github", 4).await?;
    ensure!(refused.code == 422 && refused.body["message"].to_string().contains("stdio runs 1 replica"), "{refused:?}");
    let refused = admin.create("mcpservers", &namespace, &world.server("other", json!({"replicas": 2}))).await?;
    ensure!(refused.code == 422, "{refused:?}");

    let label = json!({"metadata": {"labels": {"edited": "true"}}});
    admin.merge("deployments", &namespace, "github", &label).await?.done()?;
    admin.merge("mcpservers", &namespace, "github", &label).await?.done()?;
    admin.scale("deployments", &namespace, "github", 2).await?.done()?;
    admin.delete("deployments", &namespace, "github").await?.done()?;
    admin.merge("deployments", &namespace, "github", &json!({"metadata": {"finalizers": null}})).await?.done()?;
    eventually("the Deployment is gone", || async {
        Ok(admin.get("deployments", &namespace, "github").await.is_err())
    })
    .await?;
    admin.delete("mcpservers", &namespace, "github").await?.done()?;
    world.webhook_off().await?;
    world.webhook_on(&json!({})).await
}

pub(super) async fn webhook_down(world: &mut World) -> Result<()> {
    with_server(world, "down", json!({})).await?;
    world.webhook_dies();
    let refused = world.admin.scale("deployments", "down", "github", 3).await?;
    ensure!(refused.code == 500, "with failurePolicy Fail nothing passes unseen: {refused:?}");
    ensure!(world.admin.replicas("deployments", "down", "github").await? == 1);
    world.webhook_off().await?;
    world.webhook_on(&json!({})).await?;
    world.admin.scale("deployments", "down", "github", 3).await?.done()?;
    ensure!(world.admin.replicas("deployments", "down", "github").await? == 1);
    Ok(())
}
