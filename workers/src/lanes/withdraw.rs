//! Taking out of a lane what the ledger no longer owes, once an operator has cancelled much of it.
//!
//! Nothing depends on it: a claim that comes upon such a job finds nothing owed. But a paused lane claims nothing,
//! and a lane that holds what nobody owes looks full. A job that is owed again in this very moment may be taken out
//! too; the next comparison with the ledger finds it.

use std::{collections::HashSet, sync::LazyLock};

use redis::{AsyncCommands as _, Script};

use super::{LaneError, Lanes};
use crate::{
    id::{JobId, NodeId},
    lane::Lane,
    ledger::Ledger,
};

/// Elements looked at in one round trip; bounds the time for which the server is busy with it.
const ELEMENTS_AT_ONCE: usize = 500;

/// How far elements may have moved away from the end of a list between the look and the removal.
const SLACK: usize = 500;

/// Bytes of an element that is no job: the place at which a turn that rests goes on. Without it, nobody of that turn
/// would ever be served again.
const PLACE_BYTES: usize = 25;

/// Where an element's job id begins in a parked member: after the turn (8 bytes), the lane's digit, the birth and the
/// sequence.
const PARKED_ID_AT: usize = 25;

static WITHDRAW: LazyLock<Script> =
    LazyLock::new(|| Script::new(concat!(include_str!("lua/prelude.lua"), include_str!("lua/withdraw.lua"))));

impl Lanes {
    /// Takes every job out of `lane` that waits there and that `ledger` does not owe; says how many. What is claimed is
    /// left alone.
    pub(crate) async fn withdraw(&self, ledger: &Ledger, lane: Lane) -> Result<u64, LaneError> {
        let mut taken = 0;
        loop {
            let mut passed_on = 0;
            for place in ["waiting", "later", "parked"] {
                let (out, others) = self.withdraw_from(place, ledger, lane).await?;
                taken += out;
                passed_on += others;
            }
            // Whoever had waited for the turn of what was taken out may be nobody's any more as well.
            if passed_on == 0 {
                return Ok(taken);
            }
        }
    }

    /// How many were taken out of `place`, and how many others go on because of that.
    async fn withdraw_from(&self, place: &str, ledger: &Ledger, lane: Lane) -> Result<(u64, u64), LaneError> {
        let (mut taken, mut passed_on) = (0, 0);
        // Counted from the end: claims take from the front, and what is added meanwhile is merely looked at twice.
        let mut passed = 0_usize;
        loop {
            let page = self.page(lane, place, passed).await?;
            let doomed = settled(ledger, lane, place, &page).await?;
            if !doomed.is_empty() {
                let (out, others) = self.take_out(lane, place, passed, &doomed).await?;
                taken += out;
                passed_on += others;
            }
            passed += page.len() - doomed.len();
            if page.len() < ELEMENTS_AT_ONCE {
                return Ok((taken, passed_on));
            }
        }
    }

    async fn page(&self, lane: Lane, place: &str, passed: usize) -> Result<Vec<Vec<u8>>, LaneError> {
        let mut redis = self.redis.clone();
        let (first, last) = (-((passed + ELEMENTS_AT_ONCE) as isize), -(passed as isize) - 1);
        Ok(match place {
            "waiting" => redis.lrange(self.keys.waiting(lane), first, last).await?,
            "later" => redis.zrange(self.keys.later(lane), first, last).await?,
            _ => redis.zrange(self.keys.parked(), first, last).await?,
        })
    }

    async fn take_out(
        &self,
        lane: Lane,
        place: &str,
        passed: usize,
        doomed: &[&Vec<u8>],
    ) -> Result<(u64, u64), LaneError> {
        self.invoke(&WITHDRAW, NodeId(0), |script| {
            script.arg(lane.index()).arg(place).arg(passed).arg(ELEMENTS_AT_ONCE + SLACK);
            for element in doomed {
                script.arg(element.as_slice());
            }
        })
        .await
    }
}

/// Those of `page` that belong to `lane` and that `ledger` does not owe.
async fn settled<'p>(
    ledger: &Ledger,
    lane: Lane,
    place: &str,
    page: &'p [Vec<u8>],
) -> Result<Vec<&'p Vec<u8>>, LaneError> {
    let digit = b'0' + lane.index() as u8;
    let id_at = if place == "parked" { PARKED_ID_AT } else { 0 };
    let known: Vec<(JobId, &Vec<u8>)> = page
        .iter()
        .filter(|element| match place {
            "parked" => element.get(8) == Some(&digit),
            _ => element.len() != PLACE_BYTES,
        })
        .filter_map(|element| Some((JobId::from_bytes(element.get(id_at..)?)?, element)))
        .collect();
    let ids: Vec<JobId> = known.iter().map(|(id, _)| *id).collect();
    let owed: HashSet<JobId> = ledger.still_owed(&ids).await?;
    Ok(known.into_iter().filter(|(id, _)| !owed.contains(id)).map(|(_, element)| element).collect())
}
