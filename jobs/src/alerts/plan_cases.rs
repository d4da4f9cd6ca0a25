//! What follows from what, as tables.

use super::{
    moves::carried_out,
    plan::{Habits, Move, OpenAlert, Plan, Silence, View, acknowledge, digest, go_on, plan},
    rule::{Rule, Severity},
    rules::{self, RULES},
    telling::{Action, Receiver, Telling},
    unseen::Unseen,
    watch::Seen,
};

const MINUTE_MS: i64 = 60_000;

fn habits(receivers: &[Receiver]) -> Habits {
    Habits {
        receivers: receivers.to_vec(),
        repeat_ms: 240 * MINUTE_MS,
        escalate_ms: 15 * MINUTE_MS,
        quiet_ms: MINUTE_MS,
        source: "blue".to_owned(),
    }
}

/// A database of alerts in memory, and everybody who was told of them.
struct House {
    habits: Habits,
    open: Vec<OpenAlert>,
    silences: Vec<Silence>,
    unseen: Unseen,
    told: Vec<Telling>,
}

impl House {
    fn new(receivers: &[Receiver]) -> Self {
        Self {
            habits: habits(receivers),
            open: vec![],
            silences: vec![],
            unseen: Unseen::new(MINUTE_MS),
            told: vec![],
        }
    }

    /// Looks at `now_ms` and sees these rules; answers with who was told what about which rules.
    fn look(&mut self, now_ms: i64, rules: &[&'static Rule]) -> Vec<String> {
        let seen =
            |rule: &&'static Rule| Seen { rule, cause: String::new(), value: Some(1.0), is_ripe: true };
        let seen: Vec<Seen> = rules.iter().map(seen).collect();
        let (open, silences) = (self.open.clone(), self.silences.clone());
        self.unseen.look(&seen, &open, now_ms);
        let unseen = self.unseen.clone();
        let plan = plan(&View { silences: &silences, ..view(&seen, &open, &unseen, now_ms) }, &self.habits);
        self.carry_out(&plan)
    }

    fn acknowledge(&mut self, rule: &Rule, now_ms: i64) -> Vec<String> {
        let alert = self.open.iter().find(|alert| alert.told.rule == rule.name).unwrap();
        let plan = acknowledge(alert, "kim", &self.habits, now_ms);
        self.carry_out(&plan)
    }

    fn carry_out(&mut self, plan: &Plan) -> Vec<String> {
        for step in &plan.moves {
            if let Move::Told { id, before, .. } = step {
                let known = self.open.iter().find(|alert| alert.told.id == *id);
                assert_eq!(known.unwrap().times_told, *before);
            }
            assert!(!matches!(step, Move::Digested { .. }), "no digest was asked for");
        }
        carried_out(&mut self.open, &plan.moves);
        let keys: Vec<_> = plan.jobs.iter().map(|job| job.dedupe_key.clone().unwrap()).collect();
        let told = plan.jobs.iter().map(|job| serde_json::from_slice(&job.payload).unwrap());
        let told: Vec<Telling> = told.collect();
        self.told.extend(told.iter().cloned());
        let mut unique = keys.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), keys.len(), "{keys:?}");
        told.iter().map(words).collect()
    }
}

/// What is known when the database has been there for long enough, and nothing is silenced.
fn view<'v>(seen: &'v [Seen], open: &'v [OpenAlert], unseen: &'v Unseen, now_ms: i64) -> View<'v> {
    View { seen, open, silences: &[], unseen, may_resolve: true, is_settled: true, now_ms }
}

fn words(telling: &Telling) -> String {
    let rules: Vec<&str> = telling.alerts.iter().map(|alert| alert.rule.as_str()).collect();
    format!("{} {} {}", telling.receiver.name(), telling.action.name(), rules.join("+"))
}

const ALL: [Receiver; 4] = Receiver::ALL;

#[test]
fn what_is_critical_is_told_at_once_and_once_and_that_it_is_over_too() {
    let mut house = House::new(&[Receiver::Pagerduty, Receiver::Slack]);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    assert_eq!(
        house.look(0, &paused),
        ["pagerduty triggered CrisisLanePaused", "slack triggered CrisisLanePaused"]
    );
    for now_ms in [1, 5_000, 59_000] {
        assert!(house.look(now_ms, &paused).is_empty(), "{now_ms}");
    }
    assert!(house.look(60_000, &[]).is_empty(), "somebody saw it a second ago");
    assert!(house.look(119_999, &[]).is_empty(), "it has not been well for a minute");
    assert_eq!(
        house.look(120_000, &[]),
        ["pagerduty resolved CrisisLanePaused", "slack resolved CrisisLanePaused"]
    );
    assert!(house.open.is_empty() && house.look(121_000, &[]).is_empty());
}

#[test]
fn what_flaps_is_open_until_it_has_been_well_without_a_break_for_as_long_as_it_takes() {
    let mut house = House::new(&[Receiver::Slack]);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    assert_eq!(house.look(0, &paused), ["slack triggered CrisisLanePaused"]);
    // A look that comes late finds it well by chance; then it is wrong every fifty seconds.
    for second in [100, 101, 150, 200, 250, 300, 350, 400, 450] {
        let wrong = if second % 100 == 50 { &paused[..] } else { &[] };
        assert!(house.look(second * 1_000, wrong).is_empty(), "{second}");
    }
    // Nobody knows what was between two looks that are further apart.
    for (second, said) in [(460, 0), (519, 0), (580, 0), (639, 0), (640, 1), (700, 0)] {
        assert_eq!(house.look(second * 1_000, &[]).len(), said, "{second}");
    }
    assert!(house.open.is_empty());
}

#[test]
fn warnings_are_told_together_and_within_their_time() {
    let mut house = House::new(&ALL);
    let (memory, schedule) = (&rules::MEMORY_HIGH, &rules::SCHEDULE_LATE);
    assert!(house.look(0, &[memory]).is_empty());
    assert!(house.look(MINUTE_MS, &[memory, schedule]).is_empty());
    let both = [memory, schedule];
    let told = house.look(16 * MINUTE_MS, &both);
    // The schedule's quarter of an hour is up; the memory's hour is not, and it is told of with it.
    assert_eq!(
        told,
        ["slack triggered MemoryHigh+ScheduleLate", "webhook triggered MemoryHigh+ScheduleLate"]
    );
    assert!(house.look(17 * MINUTE_MS, &both).is_empty());
    assert!(house.look(18 * MINUTE_MS, &[schedule]).is_empty());
    let over = house.look(19 * MINUTE_MS, &[schedule]);
    assert_eq!(over, ["slack resolved MemoryHigh", "webhook resolved MemoryHigh"]);
}

#[test]
fn a_warning_that_is_over_before_its_time_is_left_to_the_digest() {
    let mut house = House::new(&ALL);
    house.look(0, &[&rules::MEMORY_HIGH]);
    for minutes in [2, 3] {
        assert!(house.look(minutes * MINUTE_MS, &[]).is_empty());
    }
    assert!(house.open.is_empty());
}

#[test]
fn who_is_told_depends_on_how_bad_it_is() {
    use Receiver::{Escalation, Pagerduty, Slack, Webhook};
    for (receivers, severity, told) in [
        (&ALL[..], Severity::Critical, &[Pagerduty, Slack, Webhook][..]),
        (&ALL[..], Severity::Warning, &[Slack, Webhook][..]),
        (&ALL[..], Severity::Info, &[Slack, Webhook][..]),
        (&[Pagerduty, Escalation][..], Severity::Warning, &[Pagerduty][..]),
        (&[Pagerduty][..], Severity::Info, &[][..]),
    ] {
        assert_eq!(habits(receivers).told_of(severity), told, "{receivers:?} {severity:?}");
    }
}

#[test]
fn what_nobody_acknowledges_is_escalated_once_and_repeated_at_its_interval() {
    let mut house = House::new(&ALL);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    house.look(0, &paused);
    assert!(house.look(14 * MINUTE_MS, &paused).is_empty());
    assert_eq!(
        house.look(15 * MINUTE_MS, &paused),
        [
            "escalation escalated CrisisLanePaused",
            "slack escalated CrisisLanePaused",
            "webhook escalated CrisisLanePaused"
        ]
    );
    assert!(house.look(16 * MINUTE_MS, &paused).is_empty());
    assert_eq!(house.look(240 * MINUTE_MS, &paused).len(), 3, "told again");
    assert!(house.look(241 * MINUTE_MS, &paused).is_empty());
    house.look(242 * MINUTE_MS, &[]);
    let over = house.look(243 * MINUTE_MS, &[]);
    assert!(over.contains(&"escalation resolved CrisisLanePaused".to_owned()), "{over:?}");
}

#[test]
fn what_somebody_has_acknowledged_is_neither_repeated_nor_escalated() {
    let mut house = House::new(&ALL);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    house.look(0, &paused);
    assert_eq!(
        house.acknowledge(&rules::CRISIS_LANE_PAUSED, 1),
        [
            "pagerduty acknowledged CrisisLanePaused",
            "slack acknowledged CrisisLanePaused",
            "webhook acknowledged CrisisLanePaused"
        ]
    );
    for minutes in [15, 240, 1_000] {
        assert!(house.look(minutes * MINUTE_MS, &paused).is_empty(), "{minutes}");
    }
    assert!(house.look(1_001 * MINUTE_MS, &[]).is_empty());
    assert_eq!(house.look(1_002 * MINUTE_MS, &[]).len(), 3, "that it is over is told");
}

#[test]
fn what_was_only_told_is_over_when_it_is_acknowledged_or_quiet() {
    let mut house = House::new(&[Receiver::Pagerduty]);
    assert_eq!(house.look(0, &[&rules::ALERT_TEST]), ["pagerduty triggered AlertTest"]);
    assert_eq!(house.acknowledge(&rules::ALERT_TEST, 1), ["pagerduty resolved AlertTest"]);
    assert!(house.open.is_empty());
    house.look(2, &[&rules::CRISIS_REHEARSAL_FAILED]);
    for minutes in [59, 60] {
        assert!(house.look(minutes * MINUTE_MS, &[]).is_empty());
    }
    assert_eq!(house.look(61 * MINUTE_MS, &[]), ["pagerduty resolved CrisisRehearsalFailed"]);
}

#[test]
fn nobody_is_told_of_what_is_silenced_until_the_silence_ends() {
    let mut house = House::new(&[Receiver::Slack]);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    house.silences.push(Silence {
        rule: "CrisisLanePaused".to_owned(),
        until_ms: 30 * MINUTE_MS,
        reason: String::new(),
        by: "kim".to_owned(),
    });
    for minutes in [0, 10, 20, 29] {
        assert!(house.look(minutes * MINUTE_MS, &paused).is_empty(), "{minutes}");
    }
    assert_eq!(house.open.len(), 1, "it is open all the same");
    assert_eq!(house.look(30 * MINUTE_MS, &paused), ["slack triggered CrisisLanePaused"]);
}

#[test]
fn a_silence_that_has_ended_leaves_as_much_time_to_acknowledge_as_there_is_otherwise() {
    let mut house = House::new(&[Receiver::Slack]);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    let (rule, reason, by) = ("CrisisLanePaused".to_owned(), String::new(), "kim".to_owned());
    house.silences.push(Silence { rule, until_ms: 30 * MINUTE_MS, reason, by });
    house.look(0, &paused);
    assert_eq!(house.look(30 * MINUTE_MS, &paused), ["slack triggered CrisisLanePaused"]);
    for minutes in [31, 44] {
        assert!(house.look(minutes * MINUTE_MS, &paused).is_empty(), "{minutes}");
    }
    assert_eq!(house.look(45 * MINUTE_MS, &paused), ["slack escalated CrisisLanePaused"]);
}

#[test]
fn nobody_is_told_that_something_is_wrong_in_the_moment_in_which_it_is_over() {
    let mut house = House::new(&ALL);
    house.look(0, &[&rules::MEMORY_HIGH]);
    for minutes in [60, 61] {
        let told = house.look(minutes * MINUTE_MS, &[]);
        assert!(told.is_empty(), "its hour is up, and nobody would hear that it is over");
    }
    assert!(house.open.is_empty());
    house.look(61 * MINUTE_MS, &[&rules::CRISIS_LANE_PAUSED]);
    let told = house.look(301 * MINUTE_MS, &[]);
    assert!(told.is_empty(), "neither told again nor escalated: {told:?}");
    assert_eq!(house.look(302 * MINUTE_MS, &[]).len(), 3, "it is over");
}

#[test]
fn what_a_young_process_does_not_see_is_not_over_yet() {
    let mut house = House::new(&[Receiver::Slack]);
    house.look(0, &[&rules::CRISIS_LANE_PAUSED]);
    let open = house.open.clone();
    let view = View { may_resolve: false, ..view(&[], &open, &house.unseen, 100 * MINUTE_MS) };
    let resolves = plan(&view, &house.habits).moves;
    assert!(!resolves.iter().any(|step| matches!(step, Move::Resolved { .. })), "{resolves:?}");
}

#[test]
fn what_nobody_sees_any_more_is_neither_escalated_nor_told_again_before_it_is_known_whether_it_is_over() {
    let mut house = House::new(&ALL);
    let paused = [&rules::CRISIS_LANE_PAUSED];
    house.look(0, &paused);
    let open = house.open.clone();
    let seen = [Seen { rule: paused[0], cause: String::new(), value: None, is_ripe: false }];
    let first = View { may_resolve: false, ..view(&[], &open, &house.unseen, 0) };
    let planned = |seen, minutes| {
        let now_ms = minutes * MINUTE_MS;
        plan(&View { seen, now_ms, ..first }, &house.habits)
    };
    // A process that has only begun, or whose database is only just back, has not looked for long enough.
    for minutes in [1, 16, 241] {
        let Plan { moves, jobs } = planned(&[], minutes);
        assert!(moves.is_empty() && jobs.is_empty(), "{minutes}: {moves:?}");
    }
    // What the first look sees may be the outage itself.
    let first = View { seen: &seen, is_settled: false, ..first };
    for minutes in [16, 241] {
        let Plan { moves, jobs } = plan(&View { now_ms: minutes * MINUTE_MS, ..first }, &house.habits);
        let refreshes = matches!(moves[..], [Move::Seen { .. }]);
        assert!(refreshes && jobs.is_empty(), "the database is back just now: {moves:?}");
    }
    // What it sees then is wrong still.
    let escalates = |moves: &[Move]| moves.iter().any(|step| matches!(step, Move::Escalated { .. }));
    assert!(escalates(&planned(&seen, 16).moves));
    assert!(planned(&seen, 241).moves.iter().any(|step| matches!(step, Move::Told { .. })));
}

#[test]
fn without_the_database_only_what_is_seen_and_nobody_knows_of_is_escalated_and_told_again() {
    let mut house = House::new(&ALL);
    house.look(0, &[&rules::CRISIS_LANE_PAUSED]);
    let alert = house.open[0].clone();
    let paused =
        [Seen { rule: &rules::CRISIS_LANE_PAUSED, cause: String::new(), value: None, is_ripe: true }];
    let follows = |alert: &OpenAlert, seen: &[Seen], silences: &[Silence], minutes: i64| {
        let mut alert = alert.clone();
        let view = View { silences, ..view(seen, &[], &house.unseen, minutes * MINUTE_MS) };
        (go_on(&mut alert, &view, &house.habits), alert)
    };
    assert!(follows(&alert, &paused, &[], 14).0.is_empty());
    let (actions, escalated) = follows(&alert, &paused, &[], 16);
    assert_eq!((actions, escalated.escalated), (vec![Action::Escalated], true));
    assert!(follows(&escalated, &paused, &[], 17).0.is_empty());
    let (actions, told) = follows(&escalated, &paused, &[], 240);
    assert_eq!((actions, told.times_told), (vec![Action::Triggered], 2));
    assert!(follows(&told, &paused, &[], 241).0.is_empty());

    assert!(follows(&alert, &[], &[], 240).0.is_empty(), "it is well");
    let known = OpenAlert { acknowledged_ms: Some(1), ..alert.clone() };
    assert!(follows(&known, &paused, &[], 240).0.is_empty());
    let (rule, until_ms) = ("CrisisLanePaused".to_owned(), 300 * MINUTE_MS);
    let silences = [Silence { rule, until_ms, reason: String::new(), by: "kim".to_owned() }];
    assert!(follows(&alert, &paused, &silences, 240).0.is_empty());
}

#[test]
fn what_is_wrong_for_too_short_a_time_opens_nothing_and_keeps_open_what_is() {
    let mut house = House::new(&[Receiver::Slack]);
    let unripe = [Seen { rule: &rules::NO_WORKERS, cause: String::new(), value: None, is_ripe: false }];
    assert!(plan(&view(&unripe, &[], &house.unseen, 0), &house.habits).moves.is_empty());
    house.look(0, &[&rules::NO_WORKERS]);
    let moves = plan(&view(&unripe, &house.open, &house.unseen, 10 * MINUTE_MS), &house.habits).moves;
    assert!(matches!(&moves[..], [Move::Seen { .. }]), "{moves:?}");
}

#[test]
fn one_plan_never_asks_for_more_jobs_than_a_transaction_takes() {
    let house = House::new(&ALL);
    let seen: Vec<Seen> = RULES
        .iter()
        .flat_map(|rule| {
            (0..64).map(move |cause| Seen { rule, cause: cause.to_string(), value: None, is_ripe: true })
        })
        .collect();
    let plan = plan(&view(&seen, &[], &house.unseen, 0), &house.habits);
    assert!(plan.jobs.len() <= 256 && plan.moves.len() == 32, "{} {}", plan.jobs.len(), plan.moves.len());
}

#[test]
fn the_digest_goes_to_channels_once_a_day() {
    let Plan { moves, jobs } = digest(&[], "2027-03-28", &habits(&ALL), 5);
    assert!(moves.is_empty());
    let keys: Vec<_> = jobs.iter().map(|job| job.dedupe_key.as_deref().unwrap()).collect();
    assert_eq!(keys, ["alert:digest:slack:2027-03-28", "alert:digest:webhook:2027-03-28"]);
    let telling: Telling = serde_json::from_slice(&jobs[0].payload).unwrap();
    assert_eq!(telling.action, Action::Digest);
}
