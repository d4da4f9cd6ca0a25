//! Which types of Stripe's events change something: those that there are rules for, and what is configured to be
//! handled as one of them.

use std::{collections::BTreeMap, sync::Arc};

use crate::outbound::stripe::list::TYPES_MAX;

/// The types of events that there are rules for.
pub const HANDLED_TYPES: [&str; 6] = [
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "invoice.payment_failed",
    "invoice.payment_succeeded",
    "setup_intent.succeeded",
];

/// What is over for good.
const SUBSCRIPTION_ENDS: &str = "customer.subscription.deleted";

/// Further types, at most: Stripe lists events of no more types at once.
pub const FURTHER_TYPES_MAX: usize = TYPES_MAX - HANDLED_TYPES.len();

/// The longest name of a type, in bytes.
const TYPE_BYTES_MAX: usize = 100;

/// Further types that cannot be handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventTypeError {
    /// Nobody has so many.
    #[error("{0} further types are more than the {FURTHER_TYPES_MAX} that Stripe can be asked for at once")]
    TooMany(usize),
    /// It is none.
    #[error("`{0}` is no type of an event; one looks like `invoice.paid`")]
    NotAType(String),
    /// It would lose what it does.
    #[error("`{0}` is handled as what it is, and as nothing else")]
    Handled(String),
    /// The rules read what the object says, and another one says something else.
    #[error(
        "`{0}` cannot be handled as `{1}`, which is about another object; what is before the last dot has to be the same"
    )]
    OtherObject(String, String),
    /// Nothing that comes later takes an end back, so only the end itself is one.
    #[error("`{0}` cannot be handled as `{1}`: that ends a subscription for ever")]
    Ends(String, String),
    /// There is no rule for what it should be handled as.
    #[error("`{0}` cannot be handled as `{1}`; there are rules for {rules}", rules = HANDLED_TYPES.join(", "))]
    NoRule(String, String),
}

/// Which types change something. Cheap to clone; without anything configured [`HANDLED_TYPES`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventTypes(Arc<BTreeMap<String, &'static str>>);

impl EventTypes {
    /// [`HANDLED_TYPES`] and `further` ones, each with the one of these that it is handled as.
    pub fn new<'t>(further: impl IntoIterator<Item = (&'t str, &'t str)>) -> Result<Self, EventTypeError> {
        let mut types = BTreeMap::new();
        let shown = |name: &str| name.chars().take(TYPE_BYTES_MAX).collect::<String>();
        for (name, handled_as) in further {
            if !is_type(name) {
                return Err(EventTypeError::NotAType(shown(name)));
            }
            if HANDLED_TYPES.contains(&name) {
                return Err(EventTypeError::Handled(name.to_owned()));
            }
            let Some(handled_as) = HANDLED_TYPES.into_iter().find(|known| *known == handled_as) else {
                return Err(EventTypeError::NoRule(name.to_owned(), shown(handled_as)));
            };
            if handled_as == SUBSCRIPTION_ENDS {
                return Err(EventTypeError::Ends(name.to_owned(), handled_as.to_owned()));
            }
            if object_of(name) != object_of(handled_as) {
                return Err(EventTypeError::OtherObject(name.to_owned(), handled_as.to_owned()));
            }
            types.insert(name.to_owned(), handled_as);
        }
        match types.len() {
            count if count > FURTHER_TYPES_MAX => Err(EventTypeError::TooMany(count)),
            _ => Ok(Self(Arc::new(types))),
        }
    }

    /// What an event of type `name` is handled as: itself, unless something else is configured.
    pub fn handled_as<'t>(&self, name: &'t str) -> &'t str {
        self.0.get(name).copied().unwrap_or(name)
    }

    /// Every type that changes something.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        HANDLED_TYPES.into_iter().chain(self.0.keys().map(String::as_str))
    }
}

/// What events of type `name` are about, such as `invoice`.
fn object_of(name: &str) -> Option<&str> {
    Some(name.rsplit_once('.')?.0)
}

/// Whether `name` can be a type, such as `invoice.payment_failed`.
pub(crate) fn is_type(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.len() <= TYPE_BYTES_MAX && name.split('.').all(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_further_type_is_handled_as_one_that_there_is_a_rule_for_and_others_as_themselves() {
        let types = EventTypes::new([("invoice.paid", "invoice.payment_succeeded")]).unwrap();
        for (name, handled_as) in [
            ("invoice.paid", "invoice.payment_succeeded"),
            ("invoice.payment_succeeded", "invoice.payment_succeeded"),
            ("charge.refunded", "charge.refunded"),
        ] {
            assert_eq!(types.handled_as(name), handled_as);
            assert_eq!(EventTypes::default().handled_as(name), name);
        }
        assert_eq!(types.all().collect::<Vec<_>>(), [&HANDLED_TYPES[..], &["invoice.paid"]].concat());
        assert_eq!(EventTypes::default().all().collect::<Vec<_>>(), HANDLED_TYPES);
    }

    #[test]
    fn what_cannot_be_handled_is_refused_and_said_why() {
        let paid = "invoice.payment_succeeded";
        for (name, handled_as, why) in [
            ("invoice paid", paid, "`invoice paid` is no type"),
            ("", paid, "`` is no type"),
            ("invoice..paid", paid, "is no type"),
            ("invoice.payment_failed", paid, "`invoice.payment_failed` is handled as what it is"),
            (paid, paid, "is handled as what it is"),
            ("charge.failed", "invoice.payment_failed", "which is about another object"),
            ("customer.deleted", "customer.subscription.updated", "which is about another object"),
            ("customer.subscription.paused", SUBSCRIPTION_ENDS, "that ends a subscription for ever"),
            (
                "invoice.paid",
                "invoice.piad",
                "cannot be handled as `invoice.piad`; there are rules for customer.",
            ),
        ] {
            let error = EventTypes::new([(name, handled_as)]).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let named = |count| (0..count).map(|number| format!("invoice.number_{number}")).collect::<Vec<_>>();
        let (most, more) = (named(FURTHER_TYPES_MAX), named(FURTHER_TYPES_MAX + 1));
        let of = |names: &[String]| EventTypes::new(names.iter().map(|name| (name.as_str(), paid)));
        assert_eq!(of(&most).unwrap().all().count(), TYPES_MAX);
        assert_eq!(of(&more), Err(EventTypeError::TooMany(15)));
    }
}
