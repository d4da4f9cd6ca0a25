//! The order in which what was done about one person took effect, beside the one in which it was answered.

use std::collections::HashMap;

use super::history::{Event, History, Ms, Row};

/// Jobs that were done before one about the same person, in the same lane, that had been answered 2xx before they were
/// sent. What failed on the way and is done later is left out, and what more than one death has interrupted: that is
/// meant.
pub fn overtaken(history: &History) -> Vec<String> {
    let events: HashMap<&str, &Event> =
        history.events.iter().map(|event| (event.key.as_str(), event)).collect();
    let rows: HashMap<&str, &Row> = history.rows.iter().map(|row| (row.id.as_str(), row)).collect();
    let mut interrupted: HashMap<&str, usize> = HashMap::new();
    let troubles = &history.troubles;
    for id in troubles.restarts.iter().chain(&troubles.absences).flat_map(|death| &death.claimed) {
        *interrupted.entry(id).or_default() += 1;
    }

    // Of each person and lane: what was sent last of all that is done.
    let mut latest: HashMap<(&str, &str), (Ms, &str)> = HashMap::new();
    let mut overtaken = Vec::new();
    for id in &history.finishes {
        let Some(row) = rows.get(id.as_str()) else { continue };
        let (Some(event), Some(subject)) = (events.get(row.key.as_str()), &row.subject) else { continue };
        let waited_on_purpose =
            row.failed > 0 || interrupted.get(id.as_str()).is_some_and(|deaths| *deaths > 1);
        let latest = latest.entry((subject, &row.lane)).or_insert((Ms::MIN, ""));
        if !waited_on_purpose && event.taken_ms.is_some_and(|taken_ms| taken_ms < latest.0) {
            overtaken.push(format!(
                "{}: done after {}, which was sent later: {event:?} {row:?}",
                row.key, latest.1
            ));
        }
        *latest = (*latest).max((event.sent_ms, &row.key));
    }
    overtaken
}

#[cfg(test)]
mod tests {
    use super::{
        super::history::{Death, Effect, Span},
        *,
    };

    /// One after the other about one person, all done, the second one first.
    fn swapped() -> History {
        let event = |key: &str, sent_ms: Ms| Event {
            key: key.into(),
            effect: Effect::Nothing,
            sent_ms,
            taken_ms: Some(sent_ms + 5),
            came_again: false,
            recorded: 1,
            refused: None,
        };
        let row = |key: &str| Row {
            id: format!("job of {key}"),
            key: key.into(),
            state: "done".into(),
            lane: "realtime".into(),
            subject: Some("cus_1".into()),
            attempts: 1,
            failed: 0,
            finished_ms: Some(3),
        };
        History {
            events: vec![event("a", 0), event("b", 10), event("c", 20)],
            rows: ["a", "b", "c"].map(row).to_vec(),
            finishes: ["b", "a", "c"].map(|key| row(key).id).to_vec(),
            ..History::default()
        }
    }

    fn count(change: impl FnOnce(&mut History)) -> usize {
        let mut history = swapped();
        change(&mut history);
        overtaken(&history).len()
    }

    #[test]
    fn what_is_done_after_what_was_sent_after_its_answer_is_overtaken() {
        assert_eq!(count(|_| {}), 1);
        assert_eq!(count(|history| history.finishes.swap(0, 1)), 0);
        assert_eq!(
            count(|history| history.events[0].taken_ms = Some(11)),
            0,
            "they were sent at the same time"
        );
    }

    #[test]
    fn another_person_another_lane_and_what_waits_on_purpose_overtake_nobody() {
        assert_eq!(count(|history| history.rows[0].subject = Some("cus_2".into())), 0);
        assert_eq!(count(|history| history.rows[0].lane = "background".into()), 0);
        assert_eq!(count(|history| history.rows[0].failed = 1), 0);
        let span = Span { from_ms: 1, until_ms: 2 };
        let death = Death { span, claimed: vec!["job of a".into()] };
        assert_eq!(count(|history| history.troubles.restarts.push(death.clone())), 1);
        assert_eq!(count(|history| history.troubles.restarts = vec![death.clone(), death]), 0);
    }
}
