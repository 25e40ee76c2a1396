//! What `deploy/` holds, and what the chart makes of it: the API server takes all of it to the letter, and both say the same.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::crds::platform_definitions;
use crate::world::World;

/// The manifests beside those for Kubewarden.
const ROOT: [&str; 3] = ["deploy/reconciler.yaml", "deploy/policy-server-rbac.yaml", "deploy/audit-scanner-rbac.yaml"];

pub(super) async fn plain(world: &mut World) -> Result<()> {
    install_platform(world).await?;
    let mut files = ROOT.map(str::to_owned).to_vec();
    for entry in std::fs::read_dir(world.artefacts.repository.join("deploy/kubewarden"))? {
        files.push(format!("deploy/kubewarden/{}", entry?.file_name().to_string_lossy()));
    }
    ensure!(files.len() == 6, "{files:?}");
    for file in files {
        for object in world.manifest(&file)? {
            world.dry_apply(&object).await.with_context(|| file.clone())?;
        }
    }
    Ok(())
}

pub(super) async fn chart(world: &mut World) -> Result<()> {
    install_platform(world).await?;
    let everything = [
        "guard.enabled=true",
        "monitor.enabled=true",
        "serviceMonitor.enabled=true",
        "prometheusRule.enabled=true",
        "dashboard.enabled=true",
        "reconciler.replicas=2",
        "reconciler.dryRun=true",
        "reconciler.priorityClassName=system-cluster-critical",
        "policy.settings.stdioReplicas=reject",
        "policy.namespaceSelector.matchLabels.mcp-scaling=enforced",
    ];
    let digest = format!("policy.digest=sha256:{}", "0".repeat(64));
    for (values, least) in [
        (&[][..], 11),
        (&everything, 19),
        (&["reconciler.watchNamespace=toolhive-system", "networkPolicy.enabled=false", digest.as_str()], 10),
        (&["reconciler.enabled=false"], 3),
        (&["policy.enabled=false"], 8),
    ] {
        let objects = render(world, values)?;
        ensure!(objects.len() == least, "{values:?} makes {} objects instead of {least}", objects.len());
        for object in &objects {
            world.dry_apply(object).await.with_context(|| format!("{values:?}"))?;
        }
    }
    // Whatever is set for the policy: one that may change nothing must not want to.
    let changing = ["policy.settings.terminationGracePeriodSeconds=60", "policy.settings.preserveScaling=true"];
    let objects = render(world, &[&["guard.enabled=true", "monitor.enabled=true"][..], &changing].concat())?;
    let unchanging: Vec<&Value> = objects.iter().filter(|object| object["spec"]["mutating"] == false).collect();
    ensure!(unchanging.len() == 2, "guard and monitor are not there");
    for policy in unchanging {
        let settings = &policy["spec"]["settings"];
        let wants = (&settings["terminationGracePeriodSeconds"], &settings["preserveScaling"]);
        ensure!(wants == (&json!(0), &json!(false)), "{}: {settings}", policy["metadata"]["name"]);
    }
    for wrong in [
        "policy.settings.stdioReplicas=no",
        "policy.settings.unknown=1",
        "reconciler.replicas=-1",
        "policy.digest=latest",
        "unknown=1",
    ] {
        ensure!(render(world, &[wrong]).is_err(), "the values schema lets {wrong} through");
    }
    Ok(())
}

pub(super) async fn chart_is_plain(world: &mut World) -> Result<()> {
    let rendered = render(world, &["guard.enabled=true", "monitor.enabled=true"])?;
    let mut compared = 0;
    let files = ["mcpserver-scaling", "mcpserver-scaling-guard", "mcpserver-scaling-monitor"];
    let files = files.map(|name| format!("deploy/kubewarden/{name}.yaml"));
    for file in files.iter().map(String::as_str).chain(ROOT) {
        for plain in world.manifest(file)? {
            let is_same = |object: &&Value| {
                // The chart's Role for the Lease has a name of its own: there may be another Role in the namespace.
                let name = object["metadata"]["name"].as_str().unwrap_or_default().trim_end_matches("-lease");
                object["kind"] == plain["kind"] && name == plain["metadata"]["name"]
            };
            let rendered =
                rendered.iter().find(is_same).with_context(|| format!("the chart has no {}", plain["kind"]))?;
            for (what, pointer) in [
                ("rules", "/rules"),
                ("admission rules", "/spec/rules"),
                ("lookups", "/spec/contextAwareResources"),
                ("match conditions", "/spec/matchConditions"),
                ("settings", "/spec/settings"),
                ("mode", "/spec/mode"),
                ("mutating", "/spec/mutating"),
                ("failure policy", "/spec/failurePolicy"),
                ("audit", "/spec/backgroundAudit"),
                ("timeout", "/spec/timeoutEvalSeconds"),
                ("module", "/spec/module"),
                ("image", "/spec/template/spec/containers/0/image"),
                ("pod security", "/spec/template/spec/securityContext"),
                ("container security", "/spec/template/spec/containers/0/securityContext"),
                ("resources", "/spec/template/spec/containers/0/resources"),
                ("probe", "/spec/template/spec/containers/0/readinessProbe"),
            ] {
                let (plain, rendered) = (plain.pointer(pointer), rendered.pointer(pointer));
                ensure!(plain == rendered, "{what} in {file}: {plain:?}, but in the chart {rendered:?}");
                compared += usize::from(plain.is_some());
            }
        }
    }
    ensure!(compared > 30, "only {compared} things were compared");
    Ok(())
}

pub(super) async fn restricted(world: &mut World) -> Result<()> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
        "name": "restricted", "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
    }});
    world.admin.send("POST", "/api/v1/namespaces", "application/json", &namespace).await?.done()?;
    let plain = world.manifest("deploy/reconciler.yaml")?;
    let rendered = render(world, &[])?;
    for objects in [plain, rendered] {
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("has a Deployment")?;
        let mut pod = deployment["spec"]["template"].clone();
        pod["apiVersion"] = "v1".into();
        pod["kind"] = "Pod".into();
        pod["metadata"]["name"] = "reconciler".into();
        let path = "/api/v1/namespaces/restricted/pods?dryRun=All&fieldValidation=Strict";
        world.admin.send("POST", path, "application/json", &pod).await?.done()?;
        pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let refused = world.admin.send("POST", path, "application/json", &pod).await?;
        ensure!(refused.code == 403, "the namespace is not restricted: {refused:?}");
    }
    Ok(())
}

pub(super) async fn cel_in_docs(world: &mut World) -> Result<()> {
    let text = std::fs::read_to_string(world.artefacts.repository.join("docs/comparison.md"))?;
    let (_, snippet) = text.split_once("```yaml\n").context("has a snippet")?;
    let (snippet, _) = snippet.split_once("```").context("which ends")?;
    let mut spec: Value = serde_saphyr::from_str(snippet)?;
    spec["matchConstraints"] = json!({"resourceRules": [{
        "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["statefulsets"], "operations": ["CREATE", "UPDATE"],
    }]});
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "stdio"}, "spec": spec,
    });
    world.dry_apply(&policy).await
}

async fn install_platform(world: &World) -> Result<()> {
    for definition in platform_definitions() {
        world.define(&definition).await?;
    }
    Ok(())
}

/// What Helm makes of the chart with these values.
fn render(world: &World, values: &[&str]) -> Result<Vec<Value>> {
    let chart: PathBuf = world.artefacts.repository.join("deploy/chart");
    let helm = world.artefacts.helm.as_deref().context("this needs --helm")?;
    let mut command = Command::new(helm);
    command.args(["template", "mcpserver-scaling"]).arg(chart).args(["--namespace", "toolhive-system"]);
    for value in values {
        command.args(["--set", value]);
    }
    let output = command.output().with_context(|| format!("cannot run {}", helm.display()))?;
    if !output.status.success() {
        bail!("{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&String::from_utf8(output.stdout)?)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}
