//! The rules of tone (003, grace period messaging), held against every message in every state and every language.

use super::{
    document::{AccessDocument, CrisisView, EmergencyView, GraceView},
    grace::GraceReason,
    lines::{CRISIS_LINES_TOML, CrisisLines},
    message::Message,
    occasion::Occasion,
    phrases::{KEYS, Phrase, Values},
    pressing::{PRESSING, pressing},
    resources::CRISIS_RESOURCES,
    severity::Severity,
    templates::{BODY_CHARS_MAX, TITLE_CHARS_MAX, Templates},
};

/// What must not be spoken of in a crisis.
const MONEY: [&str; 10] =
    ["pay", "bill", "invoice", "subscription", "price", "zahl", "rechnung", "abonnement", "preis", "kosten"];

fn occasions() -> Vec<Occasion> {
    let of_reasons = |of: fn(GraceReason) -> Occasion| GraceReason::ALL.map(of);
    [
        of_reasons(Occasion::GraceStarted),
        of_reasons(Occasion::GraceExtended),
        of_reasons(Occasion::GraceEndingSoon),
        of_reasons(Occasion::GraceEnded),
    ]
    .concat()
    .into_iter()
    .chain([Occasion::CrisisActive, Occasion::Recovered])
    .collect()
}

/// Calls `check` with every message, its language, what it is about and the line that it has to name.
fn each(mut check: impl FnMut(&str, Occasion, &str, &Message)) {
    let lines = CrisisLines::from_toml(CRISIS_LINES_TOML, CRISIS_RESOURCES).unwrap();
    let templates = Templates::default();
    for locale in templates.locales() {
        for occasion in occasions() {
            for resources in lines.iter() {
                for days in [1, 2, 30, 365] {
                    let (tag, message) = Message::of(occasion, days, &templates, Some(locale), resources);
                    assert_eq!(tag, locale);
                    check(locale, occasion, &resources.hotline, &message);
                }
            }
        }
    }
}

#[test]
fn the_crisis_line_is_in_sight_whatever_is_said_and_in_whatever_language() {
    each(|_, occasion, hotline, message| {
        assert!(message.body.contains(hotline), "{occasion:?} {message:?}");
        let offered = message.actions.iter().any(|action| action.action == "activate_crisis_button");
        assert!(offered, "{occasion:?} {message:?}");
        assert_eq!((message.tone, message.urgency), ("supportive", "low"));
    });
}

/// Calls `check` with every message as it is read, filled in, its language and its name: what people are told and what
/// their contacts are.
fn each_text(mut check: impl FnMut(&str, &str, &str)) {
    let templates = Templates::default();
    for locale in templates.locales() {
        let (_, texts) = templates.of(Some(locale));
        for key in KEYS {
            for severity in Severity::ALL {
                let values = Values {
                    days: Some(1),
                    person: Some("Kim"),
                    since: Some("SINCE"),
                    severity: Some(severity),
                };
                let Phrase { title, body } = Phrase::of(key, texts, &CRISIS_RESOURCES, values);
                check(locale, key, &format!("{title} {body}").to_lowercase());
            }
        }
    }
}

#[test]
fn nobody_is_pressed() {
    let list =
        |locale: &str| PRESSING.iter().find(|(known, _)| *known == locale).expect("words that press").1;
    let mut texts = 0;
    each_text(|locale, key, words| {
        texts += 1;
        for word in list(locale) {
            assert!(!words.contains(word), "{key} says {word:?} in {locale}: {words}");
        }
    });
    assert_eq!(texts, 2 * KEYS.len() * Severity::ALL.len());
    // And with the line of every country, and what stands on the buttons.
    each(|locale, occasion, _, message| {
        let labels: String = message.actions.iter().map(|action| action.text.as_str()).collect();
        let words = format!("{} {} {labels}", message.title, message.body).to_lowercase();
        for word in list(locale) {
            assert!(!words.contains(word), "{occasion:?} says {word:?} in {locale}: {words}");
        }
    });
    // What the daemon says at its start of texts of one's own it would say of these.
    assert_eq!(pressing(&Templates::default()), []);
}

#[test]
fn everything_is_filled_in_and_fits_where_it_is_shown() {
    each(|_, occasion, _, message| {
        let texts = message.actions.iter().map(|action| &action.text).chain([&message.title, &message.body]);
        for text in texts {
            assert!(!text.trim().is_empty() && !text.contains(['{', '}']), "{occasion:?} {text}");
            assert!(!text.contains("  ") && !text.contains('\n'), "{occasion:?} {text:?}");
        }
        assert!(message.title.chars().count() <= TITLE_CHARS_MAX, "{message:?}");
        assert!(message.body.chars().count() <= BODY_CHARS_MAX, "{message:?}");
    });
}

#[test]
fn money_is_not_spoken_of_in_a_crisis_nor_where_it_is_not_the_reason() {
    each(|locale, occasion, _, message| {
        let offers_to_pay = message.actions.iter().any(|action| action.action == "navigate_to_payment");
        assert_eq!(offers_to_pay, occasion.is_about_money(), "{occasion:?}");
        let about_care = [
            Occasion::CrisisActive,
            Occasion::GraceStarted(GraceReason::CrisisDetected),
            Occasion::GraceStarted(GraceReason::SystemError),
        ];
        if about_care.contains(&occasion) {
            let words = format!("{} {}", message.title, message.body).to_lowercase();
            assert!(MONEY.iter().all(|word| !words.contains(word)), "{locale} {words}");
        }
    });
}

#[test]
fn what_a_crisis_has_opened_is_spoken_of_as_a_crisis_and_nothing_else_is() {
    let title = |crisis, emergency: Option<&'static str>| {
        let floor = AccessDocument::floor("cus_1", 0);
        let document = AccessDocument {
            crisis: CrisisView { active: crisis, ..floor.crisis },
            emergency: EmergencyView { active: emergency.is_some(), reason: emergency, ..floor.emergency },
            grace: GraceView { reason: Some("payment_failure"), ..floor.grace },
            ..floor
        };
        Message::with(&document, &Templates::default(), None).unwrap().title
    };
    assert_eq!(title(true, None), "You Are Not Alone");
    assert_eq!(title(false, Some("crisis_detected")), "You Are Not Alone");
    for emergency in [None, Some("system_error"), Some("payment_failure")] {
        assert_eq!(title(false, emergency), "Your Therapeutic Journey Continues");
    }
    let nothing = AccessDocument::floor("cus_1", 0);
    assert_eq!(Message::with(&nothing, &Templates::default(), None), None);
}

#[test]
fn the_days_that_are_left_are_told_as_people_count_them() {
    let body = |locale, days| {
        let occasion = Occasion::GraceStarted(GraceReason::PaymentFailure);
        Message::of(occasion, days, &Templates::default(), Some(locale), &CRISIS_RESOURCES).1.body
    };
    assert!(body("en", 1).contains(" 1 day remaining") && body("en", 7).contains(" 7 days remaining"));
    assert!(body("de", 1).contains(" 1 Tag.") && body("de-AT", 7).contains(" 7 Tage."));
}

#[test]
fn a_contact_is_told_the_line_too_and_no_more_than_was_agreed_to() {
    let templates = Templates::default();
    for locale in ["en", "de"] {
        let of = |key| {
            let values = Values { person: Some("Kim {reach}"), since: Some("SINCE"), ..Values::default() };
            let (_, texts) = templates.of(Some(locale));
            let values = Values { severity: Some(Severity::Critical), ..values };
            Phrase::of(key, texts, &CRISIS_RESOURCES, values).body.to_lowercase()
        };
        let bodies = ["contact_minimal", "contact_standard", "contact_detailed"].map(of);
        for body in &bodies {
            // What a name holds stays as it is.
            assert!(body.contains("988") && body.starts_with("kim {reach} "), "{body}");
            assert!(MONEY.iter().all(|word| !body.contains(word)), "{body}");
            for word in ["phq", "gad", "suicid", "suizid", "diagnos", "crisis", "krise"] {
                assert!(!body.contains(word), "{word} in {body}");
            }
        }
        let [minimal, standard, detailed] = bodies;
        assert!(!minimal.contains("hard") && !minimal.contains("schwer"), "{minimal}");
        assert!(!standard.contains("since") && detailed.contains("since"), "{standard} {detailed}");
        assert!(detailed.contains("very serious") || detailed.contains("sehr ernst"), "{detailed}");
    }
    assert!(KEYS.iter().filter(|key| key.starts_with("contact_")).count() == 3);
}

#[test]
fn in_a_crisis_the_line_is_offered_first_and_money_is_the_reason_only_where_it_is() {
    let offered = |occasion| {
        let (_, message) = Message::of(occasion, 7, &Templates::default(), None, &CRISIS_RESOURCES);
        message.actions.iter().map(|action| action.action).collect::<Vec<_>>()
    };
    let in_crisis =
        ["call_hotline", "activate_crisis_button", "navigate_to_safety_plan", "navigate_to_breathing"];
    assert_eq!(offered(Occasion::CrisisActive), in_crisis);
    assert_eq!(offered(Occasion::Recovered), ["navigate_to_home", "activate_crisis_button"]);
    let about_money = occasions().into_iter().filter(|occasion| occasion.is_about_money());
    assert_eq!(
        about_money.count(),
        8,
        "a payment that failed and a subscription that ended, four times each"
    );
}
