//! What operators switch on when something of ours is in trouble (004: emergency procedures), and what is granted to
//! somebody whose crisis could not be written down in time.
//!
//! A *bypass* waives the validation of payments: a subscription whose payment is in trouble opens what was bought. A
//! *global bypass* opens the essential set for everybody as well, known or not. *Maintenance* keeps crisis and
//! therapeutic access: it waives payments too, because news of them may come late meanwhile. None of them waives
//! anybody's authentication, and each ends by itself.

use keepwell_workers::clock::UnixMs;

use super::severity::EmergencyLevel;

/// How long a bypass lasts that does not say so, in seconds (004: `duration` of a deployment's rollback).
pub const BYPASS_DEFAULT_S: u64 = 3_600;

/// How long maintenance lasts that does not say so, in seconds (004: `duration` of a global bypass).
pub const MAINTENANCE_DEFAULT_S: u64 = 7_200;

/// The longest that anything stays switched on, in seconds: a day. Whoever needs it longer says so again.
pub const SWITCHED_ON_MAX_S: u64 = 24 * 60 * 60;

/// How long what was granted without the database lasts, in milliseconds: a day, in which the database comes back and
/// the app tells of the crisis again.
pub const GRANTED_MS: i64 = 24 * 60 * 60 * 1_000;

/// What can be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SwitchName {
    /// Payments are not validated.
    Bypass,
    /// And everybody has the essential set.
    GlobalBypass,
    /// Work is being done; crisis and therapeutic access are kept.
    Maintenance,
}

impl SwitchName {
    /// Every switch.
    pub const ALL: [SwitchName; 3] = [SwitchName::Bypass, SwitchName::GlobalBypass, SwitchName::Maintenance];

    /// Its name in SQL, in logs and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            SwitchName::Bypass => "bypass",
            SwitchName::GlobalBypass => "global_bypass",
            SwitchName::Maintenance => "maintenance",
        }
    }

    /// How long it lasts if nobody says so, in seconds.
    pub const fn default_s(self) -> u64 {
        match self {
            SwitchName::Bypass | SwitchName::GlobalBypass => BYPASS_DEFAULT_S,
            SwitchName::Maintenance => MAINTENANCE_DEFAULT_S,
        }
    }
}

/// What becomes of one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Switching {
    /// On, for a reason and so many seconds.
    On(String, u64),
    /// Off.
    Off,
}

/// How one of them stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// How often it was switched, not counting that it went off by itself last.
    pub changes: i64,
    /// It was switched on and not off.
    pub is_on: bool,
    /// Why, as the operator said.
    pub reason: String,
    /// Since when.
    pub since_ms: UnixMs,
    /// Until when it is on; not included.
    pub until_ms: UnixMs,
    /// When it was switched last.
    pub switched_ms: UnixMs,
}

impl Switch {
    /// Whether it is on at `now_ms`.
    pub const fn is_on_at(&self, now_ms: UnixMs) -> bool {
        self.is_on && now_ms < self.until_ms
    }

    /// Whether it was switched on last by this, at `at_ms`.
    pub fn is_what(&self, switching: &Switching, at_ms: UnixMs) -> bool {
        let Switching::On(reason, seconds) = switching else { return false };
        self.reason == *reason && self.until_ms == ends_ms(*seconds, at_ms)
    }

    /// How often it was switched until `now_ms`, also by itself; only ever grows.
    pub const fn changes_at(&self, now_ms: UnixMs) -> i64 {
        self.changes.saturating_add((self.is_on && !self.is_on_at(now_ms)) as i64)
    }
}

/// How all of them stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    /// Those that were ever switched, each at most once.
    pub known: Vec<(SwitchName, Switch)>,
}

impl Switches {
    /// How `name` stands, if it was ever switched.
    pub fn get(&self, name: SwitchName) -> Option<&Switch> {
        self.known.iter().find(|(known, _)| *known == name).map(|(_, switch)| switch)
    }

    /// The switch `name` if it is on at `now_ms`.
    pub fn on(&self, name: SwitchName, now_ms: UnixMs) -> Option<&Switch> {
        self.get(name).filter(|switch| switch.is_on_at(now_ms))
    }

    /// What waives the validation of payments at `now_ms`: of several, what lasts longest.
    pub fn waives_payment(&self, now_ms: UnixMs) -> Option<&Switch> {
        let on = SwitchName::ALL.into_iter().filter_map(|name| self.on(name, now_ms));
        on.max_by_key(|switch| switch.until_ms)
    }

    /// What opens the essential set for everybody at `now_ms`.
    pub fn opens_for_everybody(&self, now_ms: UnixMs) -> Option<&Switch> {
        self.on(SwitchName::GlobalBypass, now_ms)
    }

    /// How often anything was switched until `now_ms`; only ever grows.
    pub fn changes(&self, now_ms: UnixMs) -> i64 {
        self.known.iter().map(|(_, switch)| switch.changes_at(now_ms)).sum()
    }

    /// Whether what was switched at `at_ms`, and is told of only now, was switched again since then: then it changes
    /// nothing any more.
    pub fn is_outdated(&self, name: SwitchName, at_ms: UnixMs) -> bool {
        self.get(name).is_some_and(|switch| switch.switched_ms > at_ms)
    }

    /// What becomes of `name` when it is switched at `now_ms`; `None` if it is off and is to be.
    pub fn switched(&self, name: SwitchName, switching: &Switching, now_ms: UnixMs) -> Option<Switch> {
        match switching {
            Switching::On(reason, seconds) => Some(self.switched_on(name, reason.clone(), *seconds, now_ms)),
            Switching::Off => self.switched_off(name, now_ms),
        }
    }

    /// `name` after an operator has said at `now_ms` that it is to be off, and it was: what somebody else said earlier
    /// and is told of later changes nothing any more.
    pub fn said_off(&self, name: SwitchName, now_ms: UnixMs) -> Switch {
        let never = || Switch {
            changes: 1,
            is_on: false,
            reason: String::new(),
            since_ms: now_ms,
            until_ms: now_ms,
            switched_ms: now_ms,
        };
        let before = self.get(name).cloned().unwrap_or_else(never);
        Switch { switched_ms: before.switched_ms.max(now_ms), ..before }
    }

    /// `name` stands like this from now on.
    pub fn set(&mut self, name: SwitchName, switch: Switch) {
        self.known.retain(|(known, _)| *known != name);
        self.known.push((name, switch));
        self.known.sort_by_key(|(name, _)| name.name());
    }

    /// `name` switched on at `now_ms`, for `seconds`, at most [`SWITCHED_ON_MAX_S`]. Switched on again, it counts from
    /// the first time and lasts as long as it was said last.
    pub fn switched_on(&self, name: SwitchName, reason: String, seconds: u64, now_ms: UnixMs) -> Switch {
        let before = self.get(name);
        let on = before.filter(|switch| switch.is_on_at(now_ms));
        Switch {
            changes: before.map_or(0, |switch| switch.changes_at(now_ms)).saturating_add(1),
            is_on: true,
            reason,
            since_ms: on.map_or(now_ms, |switch| switch.since_ms.min(now_ms)),
            until_ms: ends_ms(seconds, now_ms),
            // An operator who speaks now is heard, however far ahead the clock of the last one was.
            switched_ms: before.map_or(now_ms, |switch| switch.switched_ms.max(now_ms)),
        }
    }

    /// `name` switched off at `now_ms`; `None` if it is not on.
    pub fn switched_off(&self, name: SwitchName, now_ms: UnixMs) -> Option<Switch> {
        let on = self.on(name, now_ms)?.clone();
        let switched_ms = on.switched_ms.max(now_ms);
        Some(Switch { changes: on.changes.saturating_add(1), is_on: false, switched_ms, ..on })
    }
}

/// When something ends that is switched on at `now_ms` for `seconds`.
fn ends_ms(seconds: u64, now_ms: UnixMs) -> UnixMs {
    now_ms.saturating_add(seconds.min(SWITCHED_ON_MAX_S).cast_signed() * 1_000)
}

/// Granted to one person by one process, from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// What it opens.
    pub level: EmergencyLevel,
    /// Since when.
    pub since_ms: UnixMs,
    /// Until when; not included.
    pub until_ms: UnixMs,
}

/// What opens more than a person's own facts do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Emergency {
    /// What operators have switched on.
    pub switches: Switches,
    /// What this person was granted from memory.
    pub granted: Option<Granted>,
}

impl Emergency {
    /// Until when the person has what was granted from memory, if they have at `now_ms`.
    pub fn granted_until_ms(&self, now_ms: UnixMs) -> Option<UnixMs> {
        self.granted.map(|granted| granted.until_ms).filter(|until_ms| *until_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(known: &[(SwitchName, Switch)]) -> Switches {
        Switches { known: known.to_vec() }
    }

    #[test]
    fn a_switch_goes_off_by_itself_and_never_lasts_longer_than_a_day() {
        let name = SwitchName::Bypass;
        let switch = Switches::default().switched_on(name, "rollback".into(), 3_600, 1_000);
        assert_eq!((switch.since_ms, switch.until_ms), (1_000, 3_601_000));
        let switches = with(&[(name, switch)]);
        assert!(switches.on(name, 3_600_999).is_some() && switches.on(name, 3_601_000).is_none());
        let longest = Switches::default().switched_on(name, String::new(), u64::MAX, 0);
        assert_eq!(longest.until_ms, 24 * 60 * 60 * 1_000);
        let edge = Switches::default().switched_on(name, String::new(), 1, UnixMs::MAX);
        assert_eq!(edge.until_ms, UnixMs::MAX);
    }

    #[test]
    fn every_switching_counts_and_so_does_going_off() {
        let name = SwitchName::GlobalBypass;
        let on = Switches::default().switched_on(name, "a".into(), 10, 0);
        let switches = with(&[(name, on.clone())]);
        assert_eq!((switches.changes(9_999), switches.changes(10_000)), (1, 2));
        let again = switches.switched_on(name, "b".into(), 10, 20_000);
        assert_eq!((again.changes, again.since_ms), (3, 20_000));
        let longer = switches.switched_on(name, "c".into(), 10, 5_000);
        assert_eq!((longer.changes, longer.since_ms, longer.until_ms), (2, 0, 15_000));
        let off = switches.switched_off(name, 5_000).unwrap();
        assert_eq!((off.changes, off.is_on, off.changes_at(99_999)), (2, false, 2));
        assert_eq!(switches.switched_off(name, 10_000), None, "it is off");
        assert_eq!(with(&[(name, off)]).switched_off(name, 6_000), None);
        assert_eq!(Switches::default().switched_off(name, 0), None);
    }

    #[test]
    fn an_off_that_finds_it_off_outdates_an_on_that_was_said_before() {
        let name = SwitchName::Bypass;
        let on = with(&[(name, Switches::default().switched_on(name, "a".into(), 1, 1_000))]);
        for (before, until_ms) in [(Switches::default(), 5_000), (on, 2_000)] {
            assert_eq!(before.switched_off(name, 5_000), None);
            let after = with(&[(name, before.said_off(name, 5_000))]);
            assert!(after.is_outdated(name, 4_999) && !after.is_outdated(name, 5_000));
            assert_eq!(after.on(name, 5_000), None);
            assert!(after.changes(5_000) >= before.changes(5_000));
            assert_eq!(after.get(name).map(|switch| switch.until_ms), Some(until_ms));
        }
    }

    #[test]
    fn what_is_told_of_after_a_later_switching_is_outdated() {
        let name = SwitchName::Bypass;
        let on = |before: &Switches, at_ms| with(&[(name, before.switched_on(name, "a".into(), 10, at_ms))]);
        let off = |before: &Switches, at_ms| with(&[(name, before.switched_off(name, at_ms).unwrap())]);
        let first = on(&Switches::default(), 1_000);
        // The clock of whoever switches next may be behind: what was switched last is never earlier.
        for (switches, switched_ms) in [
            (first.clone(), 1_000),
            (on(&first, 2_000), 2_000),
            (on(&first, 500), 1_000),
            (off(&first, 2_000), 2_000),
            (off(&first, 500), 1_000),
        ] {
            let outdated = |at_ms| switches.is_outdated(name, at_ms);
            assert!(outdated(switched_ms - 1) && !outdated(switched_ms) && !outdated(switched_ms + 1));
            assert!(!switches.is_outdated(SwitchName::Maintenance, 0), "never switched");
        }
    }

    #[test]
    fn each_of_them_waives_payments_and_only_the_global_one_opens_for_everybody() {
        for name in SwitchName::ALL {
            let switch = Switches::default().switched_on(name, String::new(), name.default_s(), 0);
            let switches = with(&[(name, switch.clone())]);
            assert_eq!(switches.waives_payment(0), Some(&switch));
            assert_eq!(switches.opens_for_everybody(0).is_some(), name == SwitchName::GlobalBypass);
            assert_eq!(switches.waives_payment(7_200_000), None);
        }
        let [short, long] = [SwitchName::Bypass, SwitchName::Maintenance]
            .map(|name| (name, Switches::default().switched_on(name, String::new(), name.default_s(), 0)));
        assert_eq!(with(&[long.clone(), short]).waives_payment(0), Some(&long.1));
    }

    #[test]
    fn every_switch_keeps_its_name_and_lasts_as_long_as_the_guide_says() {
        let of = SwitchName::ALL.map(|name| (name.name(), name.default_s()));
        assert_eq!(of, [("bypass", 3_600), ("global_bypass", 3_600), ("maintenance", 7_200)]);
    }

    #[test]
    fn a_switch_is_known_by_its_last_switching_and_each_is_there_once() {
        let mut switches = Switches::default();
        let on = |reason: &str| Switching::On(reason.to_owned(), 10);
        for name in [SwitchName::Maintenance, SwitchName::Bypass] {
            let switch = switches.switched(name, &on("a"), 0).unwrap();
            switches.set(name, switch);
        }
        let names = |switches: &Switches| switches.known.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        assert_eq!(names(&switches), [SwitchName::Bypass, SwitchName::Maintenance]);
        let known = switches.get(SwitchName::Bypass).unwrap();
        assert!(known.is_what(&on("a"), 0));
        assert!(!known.is_what(&on("b"), 0) && !known.is_what(&on("a"), 1));
        assert!(!known.is_what(&Switching::Off, 0));
        let off = switches.switched(SwitchName::Bypass, &Switching::Off, 1).unwrap();
        switches.set(SwitchName::Bypass, off);
        assert_eq!(names(&switches), [SwitchName::Bypass, SwitchName::Maintenance]);
        assert_eq!(switches.on(SwitchName::Bypass, 1), None);
        assert_eq!(switches.switched(SwitchName::Bypass, &Switching::Off, 1), None);
    }

    #[test]
    fn what_is_granted_from_memory_lasts_for_a_day_at_most_and_not_a_moment_longer() {
        assert_eq!(GRANTED_MS, 86_400_000);
        let granted = Granted { level: EmergencyLevel::CrisisOnly, since_ms: 0, until_ms: 9 };
        let emergency = Emergency { granted: Some(granted), ..Emergency::default() };
        assert_eq!((emergency.granted_until_ms(8), emergency.granted_until_ms(9)), (Some(9), None));
        assert_eq!((emergency.granted_until_ms(10), Emergency::default().granted_until_ms(0)), (None, None));
    }
}
