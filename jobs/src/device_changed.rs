//! `device.registered` and `device.removed`.

use async_trait::async_trait;
use keepwell_workers::{
    database::Transaction,
    handler::{ApplyError, Handler, Prepared},
    job::Job,
    outcome::Outcome,
};

use crate::{
    Care,
    event::unreadable,
    json::Json,
    kinds,
    signal::Signal,
    store::{keep_device, taught},
};

/// Keeps which devices a person has.
pub(crate) struct DeviceChanged(pub(crate) Care);

#[async_trait]
impl Handler for DeviceChanged {
    fn kind(&self) -> &'static str {
        kinds::DEVICE_CHANGED
    }

    async fn apply(
        &self,
        job: &Job,
        _: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Outcome, ApplyError> {
        let signal = match Signal::parse(&job.payload) {
            Ok(signal) => signal,
            Err(error) => return Ok(unreadable(error)),
        };
        let [device] = signal.data.fields(["device"]);
        // Without a device there is nothing to keep; with the next registration there will be.
        let Some(device) = device.and_then(Json::id) else { return Ok(Outcome::Done) };
        let removed = signal.signal_type == "device.removed";
        let stated_ms = signal.stated_ms.unwrap_or(job.created_ms).min(job.created_ms);
        let details: &[u8] = if removed { b"{}" } else { signal.data.as_str().as_bytes() };
        let [locale, zone, zone_camel] = signal.data.fields(["locale", "time_zone", "timeZone"]);
        let (locale, zone) = (locale.and_then(Json::text), zone.or(zone_camel).and_then(Json::text));
        taught(transaction, &signal.customer, &self.0, |facts| {
            if !removed {
                facts.home.stated(locale.as_deref(), zone.as_deref(), stated_ms);
            }
        })
        .await?;
        let which = (&*signal.customer, &*device);
        keep_device(transaction, &self.0.keys, which, removed, stated_ms, details).await?;
        Ok(Outcome::Done)
    }
}
