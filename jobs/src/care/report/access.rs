//! Whether a change of access, as the audit trail tells it, left a person with what nothing may take away (003:
//! therapeutic access is never interrupted).

use serde_json::Value;

use crate::care::tiers::FLOOR;

/// What the changes of access of a period left people with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccessChecks {
    /// Changes that were looked at.
    pub checked: u64,
    /// Changes that could not be read, or were too many to be looked at.
    pub unchecked: u64,
    /// Changes that took something of the crisis-safe floor.
    pub floor_lost: u64,
    /// Changes that left somebody in a crisis without emergency access.
    pub emergency_lost: u64,
    /// Changes by which a crisis opened emergency access.
    pub emergency_opened: u64,
}

impl AccessChecks {
    /// Looks at a change: `before` and `after` hold the parts of the access document that changed, as they were and as
    /// they are then; `None` if it cannot be read.
    pub fn look_at(&mut self, before: Option<&Value>, after: Option<&Value>) {
        let Some(after) = after.filter(|after| after.is_object()) else {
            self.unchecked += 1;
            return;
        };
        self.checked += 1;
        if let Some(enabled) = after["features"]["enabled"].as_array() {
            let has = |feature: &str| enabled.iter().any(|name| name == feature);
            self.floor_lost += u64::from(!FLOOR.iter().all(|feature| has(feature)));
        }
        // A crisis that came to its end takes its emergency access with it, in the same change.
        let in_crisis = after["crisis"]["active"] == true;
        self.emergency_lost += u64::from(in_crisis && after["emergency"]["active"] == false);
        // What was before is what was said last: a crisis that has ended by time since then stands there too. So the
        // entry says by itself whether one has opened; older ones do not.
        let has_opened = after["crisis"]["opened"]
            .as_bool()
            .unwrap_or_else(|| in_crisis && before.is_none_or(|before| before["crisis"]["active"] != true));
        self.emergency_opened += u64::from(has_opened && after["emergency"]["active"] == true);
    }

    /// Changes that interrupted what nothing may interrupt.
    pub const fn interruptions(&self) -> u64 {
        self.floor_lost + self.emergency_lost
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_takes_from_the_floor_or_from_a_crisis_is_counted() {
        let short = &FLOOR[1..];
        let state = |crisis: bool, emergency: bool| {
            let [crisis, emergency] = [crisis, emergency].map(|active| json!({ "active": active }));
            json!({ "crisis": crisis, "emergency": emergency })
        };
        let calm = state(false, false);
        for (after, floor_lost, emergency_lost) in [
            (json!({ "features": { "enabled": FLOOR } }), 0, 0),
            (json!({ "tier": "basic" }), 0, 0),
            (json!({ "features": { "enabled": short } }), 1, 0),
            (json!({ "features": { "enabled": [] } }), 1, 0),
            (state(true, true), 0, 0),
            (state(true, false), 0, 1),
            (state(false, true), 0, 0),
            (state(false, false), 0, 0),
        ] {
            let mut checks = AccessChecks::default();
            checks.look_at(Some(&calm), Some(&after));
            let emergency_opened = u64::from(after == state(true, true));
            let expected =
                AccessChecks { checked: 1, unchecked: 0, floor_lost, emergency_lost, emergency_opened };
            assert_eq!((checks, checks.interruptions()), (expected, floor_lost + emergency_lost), "{after}");
            checks.look_at(Some(&state(true, true)), Some(&after));
            assert_eq!(checks.emergency_opened, emergency_opened, "a crisis that goes on opens nothing anew");
            assert_eq!(checks.interruptions(), 2 * (floor_lost + emergency_lost), "{after}");
        }
        // A new one in the gap after one that ended by its time, and one that goes on.
        let in_crisis = state(true, true);
        for (opened, counted) in [(true, 1), (false, 0)] {
            let (mut checks, mut after) = (AccessChecks::default(), in_crisis.clone());
            after["crisis"]["opened"] = opened.into();
            checks.look_at(Some(&in_crisis), Some(&after));
            checks.look_at(None, Some(&json!({ "crisis": { "active": true, "opened": opened } })));
            assert_eq!((checks.checked, checks.emergency_opened), (2, counted));
        }
        let mut checks = AccessChecks::default();
        for unreadable in [None, Some(&json!("active")), None] {
            checks.look_at(None, unreadable);
        }
        assert_eq!(checks, AccessChecks { unchecked: 3, ..AccessChecks::default() });
        let both = AccessChecks { floor_lost: 2, emergency_lost: 3, ..checks };
        assert_eq!(both.interruptions(), 5);
    }
}
