//! The same rules for Prometheus: `config/alerts/keepwell.rules.yml` is made from the table.

use std::fmt::Write as _;

use super::{
    rule::{Rule, When},
    rules::RULES,
    threshold::Thresholds,
};

const HEAD: &str = "\
# keepwell's alert rules, for Prometheus. Made from the table that the daemon itself goes by:
#
#     cargo run --package keepwell-jobs --example generate-alert-rules -- config/alerts/keepwell.rules.yml
#
# A rule that nothing measures (`keepwell alert test`, a rehearsal that failed) is in the daemon only, and
# `KeepwellSilent` is for Prometheus alone. These are the bounds of the table; `keepwell alert rules --prometheus`
# prints the rules with those that a daemon goes by. A daemon judges per process, by its own figures; these rules add up
# all nodes, so that with several of them what is counted comes to its bound here first.
groups:
  - name: keepwell
    interval: 15s
    rules:
";

/// A daemon that is down tells of nothing, and no figure of it is wrong: only somebody else can miss it.
const NOBODY_THERE: &str = "      - alert: KeepwellSilent
        expr: 'absent(keepwell_dependency_up)'
        for: 60s
        labels:
          severity: critical
          tell_within: 0s
        annotations:
          summary: 'no keepwell is heard of: webhooks and crisis signals are not taken'
          runbook: '`systemctl status keepwell` and its log; or the scrape fails: look at its target in Prometheus'
";

/// The file, with these bounds.
pub fn rules_yaml(thresholds: &Thresholds) -> String {
    let mut text = HEAD.to_owned();
    for rule in RULES {
        let Some(expression) = expression(rule, thresholds) else { continue };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "      - alert: {}\n        expr: {}\n        for: {}s\n        labels:\n          severity: {}\n          \
             tell_within: {}s\n        annotations:\n          summary: {}\n          runbook: {}\n",
            rule.name,
            quoted(&expression),
            rule.for_s,
            rule.severity.name(),
            rule.tell_within_s,
            quoted(rule.summary),
            quoted(rule.runbook),
        );
    }
    text.push_str(NOBODY_THERE);
    text
}

/// The rule in PromQL; `None` if nothing is measured for it.
pub fn expression(rule: &Rule, thresholds: &Thresholds) -> Option<String> {
    let When::Figure(figure, _) = &rule.when else { return None };
    Some(format!("{figure} {}", thresholds.bound(rule)?))
}

/// `text` between single quotes, as YAML wants it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_for_prometheus_are_those_of_the_daemon() {
        let file = include_str!("../../../config/alerts/keepwell.rules.yml");
        assert_eq!(file, rules_yaml(&Thresholds::default()), "generate it anew; its head says how");
    }

    #[test]
    fn a_bound_that_was_chosen_is_in_the_rule_for_prometheus_and_no_other_rule_is_touched() {
        let (table, chosen) = (Thresholds::default(), Thresholds::new([("MemoryHigh", 0.9)]).unwrap());
        let (table, chosen) = (rules_yaml(&table), rules_yaml(&chosen));
        let changed: Vec<(&str, &str)> =
            table.lines().zip(chosen.lines()).filter(|(one, other)| one != other).collect();
        assert_eq!(table.lines().count(), chosen.lines().count());
        let [(was, is)] = changed[..] else { panic!("{changed:?}") };
        assert!(
            was.ends_with("> 0.8'") && is.ends_with("> 0.9'") && is.contains("memory_used"),
            "{was} {is}"
        );
    }
}
