//! Emergency contacts (003, emergency contact coordination): whom to tell, how, and how much, when somebody is in a
//! crisis.
//!
//! Nobody is told against the person's will. Three have to agree: the person (`consent.updated`,
//! `crisis_contact_consent`), the contact (`consent_to_contact`), and the list itself (`automatic_notification`,
//! `crisis_level_triggers`). Where the seeds are silent:
//!
//! * what is not said is not agreed to, except that a list without triggers means critical crises;
//! * outside of a contact's hours only a critical crisis is told at once, because a life may depend on it; otherwise
//!   the contact is told when the next hours begin, if the crisis is still open then;
//! * who was told within [`TOLD_AGAIN_MS`] is told again only if the crisis has become more severe; who was about to be
//!   told, or may have been, and is not known to have been for [`QUEUED_MS`] counts as not told;
//! * a contact without what the preferred method needs is reached by another one.

use chrono_tz::Tz;
use keepwell_workers::clock::UnixMs;

use super::crisis::Severity;

pub use super::contact_list::{CONTACTS_MAX, Contact, Contacts, Method, Sharing, agrees};

/// Who was told is not told again before, in milliseconds, unless the crisis has become more severe. The seeds give no
/// number.
pub const TOLD_AGAIN_MS: i64 = 12 * 60 * 60 * 1_000;

/// For how long somebody who is about to be told counts as told, in milliseconds: longer than the gateway is tried for
/// one contact (100 runs of at most 30 s, at most a minute apart). Whoever could not be told until then is told with
/// the next sign of a crisis.
pub const QUEUED_MS: i64 = 3 * 60 * 60 * 1_000;

/// Why a contact is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// The person has not agreed.
    PersonConsent,
    /// The contact has not agreed.
    ContactConsent,
    /// The list says that nobody is told automatically.
    NotAutomatic,
    /// The crisis is not as severe as the list asks for.
    Severity,
    /// There is no way to reach them.
    NoAddress,
    /// They were told lately.
    ToldLately,
    /// The crisis was over before they could be told.
    CrisisOver,
    /// No notification gateway is configured that could tell them.
    NoGateway,
    /// When they could have been told, the person no longer named them.
    NotNamed,
    /// They could not be told within [`TOLD_AGAIN_MS`]: it would be no news any more.
    Stale,
    /// The gateway did not take it, or the job that was to bring it there died otherwise.
    NotDelivered,
}

impl Skipped {
    /// The word for the table and the counts.
    pub const fn name(self) -> &'static str {
        match self {
            Skipped::PersonConsent => "person_consent",
            Skipped::ContactConsent => "contact_consent",
            Skipped::NotAutomatic => "not_automatic",
            Skipped::Severity => "severity",
            Skipped::NoAddress => "no_address",
            Skipped::ToldLately => "told_lately",
            Skipped::CrisisOver => "crisis_over",
            Skipped::NoGateway => "no_gateway",
            Skipped::NotNamed => "not_named",
            Skipped::Stale => "stale",
            Skipped::NotDelivered => "not_delivered",
        }
    }
}

/// What becomes of a contact in a crisis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Told now, this way.
    Tell(Method),
    /// Looked at again at this instant, when their hours begin.
    Later(UnixMs),
    /// Not told.
    Skip(Skipped),
}

/// When and in how severe a crisis somebody was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// When.
    pub at_ms: UnixMs,
    /// How severe the crisis was then.
    pub severity: Severity,
}

impl Contacts {
    /// What becomes of `contact` in a crisis of `severity` at `now_ms`. `agreed` is whether the person has; `home` is
    /// where the person lives, for contacts who do not say where they do.
    pub fn decide(
        &self,
        contact: &Contact,
        severity: Severity,
        agreed: bool,
        told: Option<Told>,
        home: Option<Tz>,
        now_ms: UnixMs,
    ) -> Decision {
        let lately =
            |told: Told| now_ms.saturating_sub(told.at_ms) < TOLD_AGAIN_MS && told.severity >= severity;
        let Some(method) = contact.methods().first().copied() else {
            return Decision::Skip(Skipped::NoAddress);
        };
        let refused = [
            (!agreed, Skipped::PersonConsent),
            (!self.automatic, Skipped::NotAutomatic),
            (!contact.consents, Skipped::ContactConsent),
            (!self.triggers.iter().any(|trigger| *trigger <= severity), Skipped::Severity),
            (told.is_some_and(lately), Skipped::ToldLately),
        ];
        if let Some((_, why)) = refused.into_iter().find(|(refused, _)| *refused) {
            return Decision::Skip(why);
        }
        // Whose clock nobody knows can be reached at any time.
        let later = contact.time_zone.or(home).filter(|zone| !contact.hours.hold(now_ms, *zone));
        let begin_ms = later.and_then(|zone| contact.hours.next_begin_ms(now_ms, zone));
        match begin_ms {
            Some(begin_ms) if severity < Severity::Critical => Decision::Later(begin_ms),
            _ => Decision::Tell(method),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::phrases::PERSON_CHARS_MAX, *};
    use crate::json::Json;

    const NOW_MS: UnixMs = 1_700_000_000_000;

    fn read(text: &str) -> Contacts {
        Contacts::read(Json::parse(text.as_bytes()).unwrap())
    }

    fn contacts(contact: &str) -> Contacts {
        read(&format!(r#"{{"automatic_notification":true,"contacts":[{{{contact}}}]}}"#))
    }

    /// What becomes of the first contact in a critical crisis, if the person has agreed.
    fn decided(contacts: &Contacts) -> Decision {
        contacts.decide(&contacts.list[0], Severity::Critical, true, None, None, NOW_MS)
    }

    #[test]
    fn a_contact_is_reached_as_they_like_or_else_as_they_can_be() {
        let both = r#""consent_to_contact":"true","phone":"1","email":"e@x""#;
        for (preferred, method) in [
            ("sms", Method::Sms),
            ("text", Method::Sms),
            ("call", Method::Call),
            ("phone", Method::Call),
            ("email", Method::Email),
            ("push", Method::Sms),
            ("pigeon", Method::Sms),
        ] {
            let contacts = contacts(&format!(r#"{both},"preferred_contact_method":"{preferred}""#));
            assert_eq!(decided(&contacts), Decision::Tell(method), "{preferred}");
        }
        let pushed =
            contacts(r#""consent_to_contact":true,"push":"token","preferred_contact_method":"push""#);
        assert_eq!(decided(&pushed), Decision::Tell(Method::Push));
        assert_eq!(pushed.list[0].address(Method::Push), Some("token"));
        let mailed = contacts(&format!(r#"{both},"preferred_contact_method":"email""#));
        assert_eq!(mailed.list[0].methods(), [Method::Email, Method::Sms, Method::Call]);
        assert_eq!(decided(&contacts(r#""consent_to_contact":true"#)), Decision::Skip(Skipped::NoAddress));
    }

    #[test]
    fn the_triggers_are_the_persons_own_and_a_graver_crisis_counts_as_well() {
        let contact = r#""contacts":[{"phone":"1","consent_to_contact":true}]"#;
        let of = |triggers: &str| {
            let contacts = read(&format!(r#"{{"automatic_notification":true,{triggers}{contact}}}"#));
            let decide = |severity| contacts.decide(&contacts.list[0], severity, true, None, None, NOW_MS);
            Severity::ALL.map(|severity| decide(severity) == Decision::Tell(Method::Sms))
        };
        assert_eq!(of(""), [false, false, true]);
        assert_eq!(of(r#""crisis_level_triggers":["high"],"#), [false, true, true]);
        assert_eq!(of(r#""crisis_level_triggers":["critical","moderate"],"#), [true, true, true]);
        assert_eq!(of(r#""crisis_level_triggers":[],"#), [false, false, false]);
        assert_eq!(of(r#""crisis_level_triggers":["catastrophic"],"#), [false, false, false]);
        let others = r#""crisis_level_triggers":["low","mild","elevated","critical"],"#;
        assert_eq!(of(others), [false, false, true]);
    }

    #[test]
    fn a_contacts_language_is_understood_as_phones_write_it() {
        let contacts = read(r#"{"contacts":[{"locale":"de_DE"},{"locale":"pt-BR"},{"locale":""}]}"#);
        let locales: Vec<_> = contacts.list.iter().map(|contact| contact.locale.as_deref()).collect();
        assert_eq!(locales, [Some("de-DE"), Some("pt-BR"), None]);
    }

    #[test]
    fn contacts_are_told_in_their_order_and_no_more_than_ten() {
        let list: Vec<String> =
            (0..12).map(|number| format!(r#"{{"id":"c{number}","priority":{}}}"#, 20 - number)).collect();
        let contacts = read(&format!(r#"{{"contacts":[{{"id":"last"}},{}]}}"#, list.join(",")));
        let ids: Vec<&str> = contacts.list.iter().map(|contact| contact.id.as_str()).collect();
        assert_eq!(ids, ["c11", "c10", "c9", "c8", "c7", "c6", "c5", "c4", "c3", "c2"]);
        assert_eq!(read(r#"{"contacts":[{},{}]}"#).list[1].id, "number 1");
    }

    #[test]
    fn hours_count_on_the_contacts_clock_else_on_the_persons_else_not_at_all() {
        let vienna = Some(chrono_tz::Europe::Vienna);
        let of = |zone: &str, home, severity| {
            let hours = r#""phone":"1","consent_to_contact":true,"available_hours":"08:00-23:00""#;
            let mut contacts = contacts(&format!("{hours}{zone}"));
            contacts.triggers = Severity::ALL.to_vec();
            contacts.decide(&contacts.list[0], severity, true, None, home, NOW_MS)
        };
        // It is 22:13 in London and 23:13 in Vienna.
        let london = r#","time_zone":"Europe/London""#;
        assert_eq!(of(london, vienna, Severity::High), Decision::Tell(Method::Sms));
        let eight_ms = NOW_MS + (8 * 60 + 46) * 60_000 + 40_000;
        assert_eq!(of("", vienna, Severity::High), Decision::Later(eight_ms));
        assert_eq!(of("", vienna, Severity::Moderate), Decision::Later(eight_ms));
        assert_eq!(of("", vienna, Severity::Critical), Decision::Tell(Method::Sms));
        assert_eq!(of(r#","time_zone":"Middle/Earth""#, None, Severity::High), Decision::Tell(Method::Sms));
    }

    #[test]
    fn who_was_told_lately_is_told_again_only_of_a_graver_crisis() {
        let contacts = contacts(r#""phone":"1","consent_to_contact":true"#);
        let told = |severity, ago_ms| {
            let told = Some(Told { at_ms: NOW_MS - ago_ms, severity });
            contacts.decide(&contacts.list[0], Severity::Critical, true, told, None, NOW_MS)
        };
        assert_eq!((TOLD_AGAIN_MS, QUEUED_MS), (43_200_000, 10_800_000));
        assert_eq!(told(Severity::Critical, TOLD_AGAIN_MS - 1), Decision::Skip(Skipped::ToldLately));
        assert_eq!(told(Severity::Critical, TOLD_AGAIN_MS), Decision::Tell(Method::Sms));
        assert_eq!(told(Severity::High, 0), Decision::Tell(Method::Sms));
    }

    #[test]
    fn how_much_is_told_is_the_least_unless_the_person_says_more() {
        for (level, sharing) in
            [("minimal", Sharing::Minimal), ("standard", Sharing::Standard), ("detailed", Sharing::Detailed)]
        {
            assert_eq!(read(&format!(r#"{{"context_sharing_level":"{level}"}}"#)).sharing, sharing);
            assert_eq!(sharing.key(), format!("contact_{level}"));
        }
        assert_eq!(read(r#"{"contextSharingLevel":"everything"}"#).sharing, Sharing::Minimal);
        let named = read(&format!(r#"{{"display_name":" Kim\n{} "}}"#, "x".repeat(80)));
        assert_eq!(named.person.unwrap().chars().count(), PERSON_CHARS_MAX - 1);
        assert_eq!(read(r#"{"display_name":"\n"}"#).person, None);
    }

    #[test]
    fn contacts_are_read_as_003_writes_them_too() {
        let contact = |id: &str, priority: &str| {
            format!(
                r#"{{{id}"name":"Ada","relationship":"sister","phone":"+49 1","email":"a@example.org"{priority},
                    "consentToContact":true,"availableHours":"08:00-22:00","timeZone":"Europe/Vienna",
                    "preferredContactMethod":"text"}}"#
            )
        };
        let contacts = read(&format!(
            r#"{{"primaryContact":{},"secondaryContact":{},"therapeuticContact":{},"automaticNotification":true,
                "crisisLevelTriggers":["high"],"contextSharingLevel":"standard","userControlledSharing":true,
                "smsNotification":true,"callInitiation":true,"locationSharing":false,"appContextSharing":true}}"#,
            contact("", ""),
            contact(r#""id":"ben","#, r#","priority":9"#),
            contact(r#""id":"dr-cy","#, r#","priority":1"#),
        ));
        let ids: Vec<&str> = contacts.list.iter().map(|contact| contact.id.as_str()).collect();
        assert_eq!(ids, ["dr-cy", "ben", "primary"]);
        assert!(contacts.list.iter().all(|contact| contact.time_zone == Some(chrono_tz::Europe::Vienna)));
        assert_eq!((contacts.automatic, contacts.sharing), (true, Sharing::Standard));
        assert_eq!(decided(&contacts), Decision::Tell(Method::Sms));
        let snake = read(r#"{"primary_contact":{"phone":"1"},"contacts":[{"phone":"2"}]}"#);
        let phones: Vec<_> = snake.list.iter().map(|contact| contact.phone.as_deref()).collect();
        assert_eq!(phones, [Some("1"), Some("2")]);
        // Whoever stands there twice is told once, and only if both say so.
        let twice = read(
            r#"{"primaryContact":{"id":"a","phone":"1","consentToContact":true},
                "contacts":[{"id":"a","phone":"2","consentToContact":false}]}"#,
        );
        assert_eq!((twice.list.len(), twice.list[0].consents), (1, false));
    }

    #[test]
    fn ways_that_the_person_has_closed_are_not_gone_and_what_they_keep_is_not_told() {
        let both = r#""contacts":[{"phone":"1","email":"e@x","consent_to_contact":true,
            "preferred_contact_method":"text"}],"automatic_notification":true"#;
        for (closed, methods) in [
            (r#""smsNotification":false"#, &[Method::Call, Method::Email][..]),
            (r#""call_initiation":"false""#, &[Method::Sms, Method::Email]),
            (r#""sms_notification":false,"callInitiation":false"#, &[Method::Email]),
            (r#""smsNotification":true,"callInitiation":7"#, &[Method::Sms, Method::Call, Method::Email]),
        ] {
            let contacts = read(&format!("{{{both},{closed}}}"));
            assert_eq!(contacts.list[0].methods(), methods, "{closed}");
            assert_eq!(decided(&contacts), Decision::Tell(methods[0]), "{closed}");
        }
        for (kept, sharing) in [
            (r#""appContextSharing":false"#, Sharing::Minimal),
            (r#""user_controlled_sharing":false"#, Sharing::Minimal),
            (r#""appContextSharing":true,"userControlledSharing":true"#, Sharing::Detailed),
        ] {
            assert_eq!(read(&format!(r#"{{"contextSharingLevel":"detailed",{kept}}}"#)).sharing, sharing);
        }
    }

    #[test]
    fn whatever_tells_somebody_less_takes_something_back() {
        let list = |more: &str, contact: &str| {
            read(&format!(
                r#"{{"automatic_notification":true,"crisis_level_triggers":["high"],
                    "context_sharing_level":"standard"{more},"contacts":[{{"id":"b"}},{{"id":"a",
                    "phone":"1","email":"e@x","consent_to_contact":true{contact}}}]}}"#
            ))
        };
        let known = list("", "");
        for (stated, less) in [
            (list("", ""), false),
            (list("", r#","available_hours":"08:00-09:00","preferred_contact_method":"email""#), false),
            (Contacts { list: known.list[1..].to_vec(), ..known.clone() }, false),
            (
                Contacts { triggers: Severity::ALL.to_vec(), sharing: Sharing::Detailed, ..known.clone() },
                false,
            ),
            (Contacts { automatic: false, ..known.clone() }, true),
            (Contacts { list: known.list[..1].to_vec(), ..known.clone() }, false),
            (list("", r#","consent_to_contact":false"#), true),
            (Contacts { triggers: vec![Severity::Critical], ..known.clone() }, true),
            (Contacts { triggers: Vec::new(), ..known.clone() }, true),
            (Contacts { sharing: Sharing::Minimal, ..known.clone() }, true),
            (list(r#","smsNotification":false"#, ""), true),
            (Contacts::default(), true),
        ] {
            assert_eq!(stated.takes_back(&known), less, "{stated:?}");
            assert!(!stated.takes_back(&Contacts { automatic: false, ..known.clone() }), "nobody was told");
        }
        // Only who would have been told is missed, and only on a newer list.
        let without = |contacts: &[Contact]| Contacts { list: contacts.to_vec(), ..known.clone() };
        assert!(without(&known.list[..1]).leaves_out(&known) && without(&[]).leaves_out(&known));
        assert!(!without(&known.list[1..]).leaves_out(&known) && !known.leaves_out(&known));
        assert!(!without(&[]).leaves_out(&Contacts { automatic: false, ..known.clone() }), "nobody was told");
    }

    #[test]
    fn consent_is_a_yes_and_nothing_else() {
        let agreed = |text: &str| agrees(Json::parse(text.as_bytes()).unwrap());
        assert!(agreed(r#"{"crisis_contact_consent":true}"#) && agreed(r#"{"crisisContactConsent":true}"#));
        for text in ["{}", r#"{"crisis_contact_consent":false}"#, r#"{"crisis_contact_consent":1}"#, "[]"] {
            assert!(!agreed(text), "{text}");
        }
    }

    #[test]
    fn why_somebody_is_not_told_keeps_its_word() {
        let words = [
            (Skipped::PersonConsent, "person_consent"),
            (Skipped::ContactConsent, "contact_consent"),
            (Skipped::NotAutomatic, "not_automatic"),
            (Skipped::Severity, "severity"),
            (Skipped::NoAddress, "no_address"),
            (Skipped::ToldLately, "told_lately"),
            (Skipped::CrisisOver, "crisis_over"),
            (Skipped::NoGateway, "no_gateway"),
            (Skipped::NotNamed, "not_named"),
            (Skipped::Stale, "stale"),
            (Skipped::NotDelivered, "not_delivered"),
        ];
        assert!(words.iter().all(|(why, word)| why.name() == *word));
    }
}
