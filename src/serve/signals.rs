//! The signals that a daemon hears: those that end it, the one by which it reads its configuration again, and one that
//! must not end it.

use std::{future::Future, io};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that are caught from the moment this was made. Until somebody catches it, a signal ends the process where it
/// stands, so this comes before anything else.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Catches SIGTERM, SIGINT (Ctrl-C) and SIGHUP. Must be called on a runtime.
    pub fn catch() -> io::Result<Self> {
        survive_file_limit()?;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: hangup()?,
        })
    }

    /// What answers at the first signal that ends the daemon, with its name, and the stream of SIGHUPs.
    pub(super) fn split(self) -> (impl Future<Output = &'static str>, Signal) {
        (first(self.terminate, self.interrupt), self.hangup)
    }
}

/// Has a write beyond the process's limit on the size of files fail as one to a full disk does, from now on. Unless
/// somebody catches it, the signal that comes with it ends the process.
fn survive_file_limit() -> io::Result<()> {
    // Once caught, it stays so.
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw())).map(drop)
}

/// Catches SIGTERM and SIGINT (Ctrl-C) from now on. The future answers at the first of them, with its name.
///
/// To be called before anything is started: until somebody catches it, a signal ends the process where it stands.
pub fn end_signal() -> io::Result<impl Future<Output = &'static str>> {
    Ok(first(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
}

/// Catches SIGHUP from now on.
pub(super) fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

async fn first(mut terminate: Signal, mut interrupt: Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}
