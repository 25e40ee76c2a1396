//! The temporary folder of one run, with the files and logs of all processes.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How many lines of a log are shown with a failure.
const TAIL_LINES: usize = 15;

/// The folder of this run. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct RunFolder(PathBuf);

impl RunFolder {
    /// Creates the folder of this process, and removes those of processes that were killed.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub(crate) fn create() -> Result<Self> {
        const PREFIX: &str = "mcpserver-scaling-cluster-tests-";
        let parent = std::env::temp_dir();
        for entry in fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// Writes a file that another process may read at this moment, in one step, and returns its path.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn replace(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let new = self.write(&format!("{name}.new"), content)?;
        fs::rename(new, &path).with_context(|| format!("cannot replace {}", path.display()))?;
        Ok(path)
    }

    /// Opens a log to append to.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open_log(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot open {}", path.display()))
    }

    /// The last lines of a log, indented, after its name.
    pub(crate) fn log_tail(&self, name: &str) -> String {
        let log = fs::read_to_string(self.path(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines.iter().skip(lines.len().saturating_sub(TAIL_LINES));
        last.fold(format!("last lines of {name}:"), |text, line| text + "\n    " + line)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // The next run removes what cannot be removed now.
        let _ = fs::remove_dir_all(&self.0);
    }
}
