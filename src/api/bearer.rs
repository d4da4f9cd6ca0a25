//! Bearer tokens: who may ask.

use std::fmt;

use http::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// The tokens of which any one opens a door. Only their hashes are kept.
#[derive(Clone, Default)]
pub struct BearerTokens {
    digests: Vec<[u8; 32]>,
}

impl BearerTokens {
    /// These tokens; with none of them the door stays shut.
    pub fn new<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Self {
        Self { digests: tokens.into_iter().map(digest).collect() }
    }

    /// Whether `headers` carry one of them (`Authorization: Bearer …`, exactly once). Takes equally long for
    /// every wrong token: each is compared by its hash, and with all of them.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(token) = presented(headers) else { return false };
        let presented = digest(token);
        let found =
            self.digests.iter().fold(Choice::from(0), |found, digest| found | digest.ct_eq(&presented));
        found.into()
    }
}

impl fmt::Debug for BearerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BearerTokens").field("count", &self.digests.len()).finish_non_exhaustive()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn any_of_the_tokens_opens_and_nothing_else_does() {
        let tokens = BearerTokens::new(["old-token", "new-token"]);
        for good in ["Bearer old-token", "bearer new-token", "BEARER  new-token"] {
            assert!(tokens.admit(&headers(&[good])), "{good}");
        }
        for bad in
            ["Bearer old", "Bearer old-token-and-more", "Bearer", "Bearer ", "Basic old-token", "old-token"]
        {
            assert!(!tokens.admit(&headers(&[bad])), "{bad}");
        }
        assert!(!tokens.admit(&headers(&[])));
        assert!(!tokens.admit(&headers(&["Bearer old-token", "Bearer old-token"])));
    }

    #[test]
    fn without_tokens_the_door_stays_shut() {
        assert!(!BearerTokens::default().admit(&headers(&["Bearer anything"])));
    }

    #[test]
    fn tokens_are_never_shown() {
        assert!(!format!("{:?}", BearerTokens::new(["hidden"])).contains("hidden"));
    }
}
