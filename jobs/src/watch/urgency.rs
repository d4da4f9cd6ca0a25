//! Which jobs somebody in a crisis waits for, and how urgently.

use keepwell_workers::{
    job::{Job, NewJob},
    lane::Lane,
};

use crate::{
    care::severity::Severity,
    kinds,
    signal::{Signal, assessment, stated_severity},
    store::reports::is_crisis_event,
};

/// How severe the crisis is that `job` tells of; `None` if nobody waits for it. What is in the crisis lane only because
/// the person is marked, or because it may turn out to be a crisis, is as urgent as one of unknown severity (003: 200
/// ms).
pub fn urgency(job: &NewJob) -> Option<(&str, Severity)> {
    urgency_of(&job.kind, job.lane, job.subject.as_deref(), &job.payload)
}

/// The same of a job that was recorded as `job`.
pub fn recorded_urgency(job: &Job) -> Option<(&str, Severity)> {
    urgency_of(&job.kind, job.lane, job.subject.as_deref(), &job.payload)
}

/// The same of what a job was recorded with.
pub(crate) fn urgency_of<'j>(
    kind: &str,
    lane: Lane,
    subject: Option<&'j str>,
    payload: &[u8],
) -> Option<(&'j str, Severity)> {
    // What we made ourselves nobody waits for: nobody watches the watch, a canary is watched elsewhere, and a number of
    // a contact's that leads nowhere is no crisis of the person's.
    let customer = subject.filter(|_| lane == Lane::Crisis && is_crisis_event(kind))?;
    let data = || Signal::parse(payload).ok().map(|signal| signal.data);
    let severity = match kind {
        kinds::CRISIS_SIGNALLED => stated_severity(data().and_then(|data| data.fields(["severity"])[0])),
        kinds::ASSESSMENT_COMPLETED => {
            data().and_then(|data| assessment(data).crisis()).unwrap_or(Severity::High)
        }
        _ => Severity::High,
    };
    Some((customer, severity))
}
