//! Shares of processor time, as the kernel counts them.

use std::fs;

/// Processor time that process `pid` has used so far, in seconds; `None` where there is no `/proc`.
pub(super) fn processor_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets and may hold anything, so count from its end.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    let user: f64 = fields.nth(11)?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    // Linux reports these in ticks of 1/100 s to every program.
    Some((user + system) / 100.0)
}
