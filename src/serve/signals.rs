//! The signals that end the daemon, and one that must not.

use std::{future::Future, io};

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

/// Has a write beyond the process's limit on the size of files fail as one to a full disk does, from now on. Unless
/// somebody catches it, the signal that comes with it ends the process.
pub fn survive_file_limit() -> io::Result<()> {
    // Once caught, it stays so.
    signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).map(drop)
}

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
