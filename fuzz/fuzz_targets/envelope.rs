//! Verified bodies of both sources: none panics, and what is taken in can be recorded as it came.
#![no_main]

use bytes::Bytes;
use keepwell_jobs::{
    care::definitions::Definitions,
    intake::{Intake, event_types::EventTypes, read_app, read_stripe},
    marks::Marks,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let (body, marks) = (Bytes::copy_from_slice(body), Marks::default());
    let signal = read_app("msg_1", &body, &marks, &Definitions::default());
    for intake in [read_stripe(&body, &marks, &EventTypes::default()), signal].into_iter().flatten() {
        let Intake { job, event_type, event_id, .. } = intake;
        assert_eq!(job.payload, body, "the body is recorded as it came");
        assert!(job.dedupe_key.is_some_and(|key| key.contains(&event_id)), "a duplicate can be told");
        assert!(!event_type.is_empty() && !event_id.is_empty());
        assert!(std::str::from_utf8(&body).is_ok());
    }
});
