//! What is in the source files, and how much of it.

use super::{Source, assert_none, files};

/// Beyond this a file holds more than one idea.
const LINES_MAX: usize = 400;

/// Half of the files are shorter than this.
const LINES_MEDIAN_MAX: usize = 150;

/// The formatter holds code to 110 columns; this holds the comments that it leaves alone.
const COLUMNS_MAX: usize = 120;

/// Where the tests from outside live; they may look at anything.
const TESTS: [&str; 3] = ["tests", "workers/tests", "jobs/tests"];

#[test]
fn no_file_is_too_long_to_hold_in_mind() {
    let offences: Vec<String> = files("rs")
        .iter()
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{}: {lines} lines", file.path))
        .collect();
    assert_none(&format!("a file has at most {LINES_MAX} lines, one idea each"), &offences);
}

#[test]
fn most_files_fit_on_a_screen_or_two() {
    let mut lengths: Vec<usize> = files("rs").iter().map(|file| file.text.lines().count()).collect();
    lengths.sort_unstable();
    let median = lengths[lengths.len() / 2];
    assert!(median < LINES_MEDIAN_MAX, "the median file has {median} lines");
}

#[test]
fn no_line_is_wider_than_a_reader_is_patient() {
    // A text in quotes stands as it is: broken in two, it could not be searched for.
    let offends = |line: &str| line.chars().count() > COLUMNS_MAX && !line.contains('"');
    let offences = lines_with(offends, &[""], &[]);
    assert_none(&format!("a line has at most {COLUMNS_MAX} characters"), &offences);
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, or this file would be the first to offend.
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let code = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("dbg", "!("),
        concat!("#[ign", "ore"),
    ];
    let offends = |line: &str| {
        let mut found = line.split(|c: char| !c.is_ascii_alphanumeric());
        found.any(|word| words.contains(&word)) || code.iter().any(|mark| line.contains(mark))
    };
    // The model of the rules of care has a long form, which takes a quarter of an hour; its short form runs always.
    let offences = lines_with(offends, &[""], &["jobs/src/care/model.rs"]);
    assert_none("finish it, or leave it out; a test that does not run proves nothing", &offences);
}

#[test]
fn the_rules_of_care_are_pure() {
    let impure = ["sqlx", "tokio", "async fn", "SystemTime", "Instant::", "std::fs", "std::env", "std::net"];
    let offences = lines_with(|line| impure.iter().any(|word| line.contains(word)), &["jobs/src/care"], &[]);
    assert_none("care decides from what it is given: no I/O, no clock, no waiting", &offences);
}

#[test]
fn sql_is_spoken_only_in_its_own_rooms() {
    let rooms = [&["workers/src/database", "workers/src/ledger", "jobs/src/store"], &TESTS[..]].concat();
    let statements = ["sqlx::query(", "query_as(", "query_scalar(", "raw_sql(", "QueryBuilder"];
    // What stands in a comment is an example for another app.
    let speaks = |line: &str| {
        !line.trim_start().starts_with("//") && statements.iter().any(|call| line.contains(call))
    };
    let offences = lines_with(speaks, &[""], &rooms);
    assert_none("statements live in the ledger, the store and the database's own upkeep", &offences);
}

#[test]
fn redis_is_spoken_only_in_the_lanes() {
    let rooms = [&["workers/src/lanes", "workers/src/managed_redis"], &TESTS[..]].concat();
    let speaks = |line: &str| line.replace("managed_redis::", "").contains("redis::");
    let offences = lines_with(speaks, &[""], &rooms);
    assert_none("whoever needs to know what is next asks the lanes", &offences);
}

#[test]
fn jobs_reach_the_outside_only_through_outbound() {
    let reaches = ["hyper::", "hyper_util::", "tokio::net", "TcpStream", "rustls"];
    let offends = |line: &str| reaches.iter().any(|word| line.contains(word));
    let offences = lines_with(offends, &["jobs/src"], &["jobs/src/outbound"]);
    assert_none("whom we call, and how long we wait for them, is seen in one place", &offences);
    let serves = |line: &str| line.contains("hyper::server") || line.contains("hyper_util::server");
    assert_none("a room of jobs serves nobody", &lines_with(serves, &["jobs/src"], &[]));
}

#[test]
fn tests_wait_on_signals_and_never_sleep() {
    let sleep = concat!("::sleep", "(");
    let offences = lines_with(|line| line.contains(sleep), &TESTS, &["tests/support/mod.rs"]);
    assert_none("only `eventually` waits, and only until a deadline", &offences);
}

/// The lines of Rust in one of `folders`, but in none of `exempt`, that `offends` points at, each with its place.
fn lines_with(offends: impl Fn(&str) -> bool, folders: &[&str], exempt: &[&str]) -> Vec<String> {
    let lies_in = |file: &Source, places: &[&str]| places.iter().any(|place| file.is_in(place));
    let mut found = Vec::new();
    for file in files("rs").iter().filter(|file| lies_in(file, folders) && !lies_in(file, exempt)) {
        for (number, line) in file.text.lines().enumerate() {
            if offends(line) {
                found.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    found
}
