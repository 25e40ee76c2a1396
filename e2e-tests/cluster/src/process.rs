//! Child processes that never outlive this one.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::inputs::runs;

/// A child process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts a program with its output in a log file.
    ///
    /// # Errors
    /// If the program cannot be started.
    pub(crate) fn start(mut command: Command, log: File) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Self(child))
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How the process ended; `None` while it runs.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub(crate) fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// Kills the process, if it runs.
    pub(crate) fn kill(&mut self) {
        // Both fail if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Sends SIGTERM and waits until the process has ended.
    ///
    /// # Errors
    /// If the process does not end within the timeout; it is killed then.
    pub(crate) async fn terminate(mut self, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        Command::new("kill").arg(self.id().to_string()).status()?;
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("process {} has not ended {} s after SIGTERM", self.id(), timeout.as_secs())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command whose process the kernel kills when the thread that starts it ends, even if that thread is killed. This
/// takes `setpriv` of util-linux; without it only dropping the [`Process`] kills it.
pub(crate) fn tied_to_this_thread(program: &Path) -> Command {
    if !runs(Path::new("setpriv"), &["--version"]) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// A free port of the loopback interface.
///
/// # Errors
/// If no port is free.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
