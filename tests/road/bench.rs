//! `keepwell bench`: every workload ends in one line that says what it promises to say, and leaves nothing behind. How
//! fast anything is, no test can say.

use std::{fs, process::Command};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::said::Said;
use crate::support::{daemon::keepwell, eventually, process::Process};

/// A folder to measure in.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::with_prefix("keepwell-bench-").unwrap())
    }

    fn says(&self, arguments: &[&str]) -> Said {
        Said::of(&keepwell(&[], self.0.path(), &[&["bench"], arguments].concat()))
    }

    /// What runs keep while they last.
    fn kept(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("target")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Waits until no process works here any more: one that was killed takes a moment. Nothing else is left by then.
    async fn is_clean(&self) {
        let here = self.0.path().canonicalize().unwrap();
        eventually("nobody works here any more", async || {
            let works_here = |process: &fs::DirEntry| {
                fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&here))
            };
            let processes = fs::read_dir("/proc").unwrap().flatten();
            (!processes.into_iter().any(|process| works_here(&process))).then_some(())
        })
        .await;
        assert_eq!(self.kept(), [""; 0]);
    }
}

/// The line in which a workload ends. Everything that is in every line is as it should be.
async fn measured(arguments: &[&str], n: u64) -> Value {
    let place = Place::new();
    let said = place.says(arguments);
    assert_eq!((said.code, said.data.lines().count()), (0, 1), "{said:?}");
    place.is_clean().await;
    let line: Value = serde_json::from_str(&said.data).expect("JSON");
    assert_eq!(
        (&line["peer"], &line["workload"], &line["n"]),
        (&"keepwell".into(), &arguments[0].into(), &n.into())
    );
    assert!(line["runs"].as_u64().unwrap() >= 1 && line["seconds"].as_f64().unwrap() > 0.0, "{line}");
    let notes = line["notes"].as_str().unwrap();
    assert!(notes.starts_with("database=sqlite ") && notes.contains(" redis=private"), "{notes}");
    for field in ["rate", "p50_ms", "p99_ms", "max_ms", "redis_bytes_per_job"] {
        assert!(line.get(field).is_some_and(|value| value.is_null() || value.as_f64() > Some(0.0)), "{line}");
    }
    line
}

/// Whether the notes of `line` have these words.
#[track_caller]
fn notes(line: &Value, words: &[&str]) {
    let notes = line["notes"].as_str().unwrap();
    for word in words {
        assert!(format!(" {notes} ").contains(&format!(" {word} ")), "{word} in {notes}");
    }
}

/// Fails the test unless the times are there and fit to each other.
#[track_caller]
fn has_times(times: &Value) {
    let [p50, p99, max] = ["p50_ms", "p99_ms", "max_ms"].map(|name| times[name].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{times}");
}

#[tokio::test]
async fn drained_and_recorded_jobs_are_counted() {
    let line = measured(&["drain", "--jobs", "300", "--waiting", "400"], 300).await;
    assert!(line["rate"].is_f64() && line["p50_ms"].is_null(), "{line}");
    notes(&line, &["payload=1024", "slots=256", "waiting=400"]);
    measured(&["drain", "--jobs", "200", "--slots", "3"], 200).await;
    for (workload, jobs, owed) in [("enqueue", "130", "owed=230"), ("enqueue-bulk", "2100", "owed=2200")] {
        let arguments = [workload, "--jobs", jobs, "--waiting", "100"];
        let line = measured(&arguments, jobs.parse().unwrap()).await;
        assert!(line["rate"].is_f64(), "{line}");
        notes(&line, &[owed]);
    }
}

#[tokio::test]
async fn of_several_runs_the_one_in_the_middle_is_the_last_line() {
    let place = Place::new();
    let said = place.says(&["enqueue", "--jobs", "50", "--runs", "3"]);
    place.is_clean().await;
    let rates = |text: &str| -> Vec<f64> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines.map(|line| line["rate"].as_f64().unwrap()).collect()
    };
    let (last, mut all) = (rates(&said.data), rates(&said.talk));
    all.sort_by(f64::total_cmp);
    assert_eq!((all.len(), last), (3, vec![all[1]]));
    assert!(said.data.contains("\"runs\":3"), "{said:?}");
}

#[tokio::test]
async fn a_waiting_job_takes_some_bytes_of_redis() {
    let line = measured(&["memory", "--jobs", "3000"], 3_000).await;
    let bytes = line["redis_bytes_per_job"].as_f64().unwrap();
    // Its id and its turn are 24.
    assert!((24.0..1_000.0).contains(&bytes), "{line}");
}

#[tokio::test]
async fn crises_are_measured_in_a_full_house() {
    let line = measured(&["crisis", "--jobs", "300", "--crises", "20"], 20).await;
    has_times(&line);
    notes(&line, &["slots=64", "backlog=300"]);
    notes(&measured(&["crisis", "--waiting", "50", "--crises", "5"], 5).await, &["backlog=50"]);
}

#[tokio::test]
async fn grace_periods_that_end_are_all_seen_to() {
    let line = measured(&["grace", "--jobs", "300", "--due", "120", "--crises", "5"], 120).await;
    has_times(&line);
    has_times(&line["alone"]);
    notes(&line, &["graces=300", "still_open=0", "alone=5"]);
    assert!(line["rate"].is_f64(), "{line}");
}

#[tokio::test]
async fn a_killed_worker_loses_nothing_and_does_nothing_twice() {
    let line = measured(&["crash", "--jobs", "200"], 200).await;
    assert!(line["rate"].is_null() && line["max_ms"].is_f64(), "{line}");
    notes(&line, &["lost=0", "effects_twice=0"]);
    let notes = line["notes"].as_str().unwrap();
    for host in ["same_host: ", "other_host: "] {
        let (_, said) = notes.split_once(host).unwrap();
        let number = |word: &str| word.split_once('=').unwrap().1.parse::<u64>().unwrap();
        let [in_flight, again] = [0, 1].map(|place| number(said.split(' ').nth(place).unwrap()));
        // What was settled in the moment of the kill counts as interrupted too, and does not run again.
        assert!(0 < again && again <= in_flight && in_flight <= 200, "{notes}");
    }
}

#[tokio::test]
async fn events_are_counted_that_were_taken_and_those_that_were_done() {
    let line = measured(&["ingest", "--jobs", "150", "--waiting", "100"], 150).await;
    has_times(&line);
    notes(&line, &["2xx=150", "other=0", "owed=250", "run_jobs=false", "event_bytes=2048"]);
    let line = measured(&["ingest", "--jobs", "150", "--run-jobs"], 150).await;
    notes(&line, &["2xx=150", "other=0", "owed=0", "run_jobs=true"]);
}

#[tokio::test]
async fn crises_in_a_flood_are_sent_over_http_until_they_can_be_seen() {
    let line = measured(&["flood", "--jobs", "300", "--crises", "5"], 5).await;
    has_times(&line);
    notes(&line, &["waiting=300", "events_2xx=300", "events_other=0", "waiting_at_first=300"]);
    let said = line["notes"].as_str().unwrap();
    let word = |name: &str| {
        let (_, rest) = said.split_once(&format!(" {name}=")).unwrap_or_else(|| panic!("{name} in {said}"));
        rest.split(' ').next().unwrap()
    };
    let number = |name: &str| word(name).parse::<f64>().unwrap();
    // A crisis is answered before it is done, and done before anybody can see it.
    assert!(0.0 < number("answered_p50_ms") && number("answered_max_ms") <= line["max_ms"].as_f64().unwrap());
    assert!(0.0 < number("committed_p50_ms") && number("committed_p99_ms") <= number("committed_p99.9_ms"));
    // None that is late goes unrecorded.
    assert_eq!(word("over_limit"), word("recorded_as_violation"), "{line}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_and_nothing_is_left_of_what_fails() {
    let place = Place::new();
    for (arguments, word) in [
        (&["drian"][..], "enqueue-bulk"),
        (&["drain", "--jobs", "0"], "--jobs"),
        (&["drain", "--jobs", "many"], "--jobs"),
        (&["crash", "--waiting", "10"], "`--waiting` means nothing to `crash`"),
        (&["memory", "--waiting", "10"], "`--waiting` means nothing to `memory`"),
        (&["grace", "--waiting", "10"], "`--waiting` means nothing to `grace`"),
        (&["drain", "--due", "10"], "`--due` means nothing to `drain`"),
        (&["flood", "--waiting", "10"], "`--waiting` means nothing to `flood`"),
        (&["flood", "--slots", "10"], "`--slots` means nothing to `flood`"),
        (&["ingest", "--crises", "10"], "`--crises` means nothing to `ingest`"),
        (&["enqueue", "--run-jobs"], "`--run-jobs` means nothing to `enqueue`"),
        (&["ingest", "--run-jobs", "--waiting", "10"], "no handler for the jobs that wait"),
    ] {
        place.says(arguments).refused(2, &["error: ", word]);
        assert_eq!(place.kept(), [""; 0], "{arguments:?}");
    }
    for (arguments, word) in [
        (["--redis-url", "redis://127.0.0.1:1"], "redis: "),
        (["--redis-url", "nowhere"], "lanes"),
        (["--database-url", "nowhere"], "database"),
        (["--database-url", "sqlite:/nowhere/ledger.db"], "database"),
    ] {
        let said = place.says(&[&["drain", "--jobs", "10"][..], &arguments].concat());
        said.refused(1, &["error: the workload could not be run\n  because: ", word]);
        place.is_clean().await;
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_run_that_is_broken_off() {
    for (signal, workload, jobs, made) in [
        (Signal::INT, "enqueue", "10000000", "ledger.db-wal"),
        (Signal::TERM, "ingest", "2000", "state"),
        (Signal::HUP, "crash", "3000", "first-same-host"),
    ] {
        let place = Place::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_keepwell"));
        command.current_dir(place.0.path()).args(["bench", workload, "--jobs", jobs]);
        let log = place.0.path().join("log");
        let mut run = Process::start(command, &log, Signal::KILL);
        eventually("it is under way", async || {
            let kept = place.kept();
            let [folder] = &kept[..] else { return None };
            place.0.path().join("target").join(folder).join(made).exists().then_some(())
        })
        .await;
        let ended = run.stop(signal).await;
        assert_eq!(ended.code(), Some(1));
        assert!(run.log().ends_with("error: broken off; nothing was measured\n"), "{}", run.log());
        place.is_clean().await;
    }
}
