//! Saying something once when it begins, and once when it is over.

/// Whether something is wrong, as was said last.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    is_on: bool,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is wrong now.
    Begins,
    /// It is well again.
    Ends,
    /// Nothing that was not said before.
    None,
}

impl Alarm {
    /// It `is_wrong` now.
    pub(super) fn turn(&mut self, is_wrong: bool) -> News {
        match (std::mem::replace(&mut self.is_on, is_wrong), is_wrong) {
            (false, true) => News::Begins,
            (true, false) => News::Ends,
            _ => News::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_said_once() {
        let mut alarm = Alarm::default();
        let told = [false, true, true, false, false, true].map(|is_wrong| alarm.turn(is_wrong));
        assert_eq!(told, [News::None, News::Begins, News::None, News::Ends, News::None, News::Begins]);
    }
}
