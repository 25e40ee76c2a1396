//! Writes what documents, forms, schemas and manifests repeat. The sources are the table in `src/settings.rs` and the chart.
//!
//!     xtask generate HELM    writes the files
//!     xtask check HELM       fails if a file differs from what would be written, or if modules import each other in a circle
//!
//! `HELM` is the path of Helm, which renders the chart.

mod chart;
mod files;
mod imports;
mod settings;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::files::Files;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let (finish, helm): (fn(&Files) -> Result<()>, &str) = match arguments {
        [command, helm] if command == "generate" => (Files::save, helm),
        [command, helm] if command == "check" => {
            check_imports()?;
            (check, helm)
        }
        _ => bail!("the arguments are `generate` or `check`, and the path of Helm"),
    };
    // The settings first: Helm reads the schema of the chart's values, which has them.
    let mut files = Files::default();
    settings::write(&mut files)?;
    finish(&files)?;
    let mut files = Files::default();
    chart::write(&mut files, helm)?;
    finish(&files)
}

fn check(files: &Files) -> Result<()> {
    let changed: Vec<&str> = files.changed().map(|(path, _)| path).collect();
    if !changed.is_empty() {
        bail!("run `make generate` and commit the result; what it writes differs in {}", changed.join(", "));
    }
    Ok(())
}

/// Returns an error that names each circle of imports in the crates that git knows.
fn check_imports() -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "--", "*.rs"]).output().context("running git")?;
    let listed = String::from_utf8(listed.stdout)?;
    let mut circles = Vec::new();
    for root in listed.lines().map(Path::new).filter(|path| is_root(path)) {
        circles.extend(imports::circles(root)?);
    }
    if !circles.is_empty() {
        bail!("these modules import each other in a circle:\n{}", circles.join("\n"));
    }
    Ok(())
}

/// Returns whether cargo takes a file for the root of a crate that can have modules.
fn is_root(path: &Path) -> bool {
    path.ends_with("lib.rs") || path.ends_with("main.rs")
}
