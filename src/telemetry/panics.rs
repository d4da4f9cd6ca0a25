//! What the log says of a panic: where it happened, and its words only if they stand in the source. A message that was
//! put together at run time may hold whatever was at hand, a person's data among it.

use std::{any::Any, panic, thread};

/// Has panics logged from now on instead of printed.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let thread = thread::current();
        tracing::error!(
            place,
            thread = thread.name(),
            words = words_of_the_source(panic.payload()),
            "a panic, which is a mistake in the program"
        );
    }));
}

fn words_of_the_source(payload: &dyn Any) -> Option<&'static str> {
    payload.downcast_ref::<&'static str>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_of_the_source_are_repeated() {
        let person = String::from("alma");
        let told = panic::catch_unwind(|| panic!("cannot read {person}")).expect_err("a panic");
        assert_eq!(words_of_the_source(&*told), None);
        let fixed = panic::catch_unwind(|| panic!("out of order")).expect_err("a panic");
        assert_eq!(words_of_the_source(&*fixed), Some("out of order"));
    }
}
