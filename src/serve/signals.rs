//! The signals that end the daemon.

use tokio::signal::unix::{SignalKind, signal};

/// Returns at the first SIGTERM or SIGINT (Ctrl-C), with its name.
pub async fn end_signal() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
