//! What the threads of the broker are told: to end, or to leave their connections and look again where Redis is.
//!
//! A move is told to both links at once, whoever finds that it is time for it: the news of a Sentinel, a demoted master, a link that was
//! sent somewhere else than the other one, messages that do not come round. The moves are counted; a link that has begun at one count and
//! sees another one leaves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::Failure;

/// The least time between two attempts, however often moves are ordered: who orders them may be wrong, for ever.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The orders; one for each broker.
#[derive(Debug, Default)]
pub(super) struct Orders {
    is_stopping: AtomicBool,
    moves: AtomicU64,
    /// Why the last move was ordered. Its lock is also that of `changed`.
    why: Mutex<String>,
    /// Rung at each order.
    changed: Condvar,
}

impl Orders {
    /// Tells everybody to end.
    pub(super) fn stop(&self) {
        let _why = self.why();
        self.is_stopping.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Tells both links to connect anew, and the log why. The new count of moves.
    pub(super) fn move_on(&self, why: String) -> u64 {
        let mut place = self.why();
        *place = why;
        let moves = self.moves.fetch_add(1, Ordering::AcqRel) + 1;
        self.changed.notify_all();
        moves
    }

    /// How many moves there have been.
    pub(super) fn moves(&self) -> u64 {
        self.moves.load(Ordering::Acquire)
    }

    /// Fails, with the reason, when there has been a move since the count was `moves`.
    pub(super) fn follow(&self, moves: u64) -> Result<(), Failure> {
        if self.moves() == moves { Ok(()) } else { Err(Failure::new(self.why().clone())) }
    }

    /// Waits for `pause`, or until there has been a move since the count was `moves`, or it is time to end.
    pub(super) fn wait(&self, pause: Duration, moves: u64) {
        let start = Instant::now();
        let mut why = self.why();
        while !self.is_stopping() {
            let pause = if self.moves() == moves { pause } else { pause.min(PAUSE_MIN) };
            let left = pause.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            (why, _) = self.changed.wait_timeout(why, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn why(&self) -> MutexGuard<'_, String> {
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_move_is_told_once_to_each_link_with_its_reason() {
        let orders = Orders::default();
        let begun = orders.moves();
        assert!(orders.follow(begun).is_ok());
        assert_eq!(orders.move_on("away".into()), begun + 1);
        assert_eq!(orders.follow(begun).unwrap_err().to_string(), "away");
        assert!(orders.follow(begun + 1).is_ok());
    }

    #[test]
    fn a_pause_ends_with_a_move_or_with_the_end_but_not_at_once() {
        let orders = Orders::default();
        let timed = |moves| {
            let start = Instant::now();
            orders.wait(LONG, moves);
            start.elapsed()
        };
        thread::scope(|scope| {
            let waiting = scope.spawn(|| timed(0));
            orders.move_on("away".into());
            assert!(waiting.join().unwrap() < LONG / 2);
            let took = timed(0);
            assert!(took >= PAUSE_MIN && took < LONG / 2, "{took:?}");
            let waiting = scope.spawn(|| timed(1));
            orders.stop();
            assert!(waiting.join().unwrap() < LONG / 2);
        });
    }
}
