//! What the service manager that started this process (systemd) says in its environment: where it listens, and how
//! often it wants to hear that the process is alive.

use std::{ffi::OsString, time::Duration};

/// What the service manager asks for. All of it is unset outside a service manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supervision {
    /// The datagram socket on which it listens (`NOTIFY_SOCKET`): a path, or a name in the abstract namespace after an
    /// `@`.
    pub notify_socket: Option<OsString>,
    /// For how long this process may be silent (`WATCHDOG_USEC`), unless that is asked of another (`WATCHDOG_PID`).
    pub watchdog: Option<Duration>,
}

impl Supervision {
    /// What this process was told.
    pub fn of_process() -> Self {
        // Beside `Sources::of_process` the one place that asks.
        #[allow(clippy::disallowed_methods)]
        Self::read(|name| std::env::var_os(name), std::process::id())
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>, process: u32) -> Self {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let asks_another = number("WATCHDOG_PID").is_some_and(|asked| asked != u64::from(process));
        let watchdog = number("WATCHDOG_USEC").filter(|microseconds| *microseconds > 0 && !asks_another);
        Self {
            notify_socket: variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            watchdog: watchdog.map(Duration::from_micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(variables: &[(&str, &str)]) -> Supervision {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Supervision::read(|name| find(name).map(|(_, text)| text.into()), 7)
    }

    #[test]
    fn outside_a_service_manager_nothing_is_asked_for() {
        assert_eq!(told(&[]), Supervision::default());
        assert_eq!(told(&[("NOTIFY_SOCKET", ""), ("WATCHDOG_USEC", "0")]), Supervision::default());
        assert_eq!(told(&[("WATCHDOG_USEC", "often")]), Supervision::default());
    }

    #[test]
    fn the_watchdog_is_for_the_process_that_it_names() {
        let watchdog = |pid: &[(&str, &str)]| told(&[pid, &[("WATCHDOG_USEC", "1500000")]].concat()).watchdog;
        assert_eq!(watchdog(&[]), Some(Duration::from_millis(1_500)));
        assert_eq!(watchdog(&[("WATCHDOG_PID", "7")]), Some(Duration::from_millis(1_500)));
        assert_eq!(watchdog(&[("WATCHDOG_PID", "8")]), None);
    }

    #[test]
    fn the_socket_is_taken_as_it_is_named() {
        for name in ["/run/systemd/notify", "@abstract"] {
            assert_eq!(told(&[("NOTIFY_SOCKET", name)]).notify_socket, Some(name.into()));
        }
    }
}
