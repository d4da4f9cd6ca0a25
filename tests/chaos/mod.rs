//! The chaos suite: real daemons under load, real faults at random moments, and a history of what was answered and of
//! what took effect, which is checked when the storm is over. `tests/chaos/README.md` says how to run the long form.

mod checker;
mod fault;
mod history;
mod house;
mod ledger;
mod load;
mod order;
mod plan;
mod probe;
mod recovery;
mod report;
mod storm;
mod templates;

use plan::{Options, Scenario};
use report::Report;

/// What must hold after every storm.
#[track_caller]
fn assert_unharmed(report: &Report) {
    assert!(report.taken > 0, "nothing was taken, so nothing was tried");
    assert!(report.findings.is_empty(), "{report}\n{}", report.findings);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_a_private_redis_survives_every_cheap_fault() {
    assert_unharmed(&storm::run(&Scenario::short_single(), &Options::default()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_daemons_on_postgres_survive_deaths_and_a_stop_beyond_the_lease() {
    assert_unharmed(&storm::run(&Scenario::short_double(), &Options::default()).await);
}

/// The long form, if the environment asks for it (`make chaos`); else a network that fails for moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_asked_for_is_survived() {
    let options = Options::from_environment();
    let mut harmed = Vec::new();
    for scenario in options.scenarios() {
        let report = storm::run(&scenario, &options).await;
        if options.long {
            println!("{report}");
        }
        if !report.findings.is_empty() {
            harmed.push(format!("{report}\n{}", report.findings));
        }
    }
    assert!(harmed.is_empty(), "{}", harmed.join("\n"));
}
