//! `keepwell audit acknowledge`: that what is wrong with the trail has been looked into.

use clap::Args;
use serde_json::{Value, json};

use super::{
    super::{Context, daemon::Operators, failure::Failure, say, table::one_line},
    in_words, piece,
};
use keepwell_jobs::store::audit::Finding;

/// Digits of a fingerprint.
const DIGITS: usize = 32;

/// What was looked into.
#[derive(Debug, Args)]
pub(in super::super) struct AcknowledgeArgs {
    /// Fingerprints of findings, as `keepwell audit verify` tells them
    #[arg(required = true, num_args = 1.., value_name = "FINGERPRINT", value_parser = digits)]
    fingerprints: Vec<String>,
    /// What was found out, for whoever looks next: an auditor, perhaps, in seven years
    #[arg(long)]
    reason: String,
}

/// The digits of a fingerprint; nothing else fits into a path.
fn digits(text: &str) -> Result<String, String> {
    if text.len() == DIGITS && text.chars().all(|c| c.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("it has {DIGITS} digits, as `keepwell audit verify` tells them"))
    }
}

pub(super) async fn run(context: &Context, args: &AcknowledgeArgs) -> Result<(), Failure> {
    let operators = Operators::of(&context.client_config()?.config);
    let (mut left, mut from, mut done) = (args.fingerprints.clone(), None, Vec::new());
    loop {
        // The daemon looks for it again, in the piece of the trail that it is found in here.
        let (report, found) = piece(&operators, from).await?;
        for finding in found.named().chain(&found.acknowledged) {
            let Some(index) = left.iter().position(|asked| *asked == finding.fingerprint) else { continue };
            let fingerprint = left.swap_remove(index);
            let path = format!("/api/v1/audit/findings/{fingerprint}/acknowledge");
            let body = json!({ "reason": args.reason, "from": from });
            done.push(operators.post(&path, body.to_string()).await?);
        }
        from = report["next"].as_i64();
        if left.is_empty() || from.is_none() {
            break;
        }
    }
    context.print(&json!({ "acknowledged": done, "not_found": left }), render);
    if left.is_empty() {
        return Ok(());
    }
    say("hint: `keepwell audit verify` names what is wrong with the trail");
    Err(Failure::Failed(format!("nothing with the fingerprint {} is found in the trail", left.join(", "))))
}

fn render(result: &Value) -> String {
    let done = result["acknowledged"].as_array().into_iter().flatten();
    done.map(|done| {
        let was = if done["changed"] == true { "acknowledged" } else { "was acknowledged before" };
        let finding: Option<Finding> = serde_json::from_value(done["finding"].clone()).ok();
        let finding = finding.as_ref().map(in_words).unwrap_or_default();
        one_line(&format!("{was}: {finding}")) + "\n"
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_no_path() {
        assert_eq!(digits(&"A0".repeat(16)).as_deref(), Ok(&*"a0".repeat(16)));
        assert!(["", "..", &"a/".repeat(16), &"a".repeat(31)].into_iter().all(|text| digits(text).is_err()));
    }
}
