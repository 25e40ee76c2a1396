//! The policy behind a webhook, without the reconciler.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use cluster_tests::TestCluster;
use cluster_tests::accounts::{AUTOSCALER, OPERATOR};
use cluster_tests::manifests::read_manifest;
use cluster_tests::objects::{autoscaler, custom_resource, deployment, redis_patch, statefulset};
use cluster_tests::setup::Setup;
use cluster_tests::toolhive_crds::NEWEST;
use cluster_tests::wait::{wait_for_value, wait_until};
use cluster_tests::webhook::WEBHOOK_NAME;
use mcp_scaling_rules::kind::{API_VERSIONS, ServerKind};
use serde_json::{Value, json};

use crate::assertions::{expect_equal, expect_no_warning, expect_replicas, expect_warning};
use crate::harness::{Test, suite};

const SETUP: Setup = Setup { webhook: true, reconciler: false, crds: Some(NEWEST) };

pub(crate) fn tests() -> Vec<Test> {
    suite!(
        "policy",
        SETUP,
        [
            caps_deployment_of_new_stdio_server,
            caps_kubectl_scale_of_stdio_server,
            warns_about_kubectl_scale_without_redis,
            caps_autoscaler_of_stdio_server_only,
            warns_about_new_autoscaler_of_stdio_server,
            warns_about_autoscaler_of_embedding_server,
            warns_who_stops_one_of_two_workloads,
            warns_about_autoscaler_that_scales_the_server_already,
            preserves_count_that_operator_v06_resets,
            keeps_declared_count,
            preserves_count_when_proxy_runner_starts,
            leaves_manifest_that_gitops_applies_unchanged,
            caps_dry_run,
            caps_server_of_older_api_version,
            applies_declared_count_to_other_kinds,
            leaves_foreign_workloads_unchanged,
            receives_no_request_that_no_rule_changes,
            decides_match_conditions_on_the_largest_objects,
            allows_edits_of_existing_violation_under_reject,
            rejects_only_scales_of_toolhive_while_webhook_is_down,
        ]
    )
}

/// Creates a namespace with the `MCPServer` "github", and its Deployment and StatefulSet with one replica each.
async fn create_server_with_workloads(cluster: &TestCluster, namespace: &str, spec: Value) -> Result<()> {
    cluster.create_namespace(namespace).await?;
    let transport = spec["transport"].as_str().unwrap_or("stdio").to_owned();
    let server = cluster.create_mcp_server(namespace, "github", spec).await?.body;
    let operator = cluster.client_of(OPERATOR).await?;
    operator.create("deployments", namespace, &deployment(&server, 1)).await?.success()?;
    operator.create("statefulsets", namespace, &statefulset("github", &transport, 1)).await?.success()?;
    Ok(())
}

fn grace_period(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
}

async fn caps_deployment_of_new_stdio_server(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("stdio-server").await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({"replicas": 3})).await?;
    expect_warning(&server.warnings, "transport stdio supports 1 replica; spec.replicas requests 3")?;
    expect_equal("spec.replicas of the MCPServer, which GitOps manages", &server.body["spec"]["replicas"], 3)?;

    let operator = cluster.client_of(OPERATOR).await?;
    let created = operator.create("deployments", &namespace, &deployment(&server.body, 3)).await?.success()?;
    // Warnings are for people; an operator gets none.
    expect_no_warning(&created.warnings)?;
    expect_replicas(&cluster.admin, "deployments", &namespace, "github", 1).await?;
    expect_equal("the grace period of a pod template without one", grace_period(&created.body), 35)?;

    let shorten = |deployment: &mut Value| {
        deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5.into();
        deployment["spec"]["replicas"] = 3.into();
    };
    let updated = operator.update("deployments", &namespace, "github", shorten).await?.success()?.body;
    expect_equal("spec.replicas after an update to 3", &updated["spec"]["replicas"], 1)?;
    expect_equal("the grace period after an update to 5 s", grace_period(&updated), 35)
}

async fn caps_kubectl_scale_of_stdio_server(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "person-stdio";
    create_server_with_workloads(cluster, namespace, json!({})).await?;
    for resource in ["deployments", "statefulsets"] {
        let warnings = cluster.kubectl_scale(resource, namespace, "github", 3).await?;
        expect_warning(&warnings, "transport stdio supports 1 replica; spec.replicas requests 3")?;
        expect_replicas(&cluster.admin, resource, namespace, "github", 1).await?;
        cluster.kubectl_scale(resource, namespace, "github", 0).await?;
        expect_replicas(&cluster.admin, resource, namespace, "github", 0).await?;
    }
    let expected = "requested=3 wanted=1 reason=stdio";
    let is_annotated = cluster.audit_log()?.into_iter().any(|entry| {
        let annotation = &entry["annotations"][format!("{WEBHOOK_NAME}/replicas")];
        entry["objectRef"]["subresource"] == "scale" && *annotation == expected
    });
    ensure!(is_annotated, "expected a write of a Scale with the annotation {expected:?} in the audit log, got none");
    Ok(())
}

async fn warns_about_kubectl_scale_without_redis(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "person-sse";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse"})).await?;
    let warnings = cluster.kubectl_scale("deployments", namespace, "github", 3).await?;
    expect_warning(&warnings, "3 replicas without Redis: clients with sessions fail")?;
    expect_replicas(&cluster.admin, "deployments", namespace, "github", 3).await?;
    cluster.admin.merge("mcpservers", namespace, "github", &redis_patch()).await?.success()?;
    let warnings = cluster.kubectl_scale("deployments", namespace, "github", 4).await?;
    expect_no_warning(&warnings)
}

async fn caps_autoscaler_of_stdio_server_only(cluster: &mut TestCluster) -> Result<()> {
    let autoscaler = cluster.client_of(AUTOSCALER).await?;
    for (namespace, spec, expected) in [("hpa-stdio", json!({}), 1), ("hpa-sse", json!({"transport": "sse"}), 4)] {
        create_server_with_workloads(cluster, namespace, spec).await?;
        let scaled = autoscaler.scale("deployments", namespace, "github", 4).await?.success()?;
        // Warnings are for people; a controller gets none.
        expect_no_warning(&scaled.warnings)?;
        expect_replicas(&cluster.admin, "deployments", namespace, "github", expected).await?;
    }
    Ok(())
}

async fn warns_about_new_autoscaler_of_stdio_server(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "hpa-created";
    create_server_with_workloads(cluster, namespace, json!({})).await?;
    let autoscaler = autoscaler("github", "github", 5);
    let created = cluster.admin.create("horizontalpodautoscalers", namespace, &autoscaler).await?.success()?;
    expect_warning(&created.warnings, "stdio")
}

async fn warns_about_autoscaler_of_embedding_server(cluster: &mut TestCluster) -> Result<()> {
    let namespace = &cluster.create_namespace("embedding").await?;
    let version = cluster.toolhive_version();
    let server = json!({
        "apiVersion": format!("toolhive.stacklok.dev/{version}"), "kind": "EmbeddingServer",
        "metadata": {"name": "model"}, "spec": {},
    });
    let path = format!("/apis/toolhive.stacklok.dev/{version}/namespaces/{namespace}/embeddingservers");
    cluster.admin.post_path(&path, &server).await?.success()?;
    let mut autoscaler = autoscaler("model", "model", 5);
    autoscaler["spec"]["scaleTargetRef"]["kind"] = "StatefulSet".into();
    let created = cluster.admin.create("horizontalpodautoscalers", namespace, &autoscaler).await?.success()?;
    expect_warning(&created.warnings, "EmbeddingServer")
}

async fn warns_who_stops_one_of_two_workloads(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "stopped";
    create_server_with_workloads(cluster, namespace, json!({})).await?;
    for (resource, expected) in [
        ("deployments", "a backend runs on without proxies; kubectl -n stopped scale sts github --replicas=0 stops it"),
        (
            "statefulsets",
            "running proxies fail without a backend; kubectl -n stopped scale deploy github --replicas=0 stops them",
        ),
    ] {
        let warnings = cluster.kubectl_scale(resource, namespace, "github", 0).await?;
        let stays =
            "nothing starts a backend at 0 with its proxies but the reconciler's --couple-zero; scale it up too";
        expect_equal("the warnings", &warnings[..], &[expected.to_owned(), stays.to_owned()][..])?;
        expect_replicas(&cluster.admin, resource, namespace, "github", 0).await?;
    }
    let stopped = json!({"spec": {"replicas": 0}});
    let patched = cluster.admin.merge("mcpservers", namespace, "github", &stopped).await?.success()?;
    expect_warning(&patched.warnings, "a backend runs on without proxies")
}

/// Without the right to read autoscalers the request passes all the same.
async fn warns_about_autoscaler_that_scales_the_server_already(cluster: &mut TestCluster) -> Result<()> {
    cluster.remove_webhook().await?;
    cluster.install_webhook(&json!({"readAutoscalers": true})).await?;
    let namespace = &cluster.create_namespace("hpa-exists").await?;
    let redis =
        json!({"transport": "streamable-http", "sessionStorage": {"provider": "redis", "address": "redis:6379"}});
    let created = cluster.create_mcp_server(namespace, "github", redis).await?;
    expect_no_warning(&created.warnings)?;
    let admin = &cluster.admin;
    let give_count = |count: u32| {
        let patch = json!({"spec": {"replicas": count}});
        async move { admin.merge("mcpservers", namespace, "github", &patch).await?.success() }
    };
    expect_warning(&give_count(1).await?.warnings, "HorizontalPodAutoscalers could not be read")?;

    for object in read_manifest("deploy/policy-server-autoscalers-rbac.yaml")? {
        cluster.apply(&object).await?;
    }
    let web = autoscaler("web", "github", 5);
    admin.create("horizontalpodautoscalers", namespace, &web).await?.success()?;
    let counts = AtomicU32::new(1);
    let expected = "spec.replicas conflicts with HorizontalPodAutoscaler web; remove the field";
    // The right is not in force at once, and the policy server learns of the autoscaler a moment later.
    wait_until("the policy warns of the autoscaler", || async {
        let warnings = give_count(counts.fetch_add(1, Ordering::Relaxed) % 5 + 1).await?.warnings;
        Ok(warnings.iter().any(|warning| warning == expected))
    })
    .await?;

    // What KEDA makes of a ScaledObject.
    let mut keda = autoscaler("keda-hpa-queue", "github", 7);
    keda["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "queue", "uid": "1", "controller": true,
    }]);
    admin.create("horizontalpodautoscalers", namespace, &keda).await?.success()?;
    let turn_to = |transport: &str| {
        let patch = json!({"spec": {"transport": transport, "replicas": null}});
        async move { admin.merge("mcpservers", namespace, "github", &patch).await?.success() }
    };
    wait_until("the policy warns of the ScaledObject", || async {
        turn_to("sse").await?;
        let warnings = turn_to("stdio").await?.warnings;
        let requests =
            |autoscaler, maximum| format!("transport stdio supports 1 replica; {autoscaler} may request {maximum}");
        let expected = [requests("HorizontalPodAutoscaler web", 5), requests("ScaledObject queue", 7)];
        Ok(expected.iter().all(|expected| warnings.contains(expected)))
    })
    .await
}

async fn preserves_count_that_operator_v06_resets(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "old-operator";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse"})).await?;
    cluster.client_of(AUTOSCALER).await?.scale("deployments", namespace, "github", 3).await?.success()?;
    let operator = cluster.client_of(OPERATOR).await?;
    // This operator writes 1 each time that it reconciles; the autoscaler's count stays.
    for _ in 0..3 {
        operator.update("deployments", namespace, "github", |it| it["spec"]["replicas"] = 1.into()).await?.success()?;
        expect_replicas(&cluster.admin, "deployments", namespace, "github", 3).await?;
    }
    // A person's count is not preserved but written.
    cluster
        .admin
        .update("deployments", namespace, "github", |it| it["spec"]["replicas"] = 2.into())
        .await?
        .success()?;
    expect_replicas(&cluster.admin, "deployments", namespace, "github", 2).await
}

async fn keeps_declared_count(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "present-operator";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse", "replicas": 2})).await?;
    let operator = cluster.client_of(OPERATOR).await?;
    operator.update("deployments", namespace, "github", |it| it["spec"]["replicas"] = 2.into()).await?.success()?;
    expect_replicas(&cluster.admin, "deployments", namespace, "github", 2).await?;
    let warnings = cluster.kubectl_scale("deployments", namespace, "github", 5).await?;
    expect_warning(&warnings, "spec.replicas of MCPServer github is 2 and overrides the requested 5")
}

async fn preserves_count_when_proxy_runner_starts(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "runner";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse"})).await?;
    let user = "system:serviceaccount:runner:github-proxy-runner";
    cluster.grant_cluster_admin("test-proxy-runner", user).await?;
    let runner = cluster.client_of(user).await?;
    cluster.kubectl_scale("statefulsets", namespace, "github", 3).await?;
    let mut versions = Vec::new();
    for start in 0..3 {
        let manifest = statefulset("github", "sse", 1);
        let applied = runner.apply("statefulsets", namespace, "toolhive-container-manager", true, &manifest).await?;
        let applied = applied.success()?.body;
        expect_equal(&format!("spec.replicas after start {start}"), &applied["spec"]["replicas"], 3)?;
        versions.push(applied["metadata"]["resourceVersion"].clone());
    }
    expect_equal("the resource version after the third start, which changes nothing", &versions[2], &versions[1])
}

async fn leaves_manifest_that_gitops_applies_unchanged(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("gitops").await?;
    let mut versions = Vec::new();
    for _ in 0..3 {
        let server = cluster.mcp_server("github", json!({"transport": "stdio", "replicas": 3}));
        let applied = cluster.admin.apply("mcpservers", &namespace, "argocd-controller", false, &server).await?;
        let applied = applied.success()?;
        expect_warning(&applied.warnings, "transport stdio supports 1 replica")?;
        expect_equal("spec.replicas, which is 3 in Git", &applied.body["spec"]["replicas"], 3)?;
        versions.push(applied.body["metadata"]["resourceVersion"].clone());
    }
    let first = versions[0].clone();
    expect_equal("resource versions after the same manifest was applied three times", versions, vec![first; 3])
}

async fn caps_dry_run(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "dry-run";
    create_server_with_workloads(cluster, namespace, json!({})).await?;
    let path = format!("{}/github/scale?dryRun=All", cluster.admin.path("deployments", namespace));
    let response = cluster.admin.merge_path(&path, &json!({"spec": {"replicas": 3}})).await?.success()?;
    expect_warning(&response.warnings, "transport stdio supports 1 replica; spec.replicas requests 3")?;
    expect_equal("spec.replicas in the response", &response.body["spec"]["replicas"], 1)?;
    expect_replicas(&cluster.admin, "deployments", namespace, "github", 1).await
}

async fn caps_server_of_older_api_version(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("older-version").await?;
    let version = API_VERSIONS[1];
    expect_equal("the older API version", version, "toolhive.stacklok.dev/v1alpha1")?;
    let mut server = cluster.mcp_server("github", json!({"replicas": 2}));
    server["apiVersion"] = version.into();
    let path = format!("/apis/{version}/namespaces/{namespace}/mcpservers");
    let created = cluster.admin.post_path(&path, &server).await?.success()?;
    expect_warning(&created.warnings, "transport stdio supports 1 replica; spec.replicas requests 2")?;
    // The owner reference of its Deployment names the older version.
    let deployment = deployment(&created.body, 2);
    let created = cluster.client_of(OPERATOR).await?.create("deployments", &namespace, &deployment).await?.success()?;
    expect_equal("spec.replicas of the Deployment", &created.body["spec"]["replicas"], 1)
}

async fn applies_declared_count_to_other_kinds(cluster: &mut TestCluster) -> Result<()> {
    let namespace = cluster.create_namespace("other-kinds").await?;
    let operator = cluster.client_of(OPERATOR).await?;
    let virtual_server = json!({"replicas": 2, "groupRef": {"name": "all"}, "incomingAuth": {"type": "anonymous"}});
    let proxy = json!({"replicas": 2, "remoteUrl": "https://mcp.example.com"});
    for (kind, spec) in [(ServerKind::VirtualMcpServer, virtual_server), (ServerKind::McpRemoteProxy, proxy)] {
        let name = kind.name().to_lowercase();
        let resource = custom_resource(kind, cluster.toolhive_version(), &name, spec);
        let created = cluster.admin.create(kind.resource(), &namespace, &resource).await?.success()?;
        expect_warning(&created.warnings, "2 replicas without Redis: clients with sessions fail")?;
        operator.create("deployments", &namespace, &deployment(&created.body, 5)).await?.success()?;
        expect_replicas(&cluster.admin, "deployments", &namespace, &name, 2).await?;
    }
    Ok(())
}

/// Creates the Deployment and the StatefulSet "web", which are not ToolHive's, with one replica each.
async fn create_foreign_workloads(cluster: &TestCluster, namespace: &str) -> Result<()> {
    for (resource, mut foreign) in [
        ("deployments", deployment(&cluster.mcp_server("web", json!({})), 1)),
        ("statefulsets", statefulset("web", "stdio", 1)),
    ] {
        let labels = json!({"app.kubernetes.io/name": "web"});
        foreign["metadata"]["labels"] = labels.clone();
        foreign["metadata"]["ownerReferences"] = json!([]);
        foreign["spec"]["selector"] = json!({"matchLabels": labels});
        foreign["spec"]["template"]["metadata"]["labels"] = labels;
        let created = cluster.admin.create(resource, namespace, &foreign).await?.success()?;
        expect_no_warning(&created.warnings)?;
    }
    Ok(())
}

async fn leaves_foreign_workloads_unchanged(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "foreign";
    cluster.create_namespace(namespace).await?;
    create_foreign_workloads(cluster, namespace).await?;
    for resource in ["deployments", "statefulsets"] {
        let warnings = cluster.kubectl_scale(resource, namespace, "web", 9).await?;
        expect_no_warning(&warnings)?;
        expect_replicas(&cluster.admin, resource, namespace, "web", 9).await?;
    }
    Ok(())
}

/// The match conditions keep away what no rule can change, and nothing else.
async fn receives_no_request_that_no_rule_changes(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "match-conditions";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse"})).await?;
    create_foreign_workloads(cluster, namespace).await?;
    let (operator, autoscaler) = (cluster.client_of(OPERATOR).await?, cluster.client_of(AUTOSCALER).await?);
    let admin = &cluster.admin;
    let annotate = |it: &mut Value| it["metadata"]["annotations"]["example.com/test"] = "annotated".into();

    // All up to here, since one that was not expected may be in the log only at the next look.
    let mut expected = cluster.requests_to_policy(namespace)?;
    let mut expect_requests = async |what: &str, new: usize| {
        expected += new;
        let count = || async { cluster.requests_to_policy(namespace) };
        wait_for_value(&format!("requests that have reached the policy after {what}"), &expected, count).await
    };
    for resource in ["deployments", "statefulsets"] {
        autoscaler.scale(resource, namespace, "github", 3).await?.success()?;
        expect_requests(&format!("an autoscaler scaled {resource} to 3"), 1).await?;
        operator.update(resource, namespace, "github", annotate).await?.success()?;
        expect_requests(&format!("the operator left {resource} with 3 replicas as they are"), 1).await?;
        operator.update(resource, namespace, "github", |it| it["spec"]["replicas"] = 1.into()).await?.success()?;
        expect_requests(&format!("the operator reset the count of {resource}"), 1).await?;
        expect_replicas(admin, resource, namespace, "github", 3).await?;
        for count in [1, 0] {
            autoscaler.scale(resource, namespace, "github", count).await?.success()?;
            expect_requests(&format!("an autoscaler scaled {resource} to {count}"), 0).await?;
        }
        admin.scale(resource, namespace, "github", 1).await?.success()?;
        expect_requests(&format!("a person scaled {resource} to 1"), 1).await?;
        admin.scale(resource, namespace, "web", 3).await?.success()?;
        expect_requests(&format!("a person scaled {resource} that are not ToolHive's"), 0).await?;
    }
    operator.update("statefulsets", namespace, "github", annotate).await?.success()?;
    expect_requests("the operator left a StatefulSet with 1 replica as it is", 0).await?;
    // An operator that resets counts gets one back with such a write.
    operator.update("deployments", namespace, "github", annotate).await?.success()?;
    expect_requests("the operator left a Deployment with 1 replica as it is", 1).await?;
    operator.update("statefulsets", namespace, "github", |it| it["spec"]["replicas"] = 2.into()).await?.success()?;
    expect_requests("the operator changed the spec of a StatefulSet", 1).await?;

    let finalizers = |it: &mut Value| it["metadata"]["finalizers"] = json!(["example.com/test"]);
    admin.update("deployments", namespace, "github", finalizers).await?.success()?;
    expect_requests("a person set a finalizer", 1).await?;
    admin.delete("deployments", namespace, "github").await?.success()?;
    let without_finalizers = json!({"metadata": {"finalizers": null}});
    operator.merge("deployments", namespace, "github", &without_finalizers).await?.success()?;
    admin.scale("statefulsets", namespace, "github", 1).await?.success()?;
    expect_requests("the operator removed the finalizer of an object that is being deleted, and a person scaled", 1)
        .await
}

/// An error in a match condition refuses the request, and so does a condition that exceeds the budget of CEL. The API server
/// takes objects of 1.5 MB, the limit of etcd.
async fn decides_match_conditions_on_the_largest_objects(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "large-objects";
    create_server_with_workloads(cluster, namespace, json!({"transport": "sse"})).await?;
    let annotate = |it: &mut Value| it["metadata"]["annotations"]["example.com/test"] = "annotated".into();
    let variables: Vec<Value> =
        (0..15_000).map(|index| json!({"name": format!("VARIABLE_{index}"), "value": "x".repeat(20)})).collect();
    let enlarge = |it: &mut Value| it["spec"]["template"]["spec"]["containers"][0]["env"] = json!(variables);
    cluster.admin.update("statefulsets", namespace, "github", enlarge).await?.success()?;
    let count = || async { cluster.requests_to_policy(namespace) };
    // Creating the server and its two workloads, and making one of them large.
    wait_for_value("requests that have reached the policy", &4, count).await?;
    cluster.admin.update("statefulsets", namespace, "github", annotate).await?.success()?;

    let mut foreign = deployment(&cluster.mcp_server("web", json!({})), 1);
    let owner = |index: usize| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": format!("{index}")});
    foreign["metadata"]["ownerReferences"] = (0..15_000).map(owner).collect();
    foreign["metadata"]["labels"] = json!({"app": "web"});
    cluster.admin.create("deployments", namespace, &foreign).await?.success()?;
    cluster.admin.update("deployments", namespace, "web", annotate).await?.success()?;
    wait_for_value("requests that have reached the policy after all updates", &4, count).await
}

async fn allows_edits_of_existing_violation_under_reject(cluster: &mut TestCluster) -> Result<()> {
    cluster.remove_webhook().await?;
    let namespace = cluster.create_namespace("reject").await?;
    let server = cluster.create_mcp_server(&namespace, "github", json!({"replicas": 3})).await?.body;
    let mut existing = deployment(&server, 3);
    existing["metadata"]["finalizers"] = json!(["example.com/test"]);
    cluster.admin.create("deployments", &namespace, &existing).await?.success()?;

    let settings = json!({
        "stdioReplicas": "reject", "declaredReplicas": "reject", "sessionStorage": "reject",
        "onLookupFailure": "reject",
    });
    cluster.install_webhook(&settings).await?;
    let admin = &cluster.admin;
    let rejected = admin.scale("deployments", &namespace, "github", 4).await?;
    expect_equal("the response code of a scale to 4", rejected.code, 422)?;
    let (message, expected) = (rejected.body["message"].to_string(), "transport stdio supports 1 replica");
    ensure!(message.contains(expected), "the rejection: expected {expected:?}, got {message}");
    let rejected = admin.create("mcpservers", &namespace, &cluster.mcp_server("other", json!({"replicas": 2}))).await?;
    expect_equal("the response code of a new stdio server with 2 replicas", rejected.code, 422)?;

    let label = json!({"metadata": {"labels": {"edited": "true"}}});
    admin.merge("deployments", &namespace, "github", &label).await?.success()?;
    admin.merge("mcpservers", &namespace, "github", &label).await?.success()?;
    admin.scale("deployments", &namespace, "github", 2).await?.success()?;
    admin.delete("deployments", &namespace, "github").await?.success()?;
    let without_finalizers = json!({"metadata": {"finalizers": null}});
    admin.merge("deployments", &namespace, "github", &without_finalizers).await?.success()?;
    let is_deleted = || async { Ok(admin.get("deployments", &namespace, "github").await.is_err()) };
    wait_until("the Deployment is deleted", is_deleted).await?;
    admin.delete("mcpservers", &namespace, "github").await?.success()?;
    Ok(())
}

/// While the policy server is down, the manifest's `failurePolicy: Fail` holds for ToolHive's workloads and for nothing else.
async fn rejects_only_scales_of_toolhive_while_webhook_is_down(cluster: &mut TestCluster) -> Result<()> {
    let namespace = "down";
    create_server_with_workloads(cluster, namespace, json!({})).await?;
    create_foreign_workloads(cluster, namespace).await?;
    cluster.kill_webhook();
    for resource in ["deployments", "statefulsets"] {
        let rejected = cluster.admin.scale(resource, namespace, "github", 3).await?;
        expect_equal(&format!("the response code for {resource} while the webhook is down"), rejected.code, 500)?;
        expect_replicas(&cluster.admin, resource, namespace, "github", 1).await?;
        cluster.admin.scale(resource, namespace, "web", 3).await?.success()?;
    }
    let autoscaler = autoscaler("github", "github", 5);
    let created = cluster.admin.create("horizontalpodautoscalers", namespace, &autoscaler).await?.success()?;
    expect_no_warning(&created.warnings)?;
    cluster.remove_webhook().await?;
    cluster.install_webhook(&json!({})).await?;
    cluster.admin.scale("deployments", namespace, "github", 3).await?.success()?;
    expect_replicas(&cluster.admin, "deployments", namespace, "github", 1).await
}
