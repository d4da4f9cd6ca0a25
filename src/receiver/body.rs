//! Bodies: refused from their headers where those already say enough, read up to a cap, limited in time.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::refusal::Refusal;

/// What is set aside at most for a body before it arrives, in bytes; its declared length is only a claim.
const CLAIM_BYTES_MAX: usize = 64 << 10;

/// Refuses a body for what the headers say about it: its type, its encoding, its length.
pub(super) fn check_headers(
    headers: &HeaderMap,
    size: &SizeHint,
    body_bytes_max: usize,
) -> Result<(), Refusal> {
    if !headers.get_all(CONTENT_TYPE).iter().all(|value| is_json(value.as_bytes())) {
        return Err(Refusal::UnsupportedMediaType);
    }
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    if !encodings.all(|value| value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::UnsupportedContentEncoding);
    }
    if size.lower() > body_bytes_max as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    Ok(())
}

/// Reads a whole body of 1 to `body_bytes_max` bytes.
pub(super) async fn read<B>(mut body: B, body_bytes_max: usize) -> Result<Bytes, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let claimed = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut whole: Option<BytesMut> = None;
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::BodyUnreadable)?.into_data() else { continue };
        let have = whole.as_ref().map_or(first.len(), BytesMut::len);
        if data.len() > body_bytes_max - have {
            return Err(Refusal::BodyTooLarge);
        }
        if have == 0 {
            // Most bodies come in one piece, which is then passed on as it is.
            first = data;
            continue;
        }
        whole
            .get_or_insert_with(|| {
                let mut start =
                    BytesMut::with_capacity(claimed.min(CLAIM_BYTES_MAX).max(first.len() + data.len()));
                start.extend_from_slice(&first);
                start
            })
            .extend_from_slice(&data);
    }
    let whole = whole.map_or(first, BytesMut::freeze);
    if whole.is_empty() { Err(Refusal::BodyEmpty) } else { Ok(whole) }
}

/// `application/json`, or any type with the suffix `+json`; parameters are passed over.
fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let essence = essence.to_ascii_lowercase();
    let mut halves = essence.split(|byte| *byte == b'/');
    match (halves.next(), halves.next(), halves.next()) {
        (Some(b"application"), Some(b"json"), None) => true,
        (Some(kind), Some(subtype), None) => {
            !kind.is_empty() && subtype.len() > 5 && subtype.ends_with(b"+json")
        }
        _ => false,
    }
}

/// A body that fails if it has not ended in time. For the requests that are passed on to the fallback service, so that
/// none of its handlers waits for a slow sender for ever.
pub(super) struct TimedBody<B> {
    body: B,
    deadline: Pin<Box<Sleep>>,
}

impl<B> TimedBody<B> {
    pub(super) fn new(body: B, read: Duration) -> Self {
        Self { body, deadline: Box::pin(sleep(read)) }
    }
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
pub(super) struct TooSlow;

impl<B> Body for TimedBody<B>
where
    B: Body + Unpin,
    B::Error: Into<axum::BoxError>,
{
    type Data = B::Data;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, axum::BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(Box::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::VecDeque, io};

    use http::HeaderValue;
    use http_body_util::StreamBody;

    use super::*;

    fn pieces(pieces: &[&'static [u8]]) -> impl Body<Data = Bytes, Error = io::Error> + Unpin {
        let frames: VecDeque<_> =
            pieces.iter().map(|piece| Ok::<_, io::Error>(Frame::data(Bytes::from_static(piece)))).collect();
        StreamBody::new(futures_util::stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_the_cap_and_not_beyond() {
        assert_eq!(read(pieces(&[b"abcd"]), 4).await, Ok(Bytes::from_static(b"abcd")));
        assert_eq!(read(pieces(&[b"", b"ab", b"", b"c", b"d"]), 4).await, Ok(Bytes::from_static(b"abcd")));
        assert_eq!(read(pieces(&[b"abcde"]), 4).await, Err(Refusal::BodyTooLarge));
        assert_eq!(read(pieces(&[b"ab", b"cd", b"e"]), 4).await, Err(Refusal::BodyTooLarge));
        assert_eq!(read(pieces(&[]), 4).await, Err(Refusal::BodyEmpty));
        assert_eq!(read(pieces(&[b"", b""]), 4).await, Err(Refusal::BodyEmpty));
    }

    #[test]
    fn a_body_is_refused_for_what_its_headers_say() {
        let check = |lines: &[(&'static str, &'static str)], length: u64| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            check_headers(&headers, &SizeHint::with_exact(length), 100)
        };
        for good in [
            vec![],
            vec![("content-type", "application/json")],
            vec![("content-type", "Application/JSON; charset=utf-8")],
            vec![("content-type", "application/cloudevents+json")],
            vec![("content-encoding", "Identity")],
        ] {
            assert_eq!(check(&good, 100), Ok(()), "{good:?}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "json",
            "",
            "application/jsonx",
            "a/+json",
            "a/b/c+json",
        ] {
            assert_eq!(check(&[("content-type", bad)], 1), Err(Refusal::UnsupportedMediaType), "{bad}");
        }
        let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
        assert_eq!(check(&twice, 1), Err(Refusal::UnsupportedMediaType));
        for bad in ["gzip", "identity, gzip", "br", ""] {
            let encoding = [("content-encoding", bad)];
            assert_eq!(check(&encoding, 1), Err(Refusal::UnsupportedContentEncoding), "{bad}");
        }
        assert_eq!(check(&[], 101), Err(Refusal::BodyTooLarge));
    }

    #[tokio::test]
    async fn a_timed_body_fails_when_its_time_is_over_and_not_before() {
        let stalled = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, io::Error>>());
        let mut stalled = TimedBody::new(stalled, Duration::from_millis(1));
        assert!(stalled.frame().await.unwrap().unwrap_err().is::<TooSlow>());
        let mut prompt = TimedBody::new(pieces(&[b"a"]), Duration::ZERO);
        assert_eq!(prompt.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    }
}
