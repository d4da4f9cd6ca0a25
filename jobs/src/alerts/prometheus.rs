//! The same rules for Prometheus: `config/alerts/keepwell.rules.yml` is made from the table.

use std::fmt::Write as _;

use super::{
    rule::{Rule, When},
    rules::RULES,
};

const HEAD: &str = "\
# keepwell's alert rules, for Prometheus. Made from the table that the daemon itself goes by:
#
#     cargo run --package keepwell-jobs --example generate-alert-rules -- config/alerts/keepwell.rules.yml
#
# A rule that nothing measures (`keepwell alert test`, a rehearsal that failed) is in the daemon only.
groups:
  - name: keepwell
    interval: 15s
    rules:
";

/// The file.
pub fn rules_yaml() -> String {
    let mut text = HEAD.to_owned();
    for rule in RULES {
        let Some(expression) = expression(rule) else { continue };
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
    text
}

/// The rule in PromQL; `None` if nothing is measured for it.
pub fn expression(rule: &Rule) -> Option<String> {
    match &rule.when {
        When::Figure(figure, bound) => Some(format!("{figure} {bound}")),
        When::Told { .. } => None,
    }
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
        assert_eq!(file, rules_yaml(), "generate it anew; its head says how");
    }
}
