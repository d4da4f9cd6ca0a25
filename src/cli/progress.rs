//! How far something long is: one line that is rewritten on a terminal, a line every second elsewhere.

use std::{io::IsTerminal as _, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::write_stderr;

/// How often the line is rewritten on a terminal.
const ON_TERMINAL: Duration = Duration::from_millis(100);

/// How often there is a line elsewhere.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Tells `line` again and again while `work` goes on, and once more at its end.
pub(super) async fn during<T>(work: impl Future<Output = T>, line: impl Fn() -> String) -> T {
    tell_during(work, line, true).await
}

/// The same, but what is done at once is not told at all.
pub(super) async fn during_if_long<T>(work: impl Future<Output = T>, line: impl Fn() -> String) -> T {
    tell_during(work, line, false).await
}

async fn tell_during<T>(work: impl Future<Output = T>, line: impl Fn() -> String, mut told: bool) -> T {
    let terminal = std::io::stderr().is_terminal();
    let every = if terminal { ON_TERMINAL } else { ELSEWHERE };
    let mut work = std::pin::pin!(work);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if told {
                    tell(terminal, &line(), true);
                }
                return done;
            }
            tick = ticks.tick() => if tick > started + every {
                told = true;
                tell(terminal, &line(), false);
            }
        }
    }
}

fn tell(terminal: bool, line: &str, last: bool) {
    let text = match (terminal, last) {
        (true, false) => format!("\r\x1b[2K{line}"),
        (true, true) => format!("\r\x1b[2K{line}\n"),
        (false, _) => format!("{line}\n"),
    };
    write_stderr(&text);
}
