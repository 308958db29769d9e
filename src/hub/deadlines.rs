//! Time for very many connections: one clock hand that goes around all slots, and no timer object for any of them.
//!
//! A connection keeps one [`Stamp`] of 4 bytes, the time of what its next deadline counts from. Once per revolution (1 s) the hand passes
//! each slot and compares; so a deadline is kept to within a second, which is what deadlines of many seconds need, and a million
//! connections cost 32 MB of memory read per second. A revolution is made in as many steps as it has slots for, so a step stays short.

use std::time::Duration;

use crate::limits::{REVOLUTION_MS, REVOLUTION_STEPS_MAX, STEP_SLOTS};

/// A point in time: milliseconds since some start that all users of one hub share. It never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Moment(u64);

impl Moment {
    /// The point `millis` milliseconds after the start.
    pub fn from_millis(millis: u64) -> Moment {
        Moment(millis)
    }

    /// Milliseconds since the start.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The point `duration` later, in whole milliseconds.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Moment {
        Moment(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long until `self`, seen from `now`; nothing if it has passed.
    pub fn after(self, now: Moment) -> Duration {
        Duration::from_millis(self.0.saturating_sub(now.0))
    }

    /// The same point in 4 bytes.
    pub fn stamp(self) -> Stamp {
        Stamp(self.0 as u32)
    }
}

/// A recent point in time: the low bits of a [`Moment`], good for 49 days. The hand passes every second, so none gets that old.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stamp(u32);

impl Stamp {
    /// Milliseconds from `self` to `now`.
    pub fn elapsed(self, now: Moment) -> u64 {
        u64::from((now.0 as u32).wrapping_sub(self.0))
    }
}

/// The clock hand.
#[derive(Default, Debug)]
pub(super) struct Deadlines {
    hand: usize,
    due: Option<Moment>,
}

impl Deadlines {
    /// When the hand moves next; `None` while there is nothing to watch.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due
    }

    /// The slots to look at now, of `slots` in all. Empty before it is time.
    pub(super) fn advance(&mut self, slots: usize, now: Moment) -> std::ops::Range<usize> {
        if slots == 0 {
            *self = Deadlines::default();
            return 0..0;
        }
        let steps = (slots.div_ceil(STEP_SLOTS)).min(REVOLUTION_STEPS_MAX);
        let pause = Duration::from_millis(REVOLUTION_MS / steps as u64);
        let Some(due) = self.due else {
            self.due = Some(now.plus(pause));
            return 0..0;
        };
        if now < due {
            return 0..0;
        }
        // Counted from now, not from when it was due: a loop that was held up must not make up for lost steps all at once.
        self.due = Some(now.plus(pause));
        let first = if self.hand < slots { self.hand } else { 0 };
        let last = (first + slots.div_ceil(steps)).min(slots);
        self.hand = last;
        first..last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_the_turn_of_their_counter() {
        let before = Moment::from_millis((1 << 32) - 10);
        assert_eq!(before.stamp().elapsed(before.plus(Duration::from_millis(25))), 25);
        assert_eq!(before.stamp().elapsed(before), 0);
    }

    /// Every slot is looked at once in about a second, and a step is short.
    fn check(slots: usize, steps: usize) {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.advance(slots, Moment::default()), 0..0);
        let mut seen = vec![0; slots];
        for _ in 0..steps {
            let due = deadlines.due().unwrap();
            assert_eq!(deadlines.advance(slots, Moment::from_millis(due.as_millis() - 1)), 0..0);
            let range = deadlines.advance(slots, due);
            assert!(range.len() <= STEP_SLOTS.max(slots.div_ceil(REVOLUTION_STEPS_MAX)));
            seen[range].iter_mut().for_each(|count| *count += 1);
        }
        assert!(seen.iter().all(|&count| count == 1), "{slots} slots");
        assert!(
            (REVOLUTION_MS - 64..=REVOLUTION_MS + 64)
                .contains(&deadlines.due().unwrap().as_millis().wrapping_sub(REVOLUTION_MS / steps as u64))
        );
    }

    #[test]
    fn the_hand_passes_every_slot_once_per_revolution() {
        check(1, 1);
        check(STEP_SLOTS, 1);
        check(STEP_SLOTS + 1, 2);
        check(1_000_000, REVOLUTION_STEPS_MAX);
    }

    #[test]
    fn an_empty_hub_needs_no_clock() {
        let mut deadlines = Deadlines::default();
        deadlines.advance(5, Moment::default());
        assert!(deadlines.due().is_some());
        deadlines.advance(0, Moment::default());
        assert_eq!(deadlines.due(), None);
    }
}
