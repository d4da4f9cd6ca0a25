//! What the chart of lanes draws.

use keepwell::reports::{Format, render};
use keepwell_jobs::{
    care::report::{
        facts::LaneFact, operations::OperationsReport, operations_facts::OperationsFacts, period::Period,
    },
    store::reports::ReportContent,
};

#[test]
fn the_chart_of_lanes_draws_what_was_done_in_front_of_what_was_recorded() {
    let lane = |state, count| LaneFact { part: 0, lane: "standard", state, count };
    let facts = OperationsFacts {
        period: Period { from_ms: 0, to_ms: 3_600_000 },
        as_of_ms: 3_600_000,
        ledger_since_ms: 0,
        lanes: vec![lane("done", 1), lane("dead", 3)],
        kinds: Vec::new(),
        runs: Vec::new(),
        errors: Vec::new(),
        errors_cut: false,
        slowest: Vec::new(),
        dead: Vec::new(),
        schedules: Vec::new(),
    };
    let content = ReportContent::Operations(Box::new(OperationsReport::of(&facts)));
    let page = render("0199f0a1-2b3c-7d4e-8f50-61728394a5b6", &content, Format::Html);
    let (_, drawing) = page.split_once("id=\"lanes-title\"").unwrap();
    let (drawing, _) = drawing.split_once("</svg>").unwrap();
    let height = |class: &str| {
        let (_, bar) = drawing.split_once(&format!("class=\"{class}\"")).unwrap();
        let (_, height) = bar.split_once("height=\"").unwrap();
        height.split('"').next().unwrap().parse::<f64>().unwrap()
    };
    assert_eq!(
        (height("bar light"), height("bar")),
        (48.0, 12.0),
        "four were recorded, and one of them was done"
    );
}
