//! The gate of a node: the limits on who comes in, and the counts that they need. All loops of a node share one.
//!
//! ```text
//!   a connection ─▶ per address ─▶ memory ─▶ accept rate ─▶ handshakes ─▶ connections ─▶ served
//!                       └──────────────┴──────────┴────────────┴─────────────┴─▶ refused: told so over HTTP, if few are being told
//! ```
//!
//! What is not limited is not counted. Counting is an atomic operation or two for each connection; addresses are counted in a table behind
//! locks, which are taken when a connection comes and when it goes, never for a message. In a dry run nothing is refused, only counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Tally;
use super::deadlines::Moment;
use super::limit::Limit;
use crate::limits::{ADDRESS_SHARDS, REFUSED_CONNECTIONS_MAX};
use crate::wire::address::{Networks, Source};
use crate::wire::origin::Origins;

/// What an operator may set of a gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GateSettings {
    /// Connections that are served.
    pub connections_max: usize,
    /// Connections that the process can have at most, which holds in a dry run too.
    pub connections_possible: usize,
    /// Connections that are served from one [`Source`].
    pub connections_per_address_max: Option<NonZeroUsize>,
    /// Opening handshakes under way.
    pub handshakes_max: Option<NonZeroUsize>,
    /// Connections accepted per second.
    pub accept_rate_max: Option<NonZeroU32>,
    /// Who may open WebSockets from a browser.
    pub allowed_origins: Origins,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: ProxyProtocol,
    /// Who is believed when it says for whom it speaks.
    pub trusted_proxies: Networks,
    /// Whether limits are only counted.
    pub is_dry_run: bool,
    /// Bytes of one message above which a dry run counts it. What holds is in the settings of the hub.
    pub message_bytes_tried: usize,
    /// Bytes that wait for one client above which a dry run counts it; likewise.
    pub outbox_bytes_tried: usize,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum ProxyProtocol {
    /// None does.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Accept,
    /// All come from trusted proxies and do.
    Require,
}

/// No limit at all.
impl Default for GateSettings {
    fn default() -> GateSettings {
        GateSettings {
            connections_max: usize::MAX,
            connections_possible: usize::MAX,
            connections_per_address_max: None,
            handshakes_max: None,
            accept_rate_max: None,
            allowed_origins: Origins::default(),
            proxy_protocol: ProxyProtocol::Off,
            trusted_proxies: Networks::default(),
            is_dry_run: false,
            message_bytes_tried: usize::MAX,
            outbox_bytes_tried: usize::MAX,
        }
    }
}

/// The gate.
#[derive(Debug)]
pub struct Gate {
    settings: GateSettings,
    /// Connections that are served.
    connections: AtomicUsize,
    /// Those that are being told that they are not.
    refused: AtomicUsize,
    /// Opening handshakes under way, if they are limited.
    handshakes: AtomicUsize,
    arrivals: Bucket,
    is_memory_short: AtomicBool,
    census: Census,
}

impl Gate {
    /// A gate that nobody has come through.
    pub fn new(settings: GateSettings) -> Gate {
        Gate {
            settings,
            connections: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            handshakes: AtomicUsize::new(0),
            arrivals: Bucket::default(),
            is_memory_short: AtomicBool::new(false),
            census: Census::default(),
        }
    }

    /// What was set.
    pub fn settings(&self) -> &GateSettings {
        &self.settings
    }

    /// Connections that are served.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// From now on new connections are refused for want of memory, or not any more.
    pub fn set_memory_short(&self, is_short: bool) {
        self.is_memory_short.store(is_short, Ordering::Relaxed);
    }

    /// Whether they are refused for want of memory.
    pub fn is_memory_short(&self) -> bool {
        self.is_memory_short.load(Ordering::Relaxed)
    }

    /// Whether `peer` is believed when it says for whom it speaks.
    pub(super) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.settings.trusted_proxies.hold(peer)
    }

    /// Counts a connection that is to be served, unless it is one too many. What is counted is taken back by [`Gate::leave`].
    pub(super) fn enter(&self, now: Moment, tally: &mut Tally) -> Result<(), Limit> {
        if self.is_memory_short() {
            self.hit(Limit::Memory, tally)?;
        }
        if self.settings.accept_rate_max.is_some_and(|rate| !self.arrivals.take(rate, now)) {
            self.hit(Limit::AcceptRate, tally)?;
        }
        if let Some(most) = self.settings.handshakes_max
            && self.handshakes.fetch_add(1, Ordering::Relaxed) >= most.get()
        {
            self.hit(Limit::Handshakes, tally).inspect_err(|_| self.end_handshake())?;
        }
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let fits = match before {
            _ if before < self.settings.connections_max => Ok(()),
            _ if before < self.settings.connections_possible => self.hit(Limit::Connections, tally),
            // Not even a dry run can have more.
            _ => tally.count_hit(Limit::Connections, false),
        };
        fits.inspect_err(|_| {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            self.end_handshake();
        })
    }

    /// A connection that was served has gone.
    pub(super) fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The handshake of a connection that is served is over, one way or the other.
    pub(super) fn end_handshake(&self) {
        if self.settings.handshakes_max.is_some() {
            self.handshakes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether one more connection may stay until it has been told that it is refused. If so, [`Gate::forget_refused`] is to follow.
    pub(super) fn may_tell(&self) -> bool {
        let may_tell = self.refused.fetch_add(1, Ordering::Relaxed) < REFUSED_CONNECTIONS_MAX;
        if !may_tell {
            self.forget_refused();
        }
        may_tell
    }

    /// A connection that was refused has gone.
    pub(super) fn forget_refused(&self) {
        self.refused.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether connections are counted by address.
    pub(super) fn counts_addresses(&self) -> bool {
        self.settings.connections_per_address_max.is_some()
    }

    /// Counts a connection from `source`, unless it is one too many. What is counted is taken back by [`Gate::forget`].
    pub(super) fn count(&self, source: Source, tally: &mut Tally) -> Result<(), Limit> {
        let most = self.settings.connections_per_address_max.map_or(usize::MAX, NonZeroUsize::get);
        if self.census.add(source) <= most {
            return Ok(());
        }
        self.hit(Limit::ConnectionsPerAddress, tally).inspect_err(|_| self.forget(source))
    }

    /// A connection from `source` has gone.
    pub(super) fn forget(&self, source: Source) {
        self.census.remove(source);
    }

    /// Counts that a limit was run into. In a dry run that is all.
    pub(super) fn hit(&self, limit: Limit, tally: &mut Tally) -> Result<(), Limit> {
        tally.count_hit(limit, self.settings.is_dry_run)
    }

    /// Panics if somebody is counted. For tests, when all have gone.
    pub fn check_deserted(&self) {
        for count in [&self.connections, &self.refused, &self.handshakes] {
            assert_eq!(count.load(Ordering::Relaxed), 0, "somebody is left over in {self:?}");
        }
        assert!(self.census.is_empty(), "an address is left over in {self:?}");
    }
}

/// A token bucket that holds a second's worth, kept as the time at which it will be full again.
#[derive(Default, Debug)]
struct Bucket {
    full_at_micros: AtomicU64,
}

impl Bucket {
    /// Takes a token, if there is one.
    fn take(&self, rate: NonZeroU32, now: Moment) -> bool {
        const SECOND: u64 = 1_000_000;
        let now = now.as_millis() * 1_000;
        let cost = SECOND / u64::from(rate.get());
        let next = |full_at: u64| Some(full_at.max(now) + cost).filter(|next| *next <= now + SECOND);
        self.full_at_micros.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// How many connections there are from each source that has one; no more entries than connections.
#[derive(Default, Debug)]
struct Census {
    shards: [Mutex<HashMap<Source, usize>>; ADDRESS_SHARDS],
}

impl Census {
    /// Counts one more; how many there are now.
    fn add(&self, source: Source) -> usize {
        self.with_shard(source, |shard| {
            let count = shard.entry(source).or_default();
            *count += 1;
            *count
        })
    }

    fn remove(&self, source: Source) {
        self.with_shard(source, |shard| {
            if let Entry::Occupied(mut entry) = shard.entry(source) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
            // What a crowd needed goes back when it has gone.
            if shard.len() < shard.capacity() / 8 {
                shard.shrink_to(shard.capacity() / 2);
            }
        });
    }

    fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).is_empty())
    }

    fn with_shard<T>(&self, source: Source, change: impl FnOnce(&mut HashMap<Source, usize>) -> T) -> T {
        let shard = &self.shards[source.spread() % ADDRESS_SHARDS];
        // A number is never half changed, so it does not matter who panicked with it in hand.
        change(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(tally: &Tally, limit: Limit) -> (u64, u64) {
        (tally.limit_hits[limit as usize], tally.limit_hits_dry[limit as usize])
    }

    fn gate(change: impl FnOnce(&mut GateSettings)) -> (Gate, Tally) {
        let mut settings = GateSettings::default();
        change(&mut settings);
        (Gate::new(settings), Tally::default())
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap())
    }

    #[test]
    fn a_bucket_holds_a_second_of_tokens_and_fills_at_its_rate() {
        for rate in [1, 3, 7, 1_000, 1_000_000] {
            let (bucket, rate) = (Bucket::default(), NonZeroU32::new(rate).unwrap());
            let take_all = |now| (0..u32::MAX).take_while(|_| bucket.take(rate, at(now))).count() as u64;
            let per_second = u64::from(rate.get());
            assert_eq!(take_all(50_000), per_second);
            assert_eq!(take_all(50_000), 0);
            let filled = take_all(60_000);
            assert_eq!(filled, per_second, "it holds no more than a second's worth");
            assert_eq!(take_all(60_500), per_second / 2, "at {rate} a second");
        }
    }

    #[test]
    fn a_connection_too_many_leaves_no_trace() {
        let check = |limit: Limit, change: fn(&mut GateSettings)| {
            let (gate, mut tally) = gate(change);
            assert_eq!(gate.enter(at(0), &mut tally), Ok(()));
            for _ in 0..3 {
                assert_eq!(gate.enter(at(0), &mut tally), Err(limit));
            }
            assert_eq!(hits(&tally, limit), (3, 0));
            gate.end_handshake();
            gate.leave();
            assert_eq!(gate.enter(at(1_000), &mut tally), Ok(()), "there is room again below {limit:?}");
        };
        check(Limit::Connections, |settings| settings.connections_max = 1);
        check(Limit::Handshakes, |settings| settings.handshakes_max = NonZeroUsize::new(1));
        check(Limit::AcceptRate, |settings| settings.accept_rate_max = NonZeroU32::new(1));
    }

    #[test]
    fn addresses_are_counted_each_by_itself() {
        let (gate, mut tally) = gate(|settings| settings.connections_per_address_max = NonZeroUsize::new(2));
        let (one, other) = (source("192.0.2.1"), source("2001:db8::1"));
        for _ in 0..2 {
            assert_eq!(gate.count(one, &mut tally), Ok(()));
            assert_eq!(gate.count(other, &mut tally), Ok(()));
        }
        assert_eq!(gate.count(one, &mut tally), Err(Limit::ConnectionsPerAddress));
        assert_eq!(gate.count(source("2001:db8::ffff:0:0:2"), &mut tally), Err(Limit::ConnectionsPerAddress));
        gate.forget(one);
        assert_eq!(gate.count(one, &mut tally), Ok(()));
        [one, one, other, other].into_iter().for_each(|source| gate.forget(source));
        gate.check_deserted();
    }

    #[test]
    fn a_dry_run_counts_and_lets_in() {
        let (gate, mut tally) = gate(|settings| {
            settings.connections_max = 1;
            settings.connections_possible = 3;
            settings.handshakes_max = NonZeroUsize::new(1);
            settings.accept_rate_max = NonZeroU32::new(1);
            settings.connections_per_address_max = NonZeroUsize::new(1);
            settings.is_dry_run = true;
        });
        gate.set_memory_short(true);
        for _ in 0..3 {
            assert_eq!(gate.count(source("::1"), &mut tally), Ok(()));
            assert_eq!(gate.enter(at(0), &mut tally), Ok(()));
        }
        assert_eq!(hits(&tally, Limit::Memory), (0, 3));
        for limit in [Limit::Connections, Limit::Handshakes, Limit::AcceptRate, Limit::ConnectionsPerAddress] {
            assert_eq!(hits(&tally, limit), (0, 2), "{limit:?}");
        }
        assert_eq!(gate.enter(at(0), &mut tally), Err(Limit::Connections), "what the process can have always holds");
        assert_eq!(hits(&tally, Limit::Connections), (1, 2));
    }

    #[test]
    fn few_are_told_at_a_time_that_they_are_refused() {
        let (gate, _) = gate(|_| {});
        assert!((0..REFUSED_CONNECTIONS_MAX).all(|_| gate.may_tell()));
        assert!(!gate.may_tell() && !gate.may_tell());
        gate.forget_refused();
        assert!(gate.may_tell());
    }
}
