//! When something is due, in words: what an operator reads to see that an expression says what was meant.

use cron::TimeUnitSpec;

use crate::calendar::Calendar;

/// Times of a day that are still listed one by one.
const TIMES_MAX: usize = 6;

/// Fewer neighbours than this are not worth a range.
const RANGE_MIN: usize = 3;

const WEEKDAYS: [&str; 7] =
    ["Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// `every 30 seconds`.
pub(crate) fn every(every_ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let fits = units.into_iter().find(|(unit_ms, _)| every_ms % unit_ms == 0);
    let (unit_ms, unit) = fits.unwrap_or((1, "millisecond"));
    match every_ms / unit_ms {
        1 => format!("every {unit}"),
        count => format!("every {count} {unit}s"),
    }
}

/// `every hour at minute 0, Europe/Berlin`.
pub(crate) fn calendar(calendar: &Calendar) -> String {
    let days = days(&calendar.expression);
    let time = time(&calendar.expression, days.is_empty());
    format!("{time}{days}, {}", calendar.zone.name())
}

/// The time of the day; `daily` if it is not restricted to certain days.
fn time(expression: &cron::Schedule, daily: bool) -> String {
    let [seconds, minutes, hours] =
        [all(expression.seconds()), all(expression.minutes()), all(expression.hours())];
    let every_hour = hours.len() == 24;
    // What is left unsaid is the full minute.
    let at_second = match seconds[..] {
        [0] => String::new(),
        [second] => format!(", at second {second}"),
        _ => format!(", at seconds {}", list(&seconds)),
    };
    match (&seconds[..], &minutes[..]) {
        ([_], [minute]) if every_hour => format!("every hour at minute {minute}{at_second}"),
        ([second], [minute]) if hours.len() <= TIMES_MAX => {
            let shown = |hour: &u32| match second {
                0 => format!("{hour:02}:{minute:02}"),
                second => format!("{hour:02}:{minute:02}:{second:02}"),
            };
            let times = join(hours.iter().map(shown).collect());
            if daily { format!("every day at {times}") } else { format!("at {times}") }
        }
        ([_], _) if every_hour && step(&minutes, 60).is_some() => {
            format!("{}{at_second}", steps(step(&minutes, 60), "minute"))
        }
        _ if every_hour && minutes.len() == 60 && step(&seconds, 60).is_some() => {
            steps(step(&seconds, 60), "second")
        }
        _ => {
            let minutes =
                if minutes.len() == 60 { "every minute".to_owned() } else { named(&minutes, "at minute") };
            let hours = if every_hour { "every hour".to_owned() } else { named(&hours, "hour") };
            format!("{minutes} of {hours}{at_second}")
        }
    }
}

/// The days, months and years that it is restricted to; empty if to none.
fn days(expression: &cron::Schedule) -> String {
    let mut text = String::new();
    let (of_month, of_week) = (all(expression.days_of_month()), all(expression.days_of_week()));
    if of_month.len() < 31 {
        text = format!(" on {} of the month", named(&of_month, "day"));
    }
    if of_week.len() < 7 {
        // The expression's weeks begin with Sunday as 1, people's lists with Monday.
        let mut from_monday: Vec<u32> = of_week.iter().map(|day| (day + 5) % 7).collect();
        from_monday.sort_unstable();
        let names = ranges(&from_monday, |day| WEEKDAYS[day as usize % 7].to_owned());
        text.push_str(if text.is_empty() { " on " } else { " if it is among the " });
        text.push_str(&names);
    }
    let months = all(expression.months());
    if months.len() < 12 {
        let names = ranges(&months, |month| MONTHS[(month as usize + 11) % 12].to_owned());
        text.extend([" in ", &names]);
    }
    if !expression.years().is_all() {
        text.extend([" in ", &list(&all(expression.years()))]);
    }
    text
}

fn all(unit: &impl TimeUnitSpec) -> Vec<u32> {
    unit.iter().collect()
}

/// How far apart `numbers` are and where they begin, if they go evenly through the `whole`.
fn step(numbers: &[u32], whole: u32) -> Option<(u32, u32)> {
    let (first, second) = (*numbers.first()?, *numbers.get(1)?);
    let step = second - first;
    let even = numbers.windows(2).all(|pair| pair[1] - pair[0] == step);
    // The way from the last over the full hour to the first is as long.
    (even && numbers.len() as u32 * step == whole).then_some((step, first))
}

fn steps(found: Option<(u32, u32)>, unit: &str) -> String {
    match found {
        Some((1, _)) | None => format!("every {unit}"),
        Some((step, 0)) => format!("every {step} {unit}s"),
        Some((step, first)) => format!("every {step} {unit}s from {unit} {first} on"),
    }
}

/// `hour 9`, `hours 9 to 17`.
fn named(numbers: &[u32], name: &str) -> String {
    format!("{name}{} {}", if numbers.len() == 1 { "" } else { "s" }, list(numbers))
}

fn list(numbers: &[u32]) -> String {
    ranges(numbers, |number| number.to_string())
}

/// `1, 3 and 5 to 9`.
fn ranges(numbers: &[u32], name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    for run in numbers.chunk_by(|one, next| *next == one + 1) {
        match run {
            [first, .., last] if run.len() >= RANGE_MIN => {
                parts.push(format!("{} to {}", name(*first), name(*last)));
            }
            few => parts.extend(few.iter().map(|number| name(*number))),
        }
    }
    join(parts)
}

fn join(mut parts: Vec<String>) -> String {
    match parts.pop() {
        Some(last) if !parts.is_empty() => format!("{} and {last}", parts.join(", ")),
        last => last.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use crate::timing::Timing;

    #[test]
    fn an_expression_is_read_aloud() {
        for (expression, words) in [
            ("0 0 * * * *", "every hour at minute 0, Europe/Berlin"),
            ("@hourly", "every hour at minute 0, Europe/Berlin"),
            ("0 30 3 * * *", "every day at 03:30, Europe/Berlin"),
            ("5 30 3,15 * * *", "every day at 03:30:05 and 15:30:05, Europe/Berlin"),
            ("0 0 8 * * MON-FRI", "at 08:00 on Mondays to Fridays, Europe/Berlin"),
            ("0 0 8 * * SUN,SAT", "at 08:00 on Saturdays and Sundays, Europe/Berlin"),
            ("0 0 0 1 1,7 *", "at 00:00 on day 1 of the month in January and July, Europe/Berlin"),
            ("0 0 0 13 * FRI", "at 00:00 on day 13 of the month if it is among the Fridays, Europe/Berlin"),
            ("0 0 6 1 * * 2031", "at 06:00 on day 1 of the month in 2031, Europe/Berlin"),
            ("0 */15 * * * *", "every 15 minutes, Europe/Berlin"),
            ("0 7/20 * * * *", "every 20 minutes from minute 7 on, Europe/Berlin"),
            ("30 * * * * *", "every minute, at second 30, Europe/Berlin"),
            ("* * * * * *", "every second, Europe/Berlin"),
            ("*/10 * * * * *", "every 10 seconds, Europe/Berlin"),
            ("0 */15 9-17 * * *", "at minutes 0, 15, 30 and 45 of hours 9 to 17, Europe/Berlin"),
            ("0 * 9 * * *", "every minute of hour 9, Europe/Berlin"),
            ("0,30 5 * * * *", "at minute 5 of every hour, at seconds 0 and 30, Europe/Berlin"),
        ] {
            let timing = Timing::cron(expression, "Europe/Berlin", 0).unwrap();
            assert_eq!(timing.words(), words, "{expression}");
        }
        for (span, words) in [
            ("1s", "every second"),
            ("90s", "every 90 seconds"),
            ("60m", "every hour"),
            ("7d", "every 7 days"),
        ] {
            assert_eq!(Timing::every(span).unwrap().words(), words);
        }
    }
}
