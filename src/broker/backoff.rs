//! How long to wait before the next attempt: exponential backoff with full jitter.
//!
//! Full jitter (anything between nothing and the ceiling) spreads a cluster whose Redis has just come back better than a jitter around
//! a fixed time does: the nodes lost it at the same moment, and must not return at the same moment.

use std::time::Duration;

use crate::wire::id::IdSource;

/// The first ceiling: a Redis that only restarted is found again before anybody notices.
const CEILING_MIN: Duration = Duration::from_millis(100);

/// The last ceiling: however long the outage, a node is back within a quarter of a second, as soon as a client that tries at fixed times.
/// Until then messages are lost or refused, while an attempt costs three system calls: eight a second are nothing to a node, and those of
/// a hundred nodes are little even to a Redis that is still loading.
const CEILING_MAX: Duration = Duration::from_millis(250);

/// A connection that held this long was a success, and the next attempt starts afresh. One that breaks sooner is part of the trouble:
/// a Redis that accepts and hangs up is asked no more often than one that is not there.
const LASTING: Duration = Duration::from_secs(10);

/// The state between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
    random: IdSource,
}

impl Backoff {
    /// Before the first attempt.
    pub(super) fn new(random: IdSource) -> Backoff {
        Backoff { ceiling: CEILING_MIN, random }
    }

    /// After a failure: the time to wait. Doubles the ceiling of the next one.
    pub(super) fn pause(&mut self) -> Duration {
        let share = self.random.bits() as f64 / u64::MAX as f64;
        let pause = self.ceiling.mul_f64(share);
        self.ceiling = (self.ceiling * 2).min(CEILING_MAX);
        pause
    }

    /// After a connection that held for `lifetime`.
    pub(super) fn held(&mut self, lifetime: Duration) {
        if lifetime >= LASTING {
            self.ceiling = CEILING_MIN;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_below_a_ceiling_that_doubles_up_to_a_quarter_of_a_second() {
        for seed in 0..100 {
            let mut backoff = Backoff::new(IdSource::seeded(seed));
            for ceiling in [100, 200, 250, 250, 250] {
                assert!(backoff.pause() <= Duration::from_millis(ceiling));
            }
        }
    }

    #[test]
    fn pauses_are_spread_over_the_whole_range() {
        let first = |seed| Backoff::new(IdSource::seeded(seed)).pause().as_millis();
        let (below, above) = (0..200).map(first).partition::<Vec<_>, _>(|&pause| pause < 50);
        assert!(below.len() > 60 && above.len() > 60, "{} below the middle, {} above", below.len(), above.len());
    }

    #[test]
    fn only_a_connection_that_lasted_starts_the_pauses_afresh() {
        let mut backoff = Backoff::new(IdSource::seeded(1));
        for _ in 0..9 {
            backoff.pause();
        }
        backoff.held(LASTING - Duration::from_millis(1));
        assert_eq!(backoff.ceiling, CEILING_MAX);
        backoff.held(LASTING);
        assert_eq!(backoff.ceiling, CEILING_MIN);
    }
}
