//! The signals that end the daemon.

use std::{future::Future, io};

use tokio::signal::unix::{SignalKind, signal};

/// Catches SIGTERM and SIGINT (Ctrl-C) from now on. The future answers at the first of them, with its name.
///
/// To be called before anything is started: until somebody catches it, a signal ends the process where it stands.
pub fn end_signal() -> io::Result<impl Future<Output = &'static str>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        }
    })
}
