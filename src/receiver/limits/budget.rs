//! How many requests each client address may send that fail verification.
//!
//! A request is charged only once it has failed, so a verified event is never refused, whatever its neighbours behind
//! the same address do. Verifying first is affordable: the HMAC is cheaper than what it took to receive the body.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use governor::{
    NotUntil, Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed, keyed::DashMapStateStore},
};
use keepwell_workers::clock::SharedClock;

use crate::receiver::options::ReceiverLimits;

/// Charges between two looks at how many addresses are remembered.
const CHARGES_PER_REVIEW: u64 = 1024;

/// The longest window, in milliseconds: a day. Whoever is cut off by mistake does not stay so for longer.
const WINDOW_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// The budgets of all client addresses. At most the configured number of addresses (and those that came since the last
/// review) are told apart; a flood from more of them shares one budget until the flood is over.
pub(in crate::receiver) struct Budget {
    by_address: RateLimiter<AddressKey, DashMapStateStore<AddressKey>, GovernorClock, NoOpMiddleware<Nanos>>,
    shared: RateLimiter<NotKeyed, InMemoryState, GovernorClock, NoOpMiddleware<Nanos>>,
    sharing: AtomicBool,
    charges: AtomicU64,
    addresses_max: usize,
    clock: GovernorClock,
}

/// The budget is used up; there will be something in it again after this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::receiver) struct UsedUp {
    pub(in crate::receiver) retry_after: Duration,
}

impl Budget {
    pub(in crate::receiver) fn new(limits: &ReceiverLimits, clock: SharedClock) -> Self {
        let clock = GovernorClock(clock);
        let burst = NonZeroU32::new(limits.unverified_requests_max).unwrap_or(NonZeroU32::MIN);
        let window_ms = limits.unverified_window_ms.clamp(1, WINDOW_MS_MAX);
        let refill = Duration::from_millis(window_ms) / burst.get();
        let quota = Quota::with_period(refill.max(Duration::from_nanos(1)))
            .map_or_else(|| Quota::per_second(burst), |quota| quota.allow_burst(burst));
        Self {
            by_address: RateLimiter::dashmap_with_clock(quota, clock.clone()),
            shared: RateLimiter::direct_with_clock(quota, clock.clone()),
            sharing: AtomicBool::new(false),
            charges: AtomicU64::new(0),
            addresses_max: limits.unverified_addresses_max,
            clock,
        }
    }

    /// Charges `address` for one request that failed verification.
    pub(in crate::receiver) fn charge(&self, address: IpAddr) -> Result<(), UsedUp> {
        if self.charges.fetch_add(1, Relaxed) % CHARGES_PER_REVIEW == CHARGES_PER_REVIEW - 1 {
            self.review();
        }
        let charged = if self.sharing.load(Relaxed) {
            self.shared.check()
        } else {
            self.by_address.check_key(&AddressKey::of(address))
        };
        charged
            .map_err(|until: NotUntil<Nanos>| UsedUp { retry_after: until.wait_time_from(self.clock.now()) })
    }

    /// Charges `address` if the request `is_unverified`.
    pub(in crate::receiver) fn charge_if(&self, is_unverified: bool, address: IpAddr) -> Result<(), UsedUp> {
        if is_unverified { self.charge(address) } else { Ok(()) }
    }

    /// Forgets the addresses whose budget is full again, and shares one budget if too many remain.
    fn review(&self) {
        self.by_address.retain_recent();
        self.by_address.shrink_to_fit();
        self.sharing.store(self.by_address.len() >= self.addresses_max, Relaxed);
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: the smallest network that one customer of a provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct AddressKey(u64);

impl AddressKey {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self(u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

/// Our clock as governor reads one. Should the machine's clock jump back, what is used up stays so for that much
/// longer.
#[derive(Debug, Clone)]
struct GovernorClock(SharedClock);

impl Clock for GovernorClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let now_ms = u64::try_from(self.0.now_ms()).unwrap_or(0);
        // Half of what fits, so that governor's sums of an instant and a window cannot overflow.
        Nanos::new(now_ms.saturating_mul(1_000_000).min(u64::MAX / 2))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use keepwell_workers::clock::ManualClock;

    use super::*;

    const LIMITS: fn() -> ReceiverLimits = || ReceiverLimits {
        unverified_requests_max: 3,
        unverified_window_ms: 60_000,
        unverified_addresses_max: 100,
        ..ReceiverLimits::default()
    };

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_fails_as_often_as_it_may_and_recovers_with_time() {
        let clock = ManualClock::at(1_700_000_000_000);
        let budget = Budget::new(&LIMITS(), clock.clone());
        let one = address("203.0.113.9");
        for _ in 0..3 {
            assert_eq!(budget.charge(one), Ok(()));
        }
        assert_eq!(budget.charge(one), Err(UsedUp { retry_after: Duration::from_secs(20) }));
        assert_eq!(budget.charge(address("203.0.113.10")), Ok(()));
        clock.advance_ms(20_000);
        assert_eq!(budget.charge(one), Ok(()));
        assert!(budget.charge(one).is_err());
    }

    #[test]
    fn a_whole_ipv6_network_of_one_customer_has_one_budget() {
        let budget = Budget::new(&LIMITS(), ManualClock::at(1_700_000_000_000));
        for host in 1..=3 {
            assert_eq!(budget.charge(address(&format!("2001:db8:0:1::{host}"))), Ok(()));
        }
        assert!(budget.charge(address("2001:db8:0:1:ffff::")).is_err());
        assert_eq!(budget.charge(address("2001:db8:0:2::1")), Ok(()));
    }

    #[test]
    fn a_flood_from_many_addresses_takes_bounded_memory() {
        let clock = ManualClock::at(1_700_000_000_000);
        let budget = Budget::new(&LIMITS(), clock.clone());
        let flood = |from: u32| {
            for n in from..from + 10_000 {
                let _ = budget.charge(IpAddr::from(n.to_be_bytes()));
            }
        };
        flood(0x0100_0000);
        assert!(budget.by_address.len() <= 100 + CHARGES_PER_REVIEW as usize, "{}", budget.by_address.len());
        assert!(budget.charge(address("203.0.113.9")).is_err(), "the flood's budget is shared");
        clock.advance_ms(60_000);
        flood(0x0200_0000);
        clock.advance_ms(60_000);
        budget.review();
        assert_eq!(budget.by_address.len(), 0, "what is full again is forgotten");
        assert_eq!(budget.charge(address("203.0.113.9")), Ok(()));
    }

    #[test]
    fn a_clock_at_the_edge_of_time_does_no_harm() {
        for now_ms in [i64::MIN, -1, 0, 1, i64::MAX] {
            let budget = Budget::new(&LIMITS(), ManualClock::at(now_ms));
            for _ in 0..4 {
                let _ = budget.charge(address("203.0.113.9"));
            }
        }
    }
}
