//! Observes what becomes of counts beside ToolHive's own operators and proxy runners of several releases: with ToolHive
//! alone, with the policy, and with the policy and the reconciler. Writes what it saw to `docs/compatibility.md`.
//!
//! `TOOLHIVE_TAGS` names the releases; [`cluster_tests::inputs`] lists the other environment variables.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, Result};
use cluster_tests::inputs::workspace_root;
use cluster_tests::interrupt::run_until_interrupted;
use cluster_tests::objects::runs_image;
use cluster_tests::requests::text;
use cluster_tests::setup::Setup;
use cluster_tests::toolhive::split_tags;
use cluster_tests::{Ignored, Inputs, TestCluster, ToolHiveRelease};
use mcp_scaling_rules::ConditionType;
use serde_json::{Value, json};

const DOCUMENT: &str = "docs/compatibility.md";
/// The lines of the document between which the table stands.
const BEGIN: &str = "<!-- The rest up to the next comment is written by `make compatibility`. -->\n";
const END: &str = "<!-- The end of what `make compatibility` writes. -->\n";

/// How long operators, the proxy runner and the reconciler get to change a count. The reconciler waits 10 seconds before
/// it gives back a count that an operator has reset.
const SETTLING_TIME: Duration = Duration::from_secs(15);
/// How long a new image may take.
const ROLLOUT_TIME_LIMIT: Duration = Duration::from_secs(30);

const NEW_IMAGE: &str = "example/mcp:2";

/// What runs beside ToolHive, and how the table calls that.
const SETUPS: [(&str, Setup); 3] = [
    ("ToolHive alone", Setup { webhook: false, reconciler: false, crds: None }),
    ("with the policy", Setup { webhook: true, reconciler: false, crds: None }),
    ("with the policy and the reconciler", Setup { webhook: true, reconciler: true, crds: None }),
];

const HEADER: &str = "\
| release | | `stdio` Deployment | other Deployment | `stdio` StatefulSet | other StatefulSet, after a new start of the proxy | new image for the other server | conditions of the other server that are `True` |
|---|---|---|---|---|---|---|---|
";

/// The columns of the table for one release, with a row for each of [`SETUPS`].
type Rows = Vec<Vec<String>>;

// One thread: the child processes end with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run_until_interrupted(run()).await
}

async fn run() -> Result<()> {
    let tags = env::var("TOOLHIVE_TAGS").context("TOOLHIVE_TAGS has to name releases, such as v0.10.0,v0.63.0")?;
    let inputs = Inputs::from_environment(&env::current_exe()?.with_file_name("policy-webhook"))?;
    let mut cluster = TestCluster::start(inputs).await.context("the cluster does not start")?;
    let mut seen: Vec<(Vec<String>, Rows)> = Vec::new();
    let mut missing = Vec::new();
    for tag in split_tags(&tags) {
        let release = match ToolHiveRelease::find(tag) {
            Ok(release) => release,
            Err(error) => {
                let Ignored(reason) = error.downcast::<Ignored>()?;
                eprintln!("WARNING: {tag} is not in the table: {reason}");
                missing.push(tag.to_owned());
                continue;
            }
        };
        let rows = observe_release(&mut cluster, &release).await.with_context(|| tag.to_owned())?;
        let name = name_in_table(&release)?;
        match seen.last_mut().filter(|(_, last)| *last == rows) {
            Some((names, _)) => names.push(name),
            None => seen.push((vec![name], rows)),
        }
    }
    let table = table(&seen, &missing);
    println!("{table}");
    write(&table)
}

/// The tag of a release, and what it was built with a stand-in for.
fn name_in_table(release: &ToolHiveRelease) -> Result<String> {
    let (tag, stand_ins) = (release.tag(), release.stand_ins()?.join(" and "));
    Ok(if stand_ins.is_empty() { tag.to_owned() } else { format!("{tag} (built with a stand-in for {stand_ins})") })
}

async fn observe_release(cluster: &mut TestCluster, release: &ToolHiveRelease) -> Result<Rows> {
    let mut rows = Vec::new();
    for (index, (name, setup)) in SETUPS.into_iter().enumerate() {
        eprintln!("{}: {name}", release.tag());
        cluster.prepare(setup).await?;
        cluster.require_release(release).await?;
        let namespace = format!("seen-{}-{index}", release.tag().replace('.', "-"));
        let observed = observe(cluster, release, &cluster.create_namespace(&namespace).await?).await;
        let observed = observed.with_context(|| format!("{name}\n{}", cluster.log_tails()))?;
        rows.push([vec![name.to_owned()], observed].concat());
    }
    Ok(rows)
}

/// The columns of one row, from the third on.
async fn observe(cluster: &TestCluster, release: &ToolHiveRelease, namespace: &str) -> Result<Vec<String>> {
    for (name, transport) in [("stdio", "stdio"), ("other", "streamable-http")] {
        cluster.create_server_with_deployment(namespace, name, json!({"transport": transport})).await?;
        cluster.run_proxy_runner(release, namespace, name).await?;
        for resource in ["deployments", "statefulsets"] {
            cluster.admin.scale(resource, namespace, name, 3).await?.success()?;
        }
    }
    cluster.run_proxy_runner(release, namespace, "other").await?;
    tokio::time::sleep(SETTLING_TIME).await;
    let count = async |resource, name| {
        Ok::<_, anyhow::Error>(cluster.admin.replicas(resource, namespace, name).await?.to_string())
    };
    let counts = [
        count("deployments", "stdio").await?,
        count("deployments", "other").await?,
        count("statefulsets", "stdio").await?,
        count("statefulsets", "other").await?,
    ];
    let conditions = true_conditions(&cluster.admin.get("mcpservers", namespace, "other").await?);

    let image = json!({"spec": {"image": NEW_IMAGE}});
    cluster.admin.merge("mcpservers", namespace, "other", &image).await?.success()?;
    let begun = Instant::now();
    while !runs_image(&cluster.admin.get("deployments", namespace, "other").await?, NEW_IMAGE)
        && begun.elapsed() < ROLLOUT_TIME_LIMIT
    {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(SETTLING_TIME).await;
    let deployment = cluster.admin.get("deployments", namespace, "other").await?;
    let rolled_out = if runs_image(&deployment, NEW_IMAGE) { "rolled out" } else { "not rolled out" };
    let image = format!("{rolled_out}, {}", deployment["spec"]["replicas"]);
    Ok([counts.to_vec(), vec![image, conditions]].concat())
}

/// The conditions about scaling that are `True`, as a cell of the table.
fn true_conditions(server: &Value) -> String {
    let conditions = server["status"]["conditions"].as_array().into_iter().flatten();
    let is_true =
        conditions.filter(|condition| condition["status"] == "True").map(|condition| text(&condition["type"]));
    let mut names: Vec<_> = is_true.filter(|name| ConditionType::from_name(name).is_some()).collect();
    names.sort();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    }
}

fn table(seen: &[(Vec<String>, Rows)], missing: &[String]) -> String {
    let mut table = format!("\n{HEADER}");
    for (names, rows) in seen {
        let mut first = names.join(", ");
        for row in rows {
            table.push_str(&format!("| {first} | {} |\n", row.join(" | ")));
            first.clear();
        }
    }
    if !missing.is_empty() {
        table.push_str(&format!(
            "\nNot in the table, because their programs could not be had: {}.\n",
            missing.join(", ")
        ));
    }
    table.push('\n');
    table
}

/// Puts the table into the document, in place of the one that is there.
fn write(table: &str) -> Result<()> {
    let path = workspace_root().join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("{DOCUMENT} lacks the line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} lacks the line {END:?}"))?;
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
