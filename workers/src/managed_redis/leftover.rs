//! What an earlier life of the daemon may have left running.

use std::{fs, path::Path};

use rustix::process::Pid;

use super::server;

/// The server that runs in `folder`, if there is one.
pub(super) async fn find(folder: &Path, url: &str) -> Option<Pid> {
    let named = fs::read_to_string(folder.join("redis.pid")).ok().and_then(|text| read_pid(&text));
    match named {
        Some(pid) if is_ours(pid, folder) => Some(pid),
        // The file may be missing while its server is there; then it says itself who it is.
        _ => server::process_of(url).await.filter(|pid| is_ours(*pid, folder)),
    }
}

fn read_pid(text: &str) -> Option<Pid> {
    Pid::from_raw(text.trim().parse().ok()?)
}

/// Whether `pid` lives and is a server that works in `folder`. A process id is soon somebody else's, so the file alone
/// proves nothing; a server changes into its folder as it starts, and nothing else has a reason to be there.
pub(super) fn is_ours(pid: Pid, folder: &Path) -> bool {
    let process = Path::new("/proc").join(pid.as_raw_nonzero().to_string());
    // Of a process that has ended and only waits for its parent, there is no folder any more.
    let works_here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd == folder);
    let started_with = fs::read(process.join("cmdline")).unwrap_or_default();
    let socket = folder.join("redis.sock");
    let names_socket = contains(&started_with, socket.as_os_str().as_encoded_bytes());
    works_here && (names_socket || started_with.is_empty() || is_named_like_one(&started_with))
}

fn is_named_like_one(command_line: &[u8]) -> bool {
    contains(command_line, b"redis") || contains(command_line, b"valkey")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
