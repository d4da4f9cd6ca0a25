//! The judge: what a history shows that must not be.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use super::history::{Answered, Effect, Event, History, Ms, Span};

/// What was found. Empty is good.
#[derive(Debug, Default)]
pub struct Findings {
    /// Answered 2xx, and not in the ledger, not done, or without its effect.
    pub lost: Vec<String>,
    /// Recorded, done or written more than once.
    pub twice: Vec<String>,
    /// In the ledger or in effect, and never sent.
    pub foreign: Vec<String>,
    /// Never taken, although the faults were over, or refused.
    pub refused: Vec<String>,
    /// An answer without the floor, or none from a daemon that was there.
    pub floor: Vec<String>,
    /// An access document older than one that had been answered before.
    pub fallen: Vec<String>,
    /// What no daemon should say.
    pub cries: Vec<String>,
}

impl Findings {
    /// Whether everything is as it must be.
    pub fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, found)| found.is_empty())
    }

    fn all(&self) -> [(&'static str, &Vec<String>); 7] {
        [
            ("lost", &self.lost),
            ("twice", &self.twice),
            ("foreign", &self.foreign),
            ("refused", &self.refused),
            ("floor", &self.floor),
            ("fallen", &self.fallen),
            ("cries", &self.cries),
        ]
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_MAX: usize = 12;
        for (name, found) in self.all().into_iter().filter(|(_, found)| !found.is_empty()) {
            writeln!(f, "{name}: {}", found.len())?;
            for line in found.iter().take(SHOWN_MAX) {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// Judges `history`.
pub fn check(history: &History) -> Findings {
    let mut findings = Findings { cries: history.cries.clone(), ..Findings::default() };
    check_ledger(history, &mut findings);
    check_effects(history, &mut findings);
    check_floor(history, &mut findings);
    check_versions(history, &mut findings);
    findings
}

/// Every event that was taken is done, once; nothing else is there.
fn check_ledger(history: &History, findings: &mut Findings) {
    let mut rows: HashMap<&str, Vec<&super::history::Row>> = HashMap::new();
    for row in &history.rows {
        rows.entry(&row.key).or_default().push(row);
    }
    let mut finishes: HashMap<&str, usize> = HashMap::new();
    for id in &history.finishes {
        *finishes.entry(id).or_default() += 1;
    }
    let sent: HashSet<&str> = history.events.iter().map(|event| event.key.as_str()).collect();
    for event in &history.events {
        let found = rows.get(event.key.as_str()).map_or(&[][..], Vec::as_slice);
        match (&event.refused, event.taken_ms) {
            (Some(answer), _) => findings.refused.push(format!("{}: {answer}", event.key)),
            (None, None) => findings.refused.push(format!("{}: was never taken", event.key)),
            (None, Some(_)) if found.is_empty() => {
                findings.lost.push(format!("{}: taken, and not in the ledger: {event:?}", event.key));
            }
            _ => {}
        }
        if found.len() > 1 || event.recorded > 1 {
            findings.twice.push(format!("{}: recorded more than once: {event:?} {found:?}", event.key));
        }
        for row in found {
            let times = finishes.get(row.id.as_str()).copied().unwrap_or(0);
            if row.state != "done" || times == 0 {
                findings.lost.push(format!("{}: not done, finished {times} times: {row:?}", event.key));
            }
            if times > 1 || row.attempts - row.failed > 1 {
                findings.twice.push(format!("{}: finished {times} times: {row:?}", event.key));
            }
        }
    }
    // A crisis that was answered late while the daemon was stopped leaves a job that says so.
    let own = |key: &str| sent.contains(key) || key.starts_with("late:");
    let foreign = history.rows.iter().filter(|row| !own(&row.key));
    findings.foreign.extend(foreign.map(|row| format!("{}: never sent: {row:?}", row.key)));
}

/// Every event that was taken has left what it leaves, and nobody's facts were written from the same version twice.
fn check_effects(history: &History, findings: &mut Findings) {
    let mut newest: BTreeMap<&str, (i64, &Event)> = BTreeMap::new();
    let mut possible = BTreeSet::new();
    for event in &history.events {
        match &event.effect {
            Effect::Nothing => {}
            Effect::Row(row) => {
                possible.insert(row);
                if event.taken_ms.is_some() && !history.effects.contains(row) {
                    findings.lost.push(format!("{}: its effect is missing: {row}", event.key));
                }
            }
            Effect::Newest { about, rank, row } => {
                possible.insert(row);
                let known = newest.entry(about).or_insert((*rank, event));
                if *rank > known.0 {
                    *known = (*rank, event);
                }
            }
        }
    }
    for (about, (_, event)) in newest {
        let Effect::Newest { row, .. } = &event.effect else { continue };
        if event.taken_ms.is_some() && !history.effects.contains(row) {
            findings.lost.push(format!("{about}: does not say what was said last: {row}"));
        }
    }
    let foreign = history.effects.iter().filter(|row| !possible.contains(row));
    findings.foreign.extend(foreign.map(|row| format!("{row}: an effect of nothing that was sent")));

    let mut versions: HashMap<&str, i64> = HashMap::new();
    for (customer, version) in &history.changes {
        let before = versions.insert(customer, *version).unwrap_or(0);
        if *version != before + 1 {
            let finding = format!("{customer}: version {version} was written after {before}");
            if *version > before { findings.lost.push(finding) } else { findings.twice.push(finding) }
        }
    }
}

/// No answer without the floor, and none missing from a daemon that was there.
fn check_floor(history: &History, findings: &mut Findings) {
    for probe in &history.probes {
        let span = Span { from_ms: probe.asked_ms, until_ms: probe.answered_ms };
        let down = &history.troubles.down;
        match &probe.answered {
            Answered::Wrong(_) => findings.floor.push(format!("{probe:?}")),
            Answered::Nothing
                if !down.iter().any(|(daemon, away)| *daemon == probe.daemon && away.touches(&span)) =>
            {
                findings.floor.push(format!("a daemon that was there did not answer: {probe:?}"));
            }
            _ => {}
        }
    }
}

/// What was asked after an answer is at least as new as that answer.
fn check_versions(history: &History, findings: &mut Findings) {
    let mut answers: HashMap<&str, Vec<(Ms, Ms, i64)>> = HashMap::new();
    for probe in &history.probes {
        if let (Some(customer), Answered::Person { version }) = (&probe.customer, &probe.answered) {
            answers.entry(customer).or_default().push((probe.asked_ms, probe.answered_ms, *version));
        }
    }
    for (customer, mut answers) in answers {
        answers.sort_unstable();
        for (number, (asked_ms, answered_ms, version)) in answers.iter().enumerate() {
            let before = answers[..number].iter().filter(|(_, before_ms, _)| before_ms < asked_ms);
            for (_, before_ms, newer) in before.filter(|(_, _, before)| before > version) {
                let between = Span { from_ms: *before_ms, until_ms: *answered_ms };
                if !history.troubles.forgotten.iter().any(|forgotten| forgotten.touches(&between)) {
                    findings
                        .fallen
                        .push(format!("{customer}: {newer} at {before_ms}, {version} at {asked_ms}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::history::{Probe, Row},
        *,
    };

    /// Two events about one person, both done, and the app asked twice.
    fn unharmed() -> History {
        let event = |key: &str, effect| Event {
            key: key.into(),
            effect,
            sent_ms: 1,
            taken_ms: Some(2),
            came_again: false,
            recorded: 1,
            refused: None,
        };
        let newest = |rank: i64| Effect::Newest { about: "sub_1".into(), rank, row: format!("sub_1@{rank}") };
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
        let probe = |asked_ms, answered| Probe {
            daemon: 0,
            customer: Some("cus_1".into()),
            asked_ms,
            answered_ms: asked_ms + 1,
            answered,
        };
        History {
            events: vec![
                event("a", Effect::Row("in_1".into())),
                event("b", newest(2)),
                event("c", newest(1)),
            ],
            rows: ["a", "b", "c"].map(row).to_vec(),
            finishes: ["a", "b", "c"].map(|key| row(key).id).to_vec(),
            changes: vec![("cus_1".into(), 1), ("cus_1".into(), 2)],
            effects: ["in_1".to_owned(), "sub_1@2".to_owned()].into(),
            probes: vec![
                probe(10, Answered::Person { version: 1 }),
                probe(20, Answered::Person { version: 2 }),
            ],
            ..History::default()
        }
    }

    /// The counts of what is found once `harm` was done, in the order of the fields.
    fn found(harm: impl FnOnce(&mut History)) -> [usize; 7] {
        let mut history = unharmed();
        harm(&mut history);
        check(&history).all().map(|(_, found)| found.len())
    }

    #[test]
    fn nothing_is_found_where_nothing_is_wrong() {
        assert_eq!(found(|_| {}), [0; 7]);
        assert_eq!(found(|history| history.probes[0].answered = Answered::Floor), [0; 7]);
    }

    #[test]
    fn an_event_that_was_taken_and_is_not_in_the_ledger_is_lost() {
        assert_eq!(found(|history| drop(history.rows.remove(0))), [1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_job_that_is_not_done_or_whose_effect_is_missing_is_lost() {
        assert_eq!(found(|history| history.rows[0].state = "dead".into()), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| drop(history.finishes.remove(0))), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| _ = history.effects.remove("in_1")), [1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| _ = history.effects.remove("sub_1@2")), [1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_older_state_in_place_of_the_newest_is_a_loss() {
        let older = |history: &mut History| {
            history.effects.remove("sub_1@2");
            history.effects.insert("sub_1@1".into());
        };
        assert_eq!(found(older), [1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_recorded_done_or_written_twice_is_found() {
        assert_eq!(found(|history| history.rows.push(history.rows[0].clone())), [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| history.events[0].recorded = 2), [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| history.finishes.push("job of a".into())), [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| history.rows[0].attempts = 2), [0, 1, 0, 0, 0, 0, 0]);
        assert_eq!(found(|history| history.changes.push(("cus_1".into(), 2))), [0, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_run_that_failed_and_was_noted_is_not_a_second_effect() {
        let retried = |history: &mut History| (history.rows[0].attempts, history.rows[0].failed) = (2, 1);
        assert_eq!(found(retried), [0; 7]);
    }

    #[test]
    fn a_version_that_was_never_written_is_a_loss() {
        assert_eq!(found(|history| drop(history.changes.remove(0))), [1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_was_never_sent_is_found() {
        assert_eq!(found(|history| drop(history.events.remove(2))), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(found(|history| _ = history.effects.insert("in_9".into())), [0, 0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn an_event_that_was_refused_or_never_taken_is_found() {
        assert_eq!(found(|history| history.events[0].refused = Some("400".into())), [0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(found(|history| history.events[0].taken_ms = None), [0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn an_answer_without_the_floor_is_found() {
        let wrong = |history: &mut History| history.probes[1].answered = Answered::Wrong("503".into());
        assert_eq!(found(wrong), [0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn silence_is_excused_only_while_that_daemon_is_down() {
        let silent = |daemon: usize| {
            move |history: &mut History| {
                history.probes[1].answered = Answered::Nothing;
                history.troubles.down.push((daemon, Span { from_ms: 5, until_ms: 20 }));
            }
        };
        assert_eq!(found(silent(0)), [0; 7]);
        assert_eq!(found(silent(1)), [0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_version_that_falls_is_found_unless_the_database_was_made_to_forget() {
        let fall = |history: &mut History| history.probes[1].answered = Answered::Person { version: 0 };
        assert_eq!(found(fall), [0, 0, 0, 0, 0, 1, 0]);
        let forgotten = |history: &mut History| {
            fall(history);
            history.troubles.forgotten.push(Span { from_ms: 15, until_ms: 16 });
        };
        assert_eq!(found(forgotten), [0; 7]);
    }

    #[test]
    fn questions_that_overlap_may_be_answered_in_any_order() {
        let overlapping = |history: &mut History| {
            history.probes[0].answered = Answered::Person { version: 2 };
            history.probes[0].answered_ms = 21;
            history.probes[1].answered = Answered::Person { version: 1 };
        };
        assert_eq!(found(overlapping), [0; 7]);
    }
}
