//! What people have said about their emergency contacts, as the app sends it (003, emergency contact coordination).

use std::borrow::Cow;

use chrono_tz::Tz;

use super::{
    crisis::Severity,
    home::{locale_tag, time_zone_named},
    hours::Hours,
    phrases::PERSON_CHARS_MAX,
};
use crate::json::{Json, is_id};

/// Contacts that are told; 003 has three (primary, secondary, therapeutic).
pub const CONTACTS_MAX: usize = 10;

/// Contacts that are looked at for the most important [`CONTACTS_MAX`] of them.
const CONTACTS_READ_MAX: usize = 100;

/// Triggers that are looked at, with those that mean nothing to us.
const TRIGGERS_READ_MAX: usize = 20;

/// How somebody can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A text message.
    Sms,
    /// A call.
    Call,
    /// An e-mail.
    Email,
    /// A push notification to the contact's own app.
    Push,
}

impl Method {
    /// Every method, the most direct first.
    pub const ALL: [Method; 4] = [Method::Sms, Method::Call, Method::Email, Method::Push];

    /// Its name at the gateway.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Sms => "sms",
            Method::Call => "call",
            Method::Email => "email",
            Method::Push => "push",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "text" => Some(Method::Sms),
            "phone" => Some(Method::Call),
            name => Self::ALL.into_iter().find(|method| method.name() == name),
        }
    }
}

/// How much a contact is told (003, `contextSharingLevel`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharing {
    /// That the person would be glad to hear from them.
    #[default]
    Minimal,
    /// And that they may be going through a hard time.
    Standard,
    /// And since when, and how hard.
    Detailed,
}

impl Sharing {
    /// The text that says as much.
    pub const fn key(self) -> &'static str {
        match self {
            Sharing::Minimal => "contact_minimal",
            Sharing::Standard => "contact_standard",
            Sharing::Detailed => "contact_detailed",
        }
    }
}

/// Somebody to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// The app's id of the contact.
    pub id: String,
    /// They agreed to be told.
    pub consents: bool,
    /// The lower, the earlier.
    pub priority: i64,
    /// When they can be reached.
    pub hours: Hours,
    /// Where they live.
    pub time_zone: Option<Tz>,
    /// The language they are told in.
    pub locale: Option<String>,
    /// How they like to be reached.
    pub preferred: Option<Method>,
    /// The number for texts and calls.
    pub phone: Option<String>,
    /// The address for mail.
    pub email: Option<String>,
    /// The token for push notifications.
    pub push: Option<String>,
    /// Ways that the person has closed.
    pub closed: Vec<Method>,
}

/// What a person has said about whom to tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contacts {
    /// Whom, in the order in which they are told.
    pub list: Vec<Contact>,
    /// Whether they are told without the person doing anything.
    pub automatic: bool,
    /// From which severities on.
    pub triggers: Vec<Severity>,
    /// How much.
    pub sharing: Sharing,
    /// How the person is called before them.
    pub person: Option<String>,
}

impl Contacts {
    /// Reads the data of `contacts.updated`; names may be written in snake case or, as in the app, in camel case.
    /// Contacts stand in a list (`contacts`), or by name as in 003 (`primaryContact`, `secondaryContact`,
    /// `therapeuticContact`), or both; of two with the same id the earlier one counts, and has agreed only if both say
    /// so.
    pub fn read(data: Json<'_>) -> Self {
        let [list, automatic, automatic_camel, triggers, triggers_camel] = data.fields([
            "contacts",
            "automatic_notification",
            "automaticNotification",
            "crisis_level_triggers",
            "crisisLevelTriggers",
        ]);
        let [sharing, sharing_camel, person, person_camel] =
            data.fields(["context_sharing_level", "contextSharingLevel", "display_name", "displayName"]);
        let closed = closed_ways(data);
        let listed = list.map_or_else(Vec::new, |list| list.items(CONTACTS_READ_MAX)).into_iter().enumerate();
        let listed = listed.map(|(number, contact)| Contact::read(contact, &format!("number {number}")));
        let mut list: Vec<Contact> = Vec::new();
        for contact in named(data).into_iter().chain(listed) {
            match list.iter_mut().find(|known| known.id == contact.id) {
                Some(known) => known.consents &= contact.consents,
                None => list.push(Contact { closed: closed.clone(), ..contact }),
            }
        }
        list.sort_by_key(|contact| contact.priority);
        list.truncate(CONTACTS_MAX);
        let triggers = triggers.or(triggers_camel).map(|triggers| {
            let names = triggers.items(TRIGGERS_READ_MAX).into_iter().filter_map(Json::text);
            names.filter_map(|name| Severity::from_name(&name)).collect()
        });
        let sharing = sharing.or(sharing_camel).and_then(Json::text).filter(|_| !keeps_context(data));
        let person = person.or(person_camel).and_then(Json::text);
        Self {
            list,
            automatic: automatic.or(automatic_camel).is_some_and(Json::says_yes),
            triggers: triggers.unwrap_or_else(|| vec![Severity::Critical]),
            sharing: match sharing.as_deref() {
                Some("detailed") => Sharing::Detailed,
                Some("standard") => Sharing::Standard,
                _ => Sharing::Minimal,
            },
            person: person.and_then(|name| plain(&name, PERSON_CHARS_MAX)),
        }
    }

    /// Whether somebody would be told by `known`, which may be the newer one, and is not by this, or of less, or not
    /// that way. Whoever is not on this list may have been added since: that takes back nothing.
    pub fn takes_back(&self, known: &Self) -> bool {
        known.told().any(|contact| {
            let reached = self.named(contact).is_none_or(|still| {
                still.consents && contact.methods().iter().all(|method| still.methods().contains(method))
            });
            let mildest = |contacts: &Self| contacts.triggers.iter().min().copied();
            let as_mild = match (mildest(known), mildest(self)) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(known), Some(stated)) => stated <= known,
            };
            !(self.automatic && reached && as_mild && self.sharing >= known.sharing)
        })
    }

    /// Whether somebody would be told by `known`, which is older, and is not on this list any more.
    pub fn leaves_out(&self, known: &Self) -> bool {
        known.told().any(|contact| self.named(contact).is_none())
    }

    fn told(&self) -> impl Iterator<Item = &Contact> {
        self.list.iter().filter(|contact| self.automatic && contact.consents)
    }

    fn named(&self, contact: &Contact) -> Option<&Contact> {
        self.list.iter().find(|named| named.id == contact.id)
    }
}

/// The contacts that stand by name, in the order of their names (003).
fn named(data: Json<'_>) -> Vec<Contact> {
    let [primary, secondary, therapeutic] =
        data.fields(["primary_contact", "secondary_contact", "therapeutic_contact"]);
    let [primary_camel, secondary_camel, therapeutic_camel] =
        data.fields(["primaryContact", "secondaryContact", "therapeuticContact"]);
    let named = [
        ("primary", primary.or(primary_camel)),
        ("secondary", secondary.or(secondary_camel)),
        ("therapeutic", therapeutic.or(therapeutic_camel)),
    ];
    named.into_iter().filter_map(|(name, contact)| Some(Contact::read(contact?, name))).collect()
}

/// The ways that the person has closed for all contacts (003, `smsNotification`, `callInitiation`): only a no closes
/// one.
fn closed_ways(data: Json<'_>) -> Vec<Method> {
    let [sms, sms_camel, call, call_camel] =
        data.fields(["sms_notification", "smsNotification", "call_initiation", "callInitiation"]);
    let ways = [(Method::Sms, sms.or(sms_camel)), (Method::Call, call.or(call_camel))];
    ways.into_iter().filter(|(_, open)| open.is_some_and(Json::says_no)).map(|(way, _)| way).collect()
}

/// Whether the person keeps to themselves what happens in the app (003, `appContextSharing`), or has not chosen by
/// themselves how much is told (`userControlledSharing`): then it is the least.
fn keeps_context(data: Json<'_>) -> bool {
    let [app, app_camel, own, own_camel] = data.fields([
        "app_context_sharing",
        "appContextSharing",
        "user_controlled_sharing",
        "userControlledSharing",
    ]);
    [app.or(app_camel), own.or(own_camel)].into_iter().flatten().any(Json::says_no)
}

/// Whether the data of `consent.updated` agree to contacts being told.
pub fn agrees(data: Json<'_>) -> bool {
    let [consent, camel] = data.fields(["crisis_contact_consent", "crisisContactConsent"]);
    consent.or(camel).is_some_and(Json::says_yes)
}

impl Contact {
    /// Where the method `method` reaches them.
    pub fn address(&self, method: Method) -> Option<&str> {
        match method {
            Method::Sms | Method::Call => self.phone.as_deref(),
            Method::Email => self.email.as_deref(),
            Method::Push => self.push.as_deref(),
        }
    }

    /// Every way that leads somewhere: the preferred one, then the others, the most direct first.
    pub fn methods(&self) -> Vec<Method> {
        let others = Method::ALL.into_iter().filter(|method| Some(*method) != self.preferred);
        let ways = self.preferred.into_iter().chain(others);
        ways.filter(|method| !self.closed.contains(method) && self.address(*method).is_some()).collect()
    }

    /// Reads one; `name` is its id if it has none of its own.
    fn read(data: Json<'_>, name: &str) -> Self {
        let [id, consent, consent_camel, priority, hours, hours_camel, zone, zone_camel] = data.fields([
            "id",
            "consent_to_contact",
            "consentToContact",
            "priority",
            "available_hours",
            "availableHours",
            "time_zone",
            "timeZone",
        ]);
        let [preferred, preferred_camel, phone, email, push, locale] = data.fields([
            "preferred_contact_method",
            "preferredContactMethod",
            "phone",
            "email",
            "push",
            "locale",
        ]);
        let address = |json: Option<Json<'_>>| json.and_then(Json::id).map(|text| text.trim().to_owned());
        let address = |json| address(json).filter(|text| is_id(text));
        let text = |one: Option<Json<'_>>, other: Option<Json<'_>>| {
            one.or(other).and_then(Json::text).map(Cow::into_owned)
        };
        Self {
            id: address(id).unwrap_or_else(|| name.to_owned()),
            consents: consent.or(consent_camel).is_some_and(Json::says_yes),
            priority: priority.and_then(Json::integer).unwrap_or(i64::MAX),
            hours: Hours::read(&text(hours, hours_camel).unwrap_or_default()),
            time_zone: text(zone, zone_camel).and_then(|name| time_zone_named(&name)),
            locale: text(locale, None).and_then(|tag| locale_tag(&tag)),
            preferred: text(preferred, preferred_camel).and_then(|name| Method::from_name(&name)),
            phone: address(phone),
            email: address(email),
            push: address(push),
            closed: Vec::new(),
        }
    }
}

/// `text` on one line, at most `chars_max` characters of it.
fn plain(text: &str, chars_max: usize) -> Option<String> {
    let plain: String = text.chars().filter(|c| !c.is_control()).take(chars_max).collect();
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}
