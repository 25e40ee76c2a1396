//! Writes what documents, forms, schemas and manifests repeat. The sources are the table in `src/settings.rs` and the chart.
//!
//!     xtask generate HELM    writes the files
//!     xtask check HELM       fails if a file differs from what would be written
//!
//! `HELM` is the path of Helm, which renders the chart.

mod chart;
mod files;
mod settings;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};

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
        [command, helm] if command == "check" => (check, helm),
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
