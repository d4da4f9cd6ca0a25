//! When somebody's emergency contacts are thought of: at a new sign of a crisis, at one that makes it more severe, and
//! when contacts are named in it. Whom of them is told what is decided by [`super::contacts`].

use keepwell_workers::clock::UnixMs;

use super::{
    contacts::TOLD_AGAIN_MS,
    crisis::{Bearing, Severity, Signal, counts_until_ms},
    facts::Facts,
};

/// What has made somebody's crisis known, and how severe it is now, if that is a reason to look whom to tell: a new
/// sign of a crisis, or one that makes it more severe. An elevated score that is told late makes a crisis of what was
/// known before; then it is the newest of those signs, by another name, for they may have led to a look already.
///
/// Of a sign that was older than [`TOLD_AGAIN_MS`] when it was learned, at `learned_ms`, nobody is told: what stands in
/// Stripe's history may be days old, and would frighten people with what they have lived through. What came with it,
/// and begins no crisis by itself, makes it no younger.
pub fn call_for_contacts(
    before: &Facts,
    after: &Facts,
    learned_ms: UnixMs,
    now_ms: UnixMs,
) -> Option<(String, Severity)> {
    let crisis = after.crisis(now_ms)?;
    let known = before.crisis(now_ms);
    let raised = known.as_ref().is_none_or(|known| known.severity < crisis.severity);
    let is_fresh = |signal: &Signal| signal.at_ms >= learned_ms.saturating_sub(TOLD_AGAIN_MS);
    let part = || after.signals.iter().filter(|(_, signal)| signal.at_ms >= crisis.since_ms);
    let is_known = |id: &String| before.signals.contains_key(id);
    let news = || part().filter(|(id, signal)| !is_known(id) && (raised || !signal.only_in_crisis));
    let newest = || news().max_by_key(|(_, signal)| signal.at_ms);
    let begins = news().filter(|(_, signal)| known.is_none() && signal.bearing() == Bearing::ByItself);
    let news = begins.max_by_key(|(_, signal)| signal.at_ms).or_else(newest);
    if let Some((id, _)) = news.filter(|(_, signal)| is_fresh(signal)) {
        return Some((id.clone(), crisis.severity));
    }
    let standing = part().filter(|(id, signal)| {
        let counts = signal.bearing() != Bearing::Risk && counts_until_ms(signal) > now_ms;
        counts && is_known(id) && is_fresh(signal)
    });
    let (id, _) = standing.filter(|_| raised).max_by_key(|(_, signal)| signal.at_ms)?;
    Some((format!("late:{}:{id}", crisis.severity.name()), crisis.severity))
}

/// Whether what a person says of their contacts is a reason to look again whom to tell: a crisis is open, and the last
/// sign of it is so young that somebody could be told of it for the first time.
pub fn calls_for_another_look(facts: &Facts, now_ms: UnixMs) -> bool {
    let fresh_ms = now_ms.saturating_sub(TOLD_AGAIN_MS);
    facts.crisis(now_ms).is_some_and(|crisis| {
        let signs = facts.signals.values().filter(|signal| signal.bearing() != Bearing::Risk);
        signs.map(|signal| signal.at_ms).any(|at_ms| at_ms >= crisis.since_ms.max(fresh_ms))
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            crisis::Source,
            happened::{failed, in_crisis},
        },
        *,
    };

    const NOW_MS: UnixMs = 1_700_000_000_000;

    #[test]
    fn contacts_are_thought_of_for_a_new_sign_and_for_what_makes_it_worse() {
        let call = |facts: &mut Facts, change: fn(&mut Facts)| {
            let before = facts.clone();
            change(facts);
            call_for_contacts(&before, facts, NOW_MS, NOW_MS)
        };
        let mut facts = Facts::about("cus_1");
        assert_eq!(call(&mut facts, |facts| facts.threatened("threat".into(), NOW_MS, NOW_MS)), None);
        let begun = call(&mut facts, |facts| in_crisis(facts, Severity::Moderate, NOW_MS + 1));
        assert_eq!(begun, Some((format!("sig_{}", NOW_MS + 1), Severity::Moderate)));
        // What adds to it and makes it worse counts; what only adds does not.
        let worse = call(&mut facts, |facts| facts.threatened("worse".into(), NOW_MS + 2, NOW_MS));
        assert_eq!(worse, Some(("worse".into(), Severity::High)));
        assert_eq!(call(&mut facts, |facts| facts.threatened("again".into(), NOW_MS + 3, NOW_MS)), None);
        let again = call(&mut facts, |facts| in_crisis(facts, Severity::Moderate, NOW_MS + 4));
        assert_eq!(again, Some((format!("sig_{}", NOW_MS + 4), Severity::High)));
        assert_eq!(call(&mut facts, |facts| in_crisis(facts, Severity::Moderate, NOW_MS + 4)), None);
        assert_eq!(call(&mut facts, |facts| facts.crisis_resolved(NOW_MS + 9, NOW_MS + 9)), None);
        assert_eq!(call(&mut facts, |facts| in_crisis(facts, Severity::Critical, NOW_MS + 8)), None);
    }

    #[test]
    fn contacts_are_not_thought_of_for_a_sign_that_is_half_a_day_old_when_it_is_learned() {
        let call = |facts: &mut Facts, learned_ms, change: &dyn Fn(&mut Facts)| {
            let before = facts.clone();
            change(facts);
            assert!(facts.crisis(NOW_MS).is_some());
            call_for_contacts(&before, facts, learned_ms, NOW_MS)
        };
        let old_ms = NOW_MS - TOLD_AGAIN_MS - 1;
        let begun_at = |at_ms, learned_ms| {
            let begin = |facts: &mut Facts| in_crisis(facts, Severity::High, at_ms);
            call(&mut Facts::about("cus_1"), learned_ms, &begin).is_some()
        };
        assert!(begun_at(NOW_MS, NOW_MS) && begun_at(old_ms + 1, NOW_MS) && !begun_at(old_ms, NOW_MS));
        assert!(begun_at(old_ms, old_ms), "what was learned in time and ran late is recorded");
        // The failure that tells of it counts as of now, and begins nothing by itself.
        let with_failure = |facts: &mut Facts| {
            in_crisis(facts, Severity::High, old_ms);
            failed(facts, "in_1", NOW_MS);
        };
        assert_eq!(call(&mut Facts::about("cus_1"), NOW_MS, &with_failure), None);
        // An old sign hides no fresh one that was known and is part of something graver by now.
        let mut facts = Facts::about("cus_1");
        in_crisis(&mut facts, Severity::Moderate, NOW_MS - 1);
        let graver = call(&mut facts, NOW_MS, &|facts| in_crisis(facts, Severity::High, old_ms));
        assert_eq!(graver, Some((format!("late:high:sig_{}", NOW_MS - 1), Severity::High)));
    }

    #[test]
    fn contacts_named_in_a_crisis_are_thought_of_while_its_last_sign_is_news() {
        let news_ms = NOW_MS + TOLD_AGAIN_MS;
        let looks = |facts: &Facts, now_ms| calls_for_another_look(facts, now_ms);
        let mut facts = Facts::about("cus_1");
        assert!(!looks(&facts, NOW_MS), "no crisis");
        in_crisis(&mut facts, Severity::High, NOW_MS);
        assert!(looks(&facts, NOW_MS) && looks(&facts, news_ms) && !looks(&facts, news_ms + 1));
        // An elevated score is no sign of a crisis.
        let (source, severity, at_ms) = (Source::HighRisk, Severity::Moderate, news_ms);
        facts.signalled("risk".into(), Signal { source, severity, at_ms, only_in_crisis: true }, news_ms);
        assert!(!looks(&facts, news_ms + 1));
        in_crisis(&mut facts, Severity::Moderate, news_ms);
        assert!(looks(&facts, news_ms + 1));
        facts.crisis_resolved(news_ms + 1, news_ms + 1);
        assert!(!looks(&facts, news_ms + 1), "it is over");
    }
}
