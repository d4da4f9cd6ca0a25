//! Identities: of jobs (sortable by birth) and of nodes (random, one per life of a process).

use std::{fmt, str::FromStr};

use uuid::{Builder, Uuid};

use crate::{clock::UnixMs, clocks::Recorder};

/// A job's identity: a UUIDv7, so ids sort by the time of their creation and carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub Uuid);

impl JobId {
    /// The largest id that there can be.
    pub(crate) const MAX: Self = Self(Uuid::max());

    /// A fresh id born at `now_ms`. Its chance is this thread's generator's: the system need not be asked for each.
    pub fn new(now_ms: UnixMs) -> Self {
        let millis = u64::try_from(now_ms).unwrap_or(0);
        Self(Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid())
    }

    /// The id born at `now_ms` that everybody comes to who knows the same `name`, digested to ten bytes.
    pub fn named(now_ms: UnixMs, name: &[u8; 10]) -> Self {
        let millis = u64::try_from(now_ms).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, name).into_uuid())
    }

    /// The smallest id that can be born at `ms`; for searching by time.
    pub fn earliest_at(ms: UnixMs) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&u64::try_from(ms).unwrap_or(0).to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    /// The instant of birth in milliseconds since the Unix epoch (the first 48 bits of a UUIDv7).
    pub fn created_ms(&self) -> UnixMs {
        let bytes = self.0.as_bytes();
        bytes[..6].iter().fold(0, |ms, byte| (ms << 8) | i64::from(*byte))
    }

    /// The same, known as recorded by `recorder`: its last three bytes. What is left to chance is 50 bits for each
    /// millisecond.
    pub(crate) fn recorded_by(self, recorder: Recorder) -> Self {
        let mut bytes = self.0.into_bytes();
        bytes[13..].copy_from_slice(&recorder.0);
        Self(Uuid::from_bytes(bytes))
    }

    /// Who has recorded it, as far as ids say.
    pub(crate) fn recorder(&self) -> Recorder {
        let bytes = self.0.as_bytes();
        Recorder([bytes[13], bytes[14], bytes[15]])
    }

    /// The 16 bytes under which the lanes know the job.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id in the first 16 bytes of `bytes`; `None` if there are fewer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let first: [u8; 16] = bytes.get(..16)?.try_into().ok()?;
        Some(Self(Uuid::from_bytes(first)))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// The identity of one life of one worker process. It is drawn anew at every start, and again when the process finds
/// that its lease was taken away, so it doubles as the fencing token of everything that the process has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// A random identity.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_id_carries_the_time_of_its_birth() {
        let id = JobId::new(1_700_000_123_456);
        assert_eq!(id.created_ms(), 1_700_000_123_456);
        assert_eq!(id.to_string().parse::<JobId>(), Ok(id));
        assert_eq!(JobId::from_bytes(id.as_bytes()), Some(id));
        assert_eq!(id.0.get_version_num(), 7);
        assert_ne!(JobId::new(1_700_000_123_456), id);
    }
}
