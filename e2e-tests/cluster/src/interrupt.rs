//! SIGINT and SIGTERM, on which everything that was started is stopped.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives the signals that ask this process to end. They no longer end it by themselves once this exists.
#[derive(Debug)]
pub struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupt {
    /// Begins to receive the signals; needs a runtime of tokio.
    ///
    /// # Errors
    /// If the operating system does not allow it.
    pub fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next signal. Returns the exit code that shells expect after it: 130 or 143.
    pub async fn received(&mut self) -> u8 {
        let number = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
        };
        u8::try_from(128 + number.as_raw_value()).unwrap_or(u8::MAX)
    }
}

/// Runs the work of a program until it ends or a signal comes, and returns the exit code of the program. Either way the
/// work is dropped, and with it the processes that it started.
pub async fn run_until_interrupted(work: impl Future<Output = Result<()>>) -> ExitCode {
    let result = match Interrupt::new() {
        Ok(mut interrupt) => tokio::select! {
            result = work => result,
            code = interrupt.received() => return ExitCode::from(code),
        },
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
