//! For how long reports are kept.

use keepwell_jobs::{
    care::report::period::Period,
    store::{
        audit::Actor,
        reports::{REPORTS_MAX, ReportContent, ReportsKept, forget_reports, keep_report, reports},
    },
};
use keepwell_workers::id::JobId;

use crate::{
    reports::{DAY, made},
    support::{DAY_MS, NOW_MS, on_each_database},
    trail::execute,
};

const HOUR_MS: i64 = 60 * 60 * 1_000;

#[tokio::test]
async fn reports_of_an_hour_are_let_go_early_and_those_of_a_day_or_a_month_after_seven_years() {
    on_each_database(async |room| {
        let (database, keys) = (&room.database, &room.care.keys);
        let content = ReportContent::Crisis(Box::new(made(room).await));
        let kept = ReportsKept { hourly_ms: 90 * DAY_MS, others_ms: 2_555 * DAY_MS };
        let mut ids = Vec::new();
        for length_ms in [HOUR_MS, DAY_MS, 30 * DAY_MS] {
            let period = Period { from_ms: NOW_MS - length_ms, to_ms: NOW_MS };
            let actor = Actor::Operator { name: "uid 7".to_owned() };
            ids.push(keep_report(database, keys, period, &content, actor, NOW_MS).await.unwrap().id);
        }
        let left = async |at_ms| {
            assert!(!forget_reports(database, kept, at_ms).await.unwrap(), "there are few");
            let listed = reports(database, None, 10).await.unwrap().0;
            let mut left: Vec<usize> =
                listed.iter().map(|it| ids.iter().position(|id| *id == it.id).unwrap()).collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(NOW_MS + 90 * DAY_MS).await, [0, 1, 2]);
        assert_eq!(left(NOW_MS + 90 * DAY_MS + 1).await, [1, 2]);
        assert_eq!(left(NOW_MS + 2_555 * DAY_MS).await, [1, 2]);
        assert_eq!(left(NOW_MS + 2_555 * DAY_MS + 1).await, [0_usize; 0]);
    })
    .await;
}

#[tokio::test]
async fn hourly_reports_push_no_monthly_one_out() {
    on_each_database(async |room| {
        let (database, keys) = (&room.database, &room.care.keys);
        let content = ReportContent::Crisis(Box::new(made(room).await));
        let keep = async |period, now_ms| {
            let actor = Actor::Operator { name: "uid 7".to_owned() };
            keep_report(database, keys, period, &content, actor, now_ms).await.unwrap()
        };
        let hour = Period { from_ms: NOW_MS - HOUR_MS, to_ms: NOW_MS };
        let month = keep(Period { from_ms: NOW_MS - 30 * DAY_MS, to_ms: NOW_MS }, NOW_MS).await;
        let day = keep(DAY, NOW_MS + 1).await;
        let first = keep(hour, NOW_MS + 2).await;
        // As many more of the hour as may be kept.
        let others: Vec<_> =
            (0..REPORTS_MAX).map(|number| format!("('{}')", JobId::new(NOW_MS + 3 + number))).collect();
        let columns = "kind, from_ms, to_ms, made_ms, key_id";
        let insert = format!(
            "INSERT INTO compliance_reports (id, {columns}, sealed) SELECT n.column1, {columns}, substr(sealed, 1, 1) \
             FROM compliance_reports CROSS JOIN (VALUES {}) AS n WHERE id = '{}'",
            others.join(", "),
            first.id
        );
        execute(room, &insert).await.unwrap();
        let last = keep(hour, NOW_MS + DAY_MS).await;
        let (newest, total) = reports(database, None, 1).await.unwrap();
        assert_eq!((newest, total), (vec![last], REPORTS_MAX as u64 + 2));
        let (oldest, _) = reports(database, Some(&JobId::new(NOW_MS + 2).to_string()), 10).await.unwrap();
        assert_eq!(oldest, vec![day, month]);
    })
    .await;
}
