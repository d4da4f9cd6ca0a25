//! Stripe's lists, a page at a time, newest first: events (`GET /v1/events`, thirty days back) and subscriptions
//! (`GET /v1/subscriptions`).
//!
//! Pages have a pace of their own beside that of confirmations, so that neither waits for the other: one page at a time
//! and [`PAGES_PER_SECOND_MAX`]. What Stripe says about too many requests holds for both.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use keepwell_workers::{id::JobId, outcome::Outcome};

use super::{
    super::{
        http::{CertificatesError, HttpClient, HttpError, HttpLimits},
        pace::Pace,
    },
    CONNECT_TIMEOUT_MS, NotShown, StripeClient, Wanted, is_plain,
};
use crate::json::Json;

/// Pages that are asked for in a second: together with the confirmations below the 25 questions that Stripe allows test
/// keys.
pub const PAGES_PER_SECOND_MAX: u32 = 2;

/// Items on a page: as many as Stripe gives out.
pub const PAGE_ITEMS_MAX: usize = 100;

/// Types that can be asked for at once: as many as Stripe takes.
pub const TYPES_MAX: usize = 20;

/// How long a page may take, in milliseconds.
pub(crate) const PAGE_TIMEOUT_MS: u64 = 30_000;

/// The largest page that is read, in bytes: a hundred invoices of 60 KB take 6 MB.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// Items on a page after one of [`PAGE_ITEMS_MAX`] was too large to be read.
const FEWER_ITEMS: usize = 10;

/// What lists are asked for with.
pub(super) struct Lists {
    http: HttpClient,
    pace: Pace,
}

impl Lists {
    pub(super) fn new() -> Result<Self, CertificatesError> {
        let limits = HttpLimits {
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            timeout_ms: PAGE_TIMEOUT_MS,
            answer_bytes_max: PAGE_BYTES_MAX,
        };
        Ok(Self { http: HttpClient::new(limits, None)?, pace: Pace::new(1, PAGES_PER_SECOND_MAX) })
    }

    /// Nobody asks for `rest`.
    pub(super) fn rest(&self, rest: Duration) {
        self.pace.rest(rest);
    }
}

/// Which events are asked for.
#[derive(Debug, Clone, Copy)]
pub struct EventsAsked<'q> {
    /// Those that were made from this second on, since the Unix epoch.
    pub since_s: i64,
    /// Those that were made until this second.
    pub until_s: i64,
    /// Those of these types, at most [`TYPES_MAX`].
    pub types: &'q [String],
    /// Those that some webhook endpoint of the account has not taken yet.
    pub undelivered: bool,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Each item as Stripe wrote it.
    pub items: Vec<Bytes>,
    /// Behind which item the next page begins; `None` on the last page.
    pub next: Option<String>,
}

impl StripeClient {
    /// The events behind the one called `after`, as `job` asks for them. An `Err` is how its run ends.
    ///
    /// If the list is that of a connected account, Stripe leaves its id out of the events, and webhooks bring it; it is
    /// put in here, so that both are the same event.
    pub async fn events(
        &self,
        asked: &EventsAsked<'_>,
        after: Option<&str>,
        job: JobId,
    ) -> Result<Page, Outcome> {
        let path = events_path(asked).map_err(NotShown::outcome)?;
        let mut page = self.page(Wanted::Events, &path, after, job).await?;
        if let Some(account) = self.0.account.as_deref().filter(|account| is_plain(account)) {
            page.items = page.items.into_iter().map(|event| of_account(event, account)).collect();
        }
        Ok(page)
    }

    /// The subscriptions behind the one called `after`, whatever their status is.
    pub async fn subscriptions(&self, after: Option<&str>, job: JobId) -> Result<Page, Outcome> {
        self.page(Wanted::Subscriptions, "/v1/subscriptions?status=all", after, job).await
    }

    /// The connected account whose lists are asked for.
    pub fn account(&self) -> Option<&str> {
        self.0.account.as_deref()
    }

    async fn page(
        &self,
        wanted: Wanted,
        path: &str,
        after: Option<&str>,
        job: JobId,
    ) -> Result<Page, Outcome> {
        let _place = self.0.lists.pace.enter().map_err(|early| self.too_early(early, job))?;
        let mut page = self.ask_page(wanted, path, after, PAGE_ITEMS_MAX).await;
        if page == Err(NotShown::Silent(HttpError::TooLong)) {
            page = self.ask_page(wanted, path, after, FEWER_ITEMS).await;
        }
        page.map_err(NotShown::outcome)
    }

    async fn ask_page(
        &self,
        wanted: Wanted,
        path: &str,
        after: Option<&str>,
        items: usize,
    ) -> Result<Page, NotShown> {
        let mut path = format!("{path}&limit={items}");
        if let Some(after) = after {
            // Writing to a String cannot fail.
            let _ = write!(
                path,
                "&starting_after={}",
                Some(after).filter(|id| is_plain(id)).ok_or(NotShown::Id)?
            );
        }
        let answer = self.0.lists.http.send(self.get(&path, self.0.account.as_deref())?).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refused(wanted, &answer));
        }
        read_page(&answer.body, after).ok_or(NotShown::Garbage)
    }
}

fn events_path(asked: &EventsAsked<'_>) -> Result<String, NotShown> {
    let EventsAsked { since_s, until_s, types, undelivered } = *asked;
    // Brackets as a query has them.
    let mut path = format!("/v1/events?created%5Bgte%5D={since_s}&created%5Blte%5D={until_s}");
    for event_type in types {
        if types.len() > TYPES_MAX || !event_type.split('.').all(is_plain) {
            return Err(NotShown::Id);
        }
        path.push_str("&types%5B%5D=");
        path.push_str(event_type);
    }
    if undelivered {
        path.push_str("&delivery_success=false");
    }
    Ok(path)
}

/// The page in `body`; `None` if it is none, or if the next one would be the same again.
fn read_page(body: &Bytes, after: Option<&str>) -> Option<Page> {
    let json = Json::parse(body).ok()?;
    let [object, data, more] = json.fields(["object", "data", "has_more"]);
    if object?.text().as_deref() != Some("list") || !data?.as_str().starts_with('[') {
        return None;
    }
    let items = data?.items(PAGE_ITEMS_MAX);
    let id = |item: &Json<'_>| Some(item.at(&["id"])?.id()?.into_owned()).filter(|id| is_plain(id));
    let next = if more?.flag()? {
        Some(id(items.last()?).filter(|next| Some(next.as_str()) != after)?)
    } else {
        None
    };
    let items = items.into_iter().map(|item| body.slice_ref(item.as_str().as_bytes())).collect();
    Some(Page { items, next })
}

/// `event`, which says whose it is: `account`'s, unless it says so itself.
fn of_account(event: Bytes, account: &str) -> Bytes {
    let said = |json: Json<'_>| json.at(&["account"]).or_else(|| json.at(&["context"])).is_some();
    if Json::parse(&event).map_or(true, said) {
        return event;
    }
    let Some(rest) = event.strip_prefix(b"{") else { return event };
    // At the end another one, which says `null`, would count.
    let Some(rest) = rest.strip_suffix(b"}") else { return event };
    [b"{".as_slice(), rest, format!(",\"account\":\"{account}\"}}").as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, after: Option<&str>) -> Option<Page> {
        read_page(&Bytes::from(body.to_owned()), after)
    }

    #[test]
    fn a_page_is_read_item_by_item_as_stripe_wrote_it() {
        let page = read(
            r#"{"object":"list","data":[{"id":"evt_2","a": 1},{"id":"evt_1"}],"has_more":true,"url":"/v1/events"}"#,
            Some("evt_3"),
        );
        let items = vec![Bytes::from(r#"{"id":"evt_2","a": 1}"#), Bytes::from(r#"{"id":"evt_1"}"#)];
        assert_eq!(page, Some(Page { items, next: Some("evt_1".into()) }));
        let last = read(r#"{"object":"list","data":[],"has_more":false}"#, Some("evt_1"));
        assert_eq!(last, Some(Page { items: vec![], next: None }));
    }

    #[test]
    fn what_is_no_page_or_would_go_round_in_a_circle_is_none() {
        for wrong in [
            "<html>",
            "[]",
            r#"{"object":"event","data":[],"has_more":false}"#,
            r#"{"object":"list","data":{},"has_more":false}"#,
            r#"{"object":"list","data":[]}"#,
            r#"{"object":"list","data":[],"has_more":true}"#,
            r#"{"object":"list","data":[{"id":"evt_1"}],"has_more":true}"#,
            r#"{"object":"list","data":[{"id":"evt_2&x"}],"has_more":true}"#,
            r#"{"object":"list","data":[{"object":"event"}],"has_more":true}"#,
        ] {
            assert_eq!(read(wrong, Some("evt_1")), None, "{wrong}");
        }
    }

    #[test]
    fn events_are_asked_for_by_time_type_and_delivery() {
        let types = ["invoice.payment_failed".to_owned(), "setup_intent.succeeded".to_owned()];
        let asked = EventsAsked { since_s: 5, until_s: 9, types: &types, undelivered: true };
        let path = "/v1/events?created%5Bgte%5D=5&created%5Blte%5D=9&types%5B%5D=invoice.payment_failed\
            &types%5B%5D=setup_intent.succeeded&delivery_success=false";
        assert_eq!(events_path(&asked), Ok(path.to_owned()));
        let too_many = vec!["a".to_owned(); TYPES_MAX + 1];
        for types in [&["a&limit=1".to_owned()][..], &["a..b".to_owned()], &too_many] {
            assert_eq!(events_path(&EventsAsked { types, ..asked }), Err(NotShown::Id));
        }
    }

    #[test]
    fn an_event_of_a_connected_account_says_so() {
        let of = |event: &'static str| of_account(Bytes::from(event), "acct_1");
        assert_eq!(of(r#"{"id":"evt_1"}"#), r#"{"id":"evt_1","account":"acct_1"}"#);
        let null = of(r#"{"id":"evt_1","account":null}"#);
        let said = Json::parse(&null).ok().and_then(|json| json.at(&["account"])?.text());
        assert_eq!(said.as_deref(), Some("acct_1"));
        for kept in [r#"{"id":"evt_1","account":"acct_2"}"#, r#"{"context":"acct_2"}"#, "[]"] {
            assert_eq!(of(kept), kept);
        }
    }
}
