//! What is known when it is decided whom to tell of a crisis: looked at when it becomes known (`care.contacts_due`),
//! and again when each contact is told (`care.contact_told`), because much may have been said in between.

use keepwell_workers::{clock::UnixMs, job::NewJob, lane::Lane, outcome::Outcome};
use serde::{Deserialize, Serialize};

use crate::{
    Care,
    care::{
        contacts::{Contact, Contacts, Decision, Skipped, Told, agrees},
        crisis::{Crisis, Severity},
        facts::Facts,
        home::Home,
    },
    json::Json,
    kinds,
    store::{Connected, NoticeKey, PersonDataKind, contact_number, contacts_told, person_data},
    unread::Unread,
};

/// What a look is about.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct About {
    /// Who is in a crisis.
    pub(crate) customer: String,
    /// What made it known.
    pub(crate) cause: String,
    /// The one contact that it is about; `None` if it is about all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) contact: Option<i64>,
}

impl About {
    /// What the payload of a job says.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// A look at whom to tell.
    pub(crate) fn look(&self) -> NewJob {
        self.job(kinds::CONTACTS_DUE).dedupe_key(format!("contacts:{}:{}", self.customer, self.cause))
    }

    /// The same look at the contact `number`, when their hours have begun.
    pub(crate) fn later(&self, number: i64, begin_ms: UnixMs) -> NewJob {
        let key = format!("contact:{number:016x}:{begin_ms}:{}", self.cause);
        self.only(number).job(kinds::CONTACTS_DUE).dedupe_key(key).run_at_ms(begin_ms)
    }

    /// The contact `number` is told.
    pub(crate) fn tell(&self, number: i64) -> NewJob {
        self.only(number).job(kinds::CONTACT_TOLD)
    }

    /// The row that says what becomes of the contact `number`.
    pub(crate) fn notice(&self, number: i64) -> NoticeKey<'_> {
        NoticeKey { customer: &self.customer, cause: &self.cause, contact: number }
    }

    fn only(&self, number: i64) -> Self {
        Self { customer: self.customer.clone(), cause: self.cause.clone(), contact: Some(number) }
    }

    fn job(&self, kind: &'static str) -> NewJob {
        // Texts and numbers are always written.
        let payload = serde_json::to_vec(self).unwrap_or_default();
        NewJob::new(kind, Lane::Crisis, payload).subject(&*self.customer)
    }
}

/// What is known.
pub(crate) struct Look {
    /// The crisis, if it is still open.
    pub(crate) crisis: Option<Crisis>,
    /// Where the person lives.
    pub(crate) home: Home,
    /// Whom the person has named.
    pub(crate) contacts: Contacts,
    /// The person has agreed.
    agreed: bool,
    /// Who was told lately.
    told: Vec<(i64, Told)>,
    /// How a run ends that would have to know everything the person has said, if something of it cannot be read.
    unreadable: Option<Outcome>,
    now_ms: UnixMs,
}

impl Look {
    /// What is known of the person whom `facts` are about, and what is `unread` of what they said. `besides` is what
    /// made the crisis known to whom it is asked for: what has become of contacts because of that is no reason
    /// against telling them. `None` if nobody was named.
    pub(crate) async fn at(
        connected: &mut impl Connected,
        care: &Care,
        facts: &Facts,
        unread: &[Unread],
        besides: Option<&str>,
        now_ms: UnixMs,
    ) -> Result<Option<Self>, sqlx::Error> {
        let customer = &*facts.customer;
        let mut stated = [None, None];
        for (kind, stated) in [PersonDataKind::Contacts, PersonDataKind::Consent].into_iter().zip(&mut stated)
        {
            let known = person_data(connected, &care.keys, customer, kind).await?;
            *stated = Unread::on_top_of(unread, kind, known);
        }
        let unreadable = unread.iter().find_map(|one| one.unreadable(&stated));
        let [Some(contacts), consent] = stated else { return Ok(None) };
        Ok(Some(Self {
            crisis: facts.crisis(now_ms),
            home: facts.home.clone(),
            contacts: Json::parse(&contacts.value).map(Contacts::read).unwrap_or_default(),
            agreed: consent.is_some_and(|consent| Json::parse(&consent.value).is_ok_and(agrees)),
            told: contacts_told(connected, customer, besides, now_ms).await?,
            unreadable,
            now_ms,
        }))
    }

    /// Every contact with its number.
    pub(crate) fn list<'l>(&'l self, customer: &'l str) -> impl Iterator<Item = (i64, &'l Contact)> {
        self.contacts.list.iter().map(move |contact| (contact_number(customer, &contact.id), contact))
    }

    /// How severe the crisis is, or was at least.
    pub(crate) fn severity(&self) -> Severity {
        self.crisis.map_or(Severity::Moderate, |crisis| crisis.severity)
    }

    /// An `Err` is how the run ends, because what the person said in a job that cannot be read may be a no.
    pub(crate) fn all_read(&self) -> Result<(), Outcome> {
        self.unreadable.clone().map_or(Ok(()), Err)
    }

    /// What becomes of `contact`, whose number is `number`.
    pub(crate) fn decide(&self, number: i64, contact: &Contact) -> Decision {
        if self.crisis.is_none() {
            return Decision::Skip(Skipped::CrisisOver);
        }
        // Of several times the gravest counts.
        let told = self.told.iter().filter(|(known, _)| *known == number).map(|(_, told)| *told);
        let told = told.max_by_key(|told| told.severity);
        self.contacts.decide(contact, self.severity(), self.agreed, told, self.home.time_zone(), self.now_ms)
    }
}
