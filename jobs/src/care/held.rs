//! What a person must have at some instant, whatever made the answer that was given to them: said a second time, and
//! not by the code that makes the answer.

use super::{
    document::AccessDocument,
    severity::{EMERGENCY_FEATURES, EmergencyLevel},
    tiers::Tiers,
};

/// What `document` does not open of what the floor and, in a crisis, its `level` call for (003: therapeutic access
/// monitoring, 100 %).
pub fn lacking(document: &AccessDocument, tiers: &Tiers, level: Option<EmergencyLevel>) -> Vec<String> {
    let emergency = level.map(|level| {
        let grace = (level >= EmergencyLevel::Essential).then(|| tiers.grace_period().features.iter());
        let best = (level >= EmergencyLevel::Full).then(|| tiers.best().features.iter());
        let basic = EMERGENCY_FEATURES.into_iter().map(str::to_owned);
        basic.chain(grace.into_iter().chain(best).flatten().cloned())
    });
    let mut lacking: Vec<String> =
        tiers.floor().iter().cloned().chain(emergency.into_iter().flatten()).collect();
    lacking.retain(|feature| !document.features.enabled.contains(feature));
    lacking.sort_unstable();
    lacking.dedup();
    lacking
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::care::{
        access::access,
        crisis::{Severity, Signal, Source},
        facts::Facts,
    };

    #[test]
    fn nobody_lacks_anything_and_whoever_does_is_found() {
        let tiers = Tiers::from_toml(include_str!("../../../config/tiers.toml")).unwrap();
        let nobody = AccessDocument::floor("cus_1", 0);
        assert_eq!(lacking(&nobody, &tiers, None), [""; 0]);
        for (severity, missing_count) in Severity::ALL.into_iter().zip(0..) {
            let level = Some(severity.emergency_level());
            let mut facts = Facts::about("cus_1");
            let signal = Signal { source: Source::Button, severity, at_ms: 0, only_in_crisis: false };
            facts.signalled("a".to_owned(), signal, 0);
            let mut document = access(&facts, &tiers, 0);
            assert_eq!(lacking(&document, &tiers, level), [""; 0], "{severity:?}");
            assert!(
                lacking(&nobody, &tiers, level).len() > missing_count,
                "each level opens more: {severity:?}"
            );
            let taken = document.features.enabled.remove(0);
            assert_eq!(lacking(&document, &tiers, None), [taken]);
            document.features.enabled.retain(|feature| feature != EMERGENCY_FEATURES[0]);
            assert_eq!(lacking(&document, &tiers, level).len(), 2, "{severity:?}");
        }
    }
}
