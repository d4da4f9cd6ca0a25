//! Proofs that expressions keep to the calendar over changes of daylight saving time: beside tables of the days on
//! which clocks are set, a definition that goes through every second and is too slow to be used.

use std::{collections::BTreeSet, str::FromStr as _};

use chrono::{DateTime, TimeZone as _, Utc};
use chrono_tz::Tz;
use cron::Schedule;
use proptest::prelude::*;

use crate::timing::Timing;

const HOUR_MS: i64 = 3_600_000;

fn ms(instant: &str) -> i64 {
    DateTime::parse_from_rfc3339(instant).unwrap().timestamp_millis()
}

fn utc(ms: i64) -> String {
    DateTime::<Utc>::from_timestamp_millis(ms).unwrap().format("%d %H:%M:%S").to_string()
}

fn ticks(expression: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
    let timing = Timing::cron(expression, zone, ms(after)).unwrap();
    timing.between(ms(after), ms(until)).map(utc).collect()
}

#[test]
fn what_is_due_at_some_hours_is_due_once_when_clocks_are_set() {
    for (zone, expression, after, until, expected) in [
        // Berlin goes from 02:00 to 03:00 at 01:00 UTC, and half a year later from 03:00 back to 02:00 at 01:00 UTC.
        (
            "Europe/Berlin",
            "0 30 2 * * *",
            "2027-03-26T12:00:00Z",
            "2027-03-30T12:00:00Z",
            &["27 01:30:00", "28 01:00:00", "29 00:30:00", "30 00:30:00"][..],
        ),
        (
            "Europe/Berlin",
            "0 30 2 * * *",
            "2027-10-29T12:00:00Z",
            "2027-11-01T12:00:00Z",
            &["30 00:30:00", "31 00:30:00", "01 01:30:00"],
        ),
        // What lies in the missing hour and what lies at its end is one.
        (
            "Europe/Berlin",
            "0 0,30 2,3 * * *",
            "2027-03-28T00:00:00Z",
            "2027-03-28T12:00:00Z",
            &["28 01:00:00", "28 01:30:00"],
        ),
        // New York, an hour at 07:00 and at 06:00 UTC.
        (
            "America/New_York",
            "0 30 2 * * *",
            "2027-03-13T12:00:00Z",
            "2027-03-15T12:00:00Z",
            &["14 07:00:00", "15 06:30:00"],
        ),
        (
            "America/New_York",
            "0 30 1 * * *",
            "2027-11-06T12:00:00Z",
            "2027-11-08T12:00:00Z",
            &["07 05:30:00", "08 06:30:00"],
        ),
        // Lord Howe, half an hour.
        (
            "Australia/Lord_Howe",
            "0 15 2 * * *",
            "2027-10-01T18:00:00Z",
            "2027-10-03T18:00:00Z",
            &["02 15:30:00", "03 15:15:00"],
        ),
        (
            "Australia/Lord_Howe",
            "0 45 1 * * *",
            "2027-04-02T18:00:00Z",
            "2027-04-04T18:00:00Z",
            &["03 14:45:00", "04 15:15:00"],
        ),
        // Samoa had no 30 December 2011.
        ("Pacific/Apia", "0 0 12 30 12 *", "2011-12-01T00:00:00Z", "2012-01-15T00:00:00Z", &["30 10:00:00"]),
    ] {
        assert_eq!(ticks(expression, zone, after, until), expected, "{expression} {zone} {after}");
    }
}

#[test]
fn what_is_due_every_hour_goes_by_time_as_it_passes() {
    let hourly =
        |hours: std::ops::RangeInclusive<u32>| hours.map(|hour| format!("{hour:02}")).collect::<Vec<_>>();
    for (zone, after, until) in [
        ("Europe/Berlin", "2027-03-27T21:30:00Z", "2027-03-28T05:30:00Z"),
        ("Europe/Berlin", "2027-10-30T21:30:00Z", "2027-10-31T05:30:00Z"),
        ("America/New_York", "2027-11-07T01:30:00Z", "2027-11-07T09:30:00Z"),
    ] {
        let found: Vec<String> =
            ticks("0 0 * * * *", zone, after, until).iter().map(|tick| tick[3..5].to_owned()).collect();
        let first: u32 = after[11..13].parse().unwrap();
        let expected: Vec<String> = hourly(first + 1..=first + 8);
        let expected: Vec<String> =
            expected.iter().map(|hour| format!("{:02}", hour.parse::<u32>().unwrap() % 24)).collect();
        assert_eq!(found, expected, "{zone} {after}");
    }
    // On a day that has its last hour twice, the second one is still that day's.
    let found = ticks("0 30 * 6 11 *", "America/Havana", "2027-11-06T03:00:00Z", "2027-11-08T12:00:00Z");
    assert_eq!(found.len(), 24);
    let found = ticks("0 30 * 7 11 *", "America/Havana", "2027-11-06T03:00:00Z", "2027-11-09T12:00:00Z");
    assert_eq!(found.len(), 25, "the day on which clocks are set back has 25 hours: {found:?}");
}

#[test]
fn even_distances_are_counted_alike_by_everybody() {
    let timing = Timing::every("90s").unwrap();
    assert_eq!(timing.between(0, 270_000).collect::<Vec<_>>(), [90_000, 180_000, 270_000]);
    assert_eq!(timing.between(-91_000, 0).collect::<Vec<_>>(), [-90_000, 0]);
    assert_eq!((timing.next_after(i64::MAX), timing.count_between(0, i64::MAX, 7)), (None, 7));
}

#[test]
fn an_instant_beyond_all_calendars_has_no_ticks() {
    let timing = Timing::cron("0 0 3 * * *", "Europe/Berlin", 0).unwrap();
    for far in [i64::MIN, i64::MAX, ms("2101-01-01T00:00:00Z"), 8_210_266_876_799_000] {
        assert_eq!(timing.next_after(far).filter(|tick| *tick <= far), None, "{far}");
        let _ = Timing::cron("0 0 * * * *", "Europe/Berlin", 0).unwrap().next_after(far);
    }
}

/// Days on which clocks are set: forward and back, in zones that do it by an hour, by half an hour, and at midnight.
const CHANGES: [(&str, &str); 6] = [
    ("Europe/Berlin", "2027-03-28T01:00:00Z"),
    ("Europe/Berlin", "2027-10-31T01:00:00Z"),
    ("America/New_York", "2027-03-14T07:00:00Z"),
    ("America/New_York", "2027-11-07T06:00:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
    ("Australia/Lord_Howe", "2027-10-02T15:30:00Z"),
];

/// The ticks behind `after` and until `until`, second by second.
fn by_definition(expression: &Schedule, every_hour: bool, zone: Tz, after: i64, until: i64) -> BTreeSet<i64> {
    let wall_at = |second: i64| zone.timestamp_opt(second, 0).unwrap().naive_local();
    let mut found = BTreeSet::new();
    if every_hour {
        found.extend((after + 1..=until).filter(|second| expression.includes(wall_at(*second).and_utc())));
        return found;
    }
    // Named times from well before on: each begins at the first second at which the wall shows it or more.
    let mut reached = wall_at(after - 4 * 3_600);
    for second in after - 4 * 3_600 + 1..=until {
        let shown = wall_at(second);
        while reached < shown {
            reached += chrono::TimeDelta::seconds(1);
            if second > after && expression.includes(reached.and_utc()) {
                found.insert(second);
            }
        }
    }
    found
}

fn field(max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("*".to_owned()),
        3 => (0..=max).prop_map(|one| one.to_string()),
        1 => (0..=max, 0..=max).prop_map(|(one, other)| format!("{},{}", one.min(other), one.max(other))),
        1 => (2..=max / 2).prop_map(|step| format!("*/{step}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ticks_are_those_of_the_definition(
        change in 0..CHANGES.len(),
        (second, minute, hour) in (prop_oneof![4 => Just("0".to_owned()), 1 => field(59)], field(59), field(5)),
        from_minutes in -150_i64..60,
        minutes in 1_i64..180,
    ) {
        let (zone, at) = CHANGES[change];
        let text = format!("{second} {minute} {hour} * * *");
        let (expression, every_hour) = (Schedule::from_str(&text).unwrap(), hour == "*");
        let after = ms(at) / 1_000 + from_minutes * 60 + 7;
        let until = after + minutes * 60;
        let timing = Timing::cron(&text, zone, 0).unwrap();
        let found: Vec<i64> = timing.between(after * 1_000, until * 1_000).map(|tick| tick / 1_000).collect();
        let expected: Vec<i64> =
            by_definition(&expression, every_hour, zone.parse().unwrap(), after, until).into_iter().collect();
        prop_assert_eq!(&found, &expected, "{} {}", text, zone);
        let last = timing.last_between(after * 1_000, until * 1_000).map(|tick| tick / 1_000);
        prop_assert_eq!(last, expected.last().copied());
    }

    #[test]
    fn ticks_do_not_depend_on_when_somebody_looks(
        change in 0..CHANGES.len(),
        (minute, hour) in (field(59), field(23)),
        looks in proptest::collection::vec(1_i64..9 * HOUR_MS, 1..12),
    ) {
        let (zone, at) = CHANGES[change];
        let timing = Timing::cron(&format!("0 {minute} {hour} * * *"), zone, 0).unwrap();
        let begin = ms(at) - 30 * HOUR_MS;
        let (mut pieces, mut now) = (Vec::new(), begin);
        for step in looks {
            pieces.extend(timing.between(now, now + step));
            now += step;
        }
        let whole: Vec<i64> = timing.between(begin, now).collect();
        prop_assert!(whole.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert_eq!(pieces, whole);
    }
}
