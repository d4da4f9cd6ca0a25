//! Alerts that nobody has to measure first: whoever sees what must not happen says so here. That never waits, so the
//! way of a crisis is not a moment longer for it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::{Notify, mpsc};

use super::rule::Rule;

/// What was said and not heard yet, at most. One alert is made of all that say the same, so more would add nothing but
/// a number.
const WAITING_MAX: usize = 256;

/// Says that something has happened. Cheap to clone; the default one says it to nobody.
#[derive(Debug, Clone, Default)]
pub struct AlertSink(Option<Arc<Sink>>);

#[derive(Debug)]
struct Sink {
    sender: mpsc::Sender<&'static Rule>,
    look: Notify,
    dropped: AtomicU64,
}

impl AlertSink {
    /// One that is heard by the receiver beside it.
    pub fn channel() -> (Self, mpsc::Receiver<&'static Rule>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(Some(Arc::new(Sink { sender, look: Notify::new(), dropped: AtomicU64::new(0) }))), receiver)
    }

    /// What `rule` is about has happened. Returns at once, heard or not.
    pub fn tell(&self, rule: &'static Rule) {
        let Some(sink) = &self.0 else { return };
        if sink.sender.try_send(rule).is_err() {
            sink.dropped.fetch_add(1, Relaxed);
        }
    }

    /// What is measured has just changed so that somebody should look at it now, and not when they do next. Returns at
    /// once.
    pub fn ask_for_a_look(&self) {
        if let Some(sink) = &self.0 {
            sink.look.notify_one();
        }
    }

    /// Waits until somebody asks for a look, or has since this was last waited for; for ever if nobody can.
    pub async fn look_is_asked_for(&self) {
        match &self.0 {
            Some(sink) => sink.look.notified().await,
            None => std::future::pending().await,
        }
    }

    /// How often nobody could hear it.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |sink| sink.dropped.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rules, *};

    #[tokio::test]
    async fn a_look_that_is_asked_for_while_nobody_waits_is_not_forgotten_and_many_are_one() {
        let (sink, _heard) = AlertSink::channel();
        let asked = sink.clone();
        (0..3).for_each(|_| asked.ask_for_a_look());
        sink.look_is_asked_for().await;
        tokio::select! {
            biased;
            () = sink.look_is_asked_for() => panic!("nobody has asked since"),
            () = std::future::ready(()) => {}
        }
        AlertSink::default().ask_for_a_look();
    }

    #[test]
    fn a_full_channel_is_counted_and_holds_nobody_up() {
        AlertSink::default().tell(&rules::ALERT_TEST);
        let (sink, mut heard) = AlertSink::channel();
        for _ in 0..WAITING_MAX + 3 {
            sink.tell(&rules::ALERT_TEST);
        }
        assert_eq!(sink.dropped(), 3);
        assert_eq!(heard.try_recv().map(|rule| rule.name), Ok("AlertTest"));
        sink.tell(&rules::ALERT_TEST);
        assert_eq!(sink.dropped(), 3);
    }
}
