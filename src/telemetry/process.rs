//! What this process takes of its machine, as Linux tells in `/proc`. What cannot be read is `None`: another
//! system, or a sandbox that hides it.

use std::{fs, path::Path};

/// Ticks per second of the times in `/proc/self/stat`: `USER_HZ`, 100 on every architecture of Linux since
/// 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

/// What this process takes of its machine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessUsage {
    /// Memory in use (resident set), in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory in use of what it may use, in bytes: of everything in its control group where that has a limit, because
    /// a private Redis counts towards it too; else its own.
    pub memory_used_bytes: Option<u64>,
    /// Memory it may use: the limit of its control group, else all of the machine's, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Processor time taken since it started, in seconds over all processors.
    pub cpu_seconds: Option<f64>,
}

impl ProcessUsage {
    /// As it is now.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).ok();
        let machine_bytes = text("/proc/meminfo").and_then(|meminfo| kilobytes(&meminfo, "MemTotal:"));
        let group = text("/proc/self/cgroup")
            .and_then(|groups| GroupMemory::of(Path::new(&format!("/sys/fs/cgroup{}", group_path(&groups)?))))
            .filter(|group| machine_bytes.is_none_or(|machine_bytes| group.limit_bytes < machine_bytes));
        let resident_bytes = text("/proc/self/status").and_then(|status| kilobytes(&status, "VmRSS:"));
        Self {
            resident_bytes,
            memory_used_bytes: group.map(|group| group.used_bytes).or(resident_bytes),
            memory_total_bytes: group.map(|group| group.limit_bytes).or(machine_bytes),
            cpu_seconds: text("/proc/self/stat").and_then(|stat| cpu_seconds(&stat)),
        }
    }

    /// Memory in use as a share of what it may use, from 0 to 1.
    pub fn memory_share(&self) -> Option<f64> {
        let total = self.memory_total_bytes.filter(|total| *total > 0)?;
        Some(self.memory_used_bytes? as f64 / total as f64)
    }
}

/// The memory of a control group that has a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct GroupMemory {
    /// What everybody in it has, without the pages of files that the kernel would take back before it ends anybody.
    used_bytes: u64,
    limit_bytes: u64,
}

impl GroupMemory {
    /// That of the group in `folder`; `None` if it has no limit, or does not say.
    fn of(folder: &Path) -> Option<Self> {
        let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
        let limit_bytes = text("memory.max")?.trim().parse().ok()?;
        let all_bytes: u64 = text("memory.current")?.trim().parse().ok()?;
        let stat = text("memory.stat")?;
        let freed_first =
            stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()?;
        Some(Self { used_bytes: all_bytes.saturating_sub(freed_first), limit_bytes })
    }
}

/// The value of a line such as `MemTotal:  24576 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The path of the control group (version 2) in `/proc/self/cgroup`.
fn group_path(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::")).map(|path| path.trim_end_matches('/'))
}

/// User and system time in `/proc/self/stat`. The program's name is in parentheses and may hold anything, so
/// counting starts behind the last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree:         1000 kB\n";
        assert_eq!(kilobytes(meminfo, "MemTotal:"), Some(25_165_824_000));
        assert_eq!(kilobytes(meminfo, "SwapTotal:"), None);
        let usage = ProcessUsage {
            resident_bytes: None,
            memory_used_bytes: Some(1_024),
            memory_total_bytes: Some(4_096),
            cpu_seconds: None,
        };
        assert_eq!(usage.memory_share(), Some(0.25));
    }

    #[test]
    fn the_name_of_a_program_cannot_confuse_its_times() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 120 0 0 0 250 50 0 0 20 0 4 0 88 1000 200";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("garbage"), None);
    }

    #[test]
    fn the_control_group_of_a_service_is_found() {
        assert_eq!(group_path("0::/system.slice/keepwell.service\n"), Some("/system.slice/keepwell.service"));
        assert_eq!(group_path("1:name=systemd:/x\n0::/\n"), Some(""));
    }

    #[test]
    fn where_a_group_has_a_limit_everything_in_it_counts_but_what_is_freed_first() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(GroupMemory::of(folder.path()), None);
        write("memory.current", "900000\n");
        write("memory.stat", "anon 500000\nfile 400000\ninactive_anon 7\ninactive_file 300000\n");
        write("memory.max", "max\n");
        assert_eq!(GroupMemory::of(folder.path()), None);
        write("memory.max", "1000000\n");
        let group = GroupMemory { used_bytes: 600_000, limit_bytes: 1_000_000 };
        assert_eq!(GroupMemory::of(folder.path()), Some(group));
    }

    #[test]
    fn this_very_process_uses_memory_and_time() {
        let usage = ProcessUsage::read();
        assert!(usage.memory_share().is_some_and(|share| share > 0.0 && share < 1.0), "{usage:?}");
        assert!(usage.cpu_seconds.is_some());
    }
}
