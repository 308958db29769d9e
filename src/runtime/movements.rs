//! When to give back the memory of connections that have ended: not while a storm lasts, and not never.
//!
//! ```text
//!   departures  |||||||  |||       |                      |  |  |  |  |  |  |  |  |  |
//!   due                  1 s later ▲  1 s later ▲            30 s after the first of them ▲
//! ```

use std::time::Duration;

use crate::hub::Moment;
use crate::limits::{QUIET_MS, UNQUIET_MS_MAX};

/// The departures since memory was given back last.
#[derive(Default, Debug)]
pub struct Departures {
    count: usize,
    first: Moment,
    last: Moment,
}

impl Departures {
    /// A connection has ended.
    pub fn note(&mut self, now: Moment) {
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = now;
    }

    /// When to give memory back; `None` if nobody has gone.
    pub fn due(&self) -> Option<Moment> {
        let quiet = self.last.plus(Duration::from_millis(QUIET_MS));
        let latest = self.first.plus(Duration::from_millis(UNQUIET_MS_MAX));
        (self.count > 0).then(|| quiet.min(latest))
    }

    /// How many have gone, if it is time to give memory back. Counts anew from then on.
    pub fn take_due(&mut self, now: Moment) -> Option<usize> {
        self.due().filter(|due| *due <= now).map(|_| std::mem::take(&mut self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn nothing_is_due_when_nobody_has_gone() {
        assert_eq!(Departures::default().due(), None);
        assert_eq!(Departures::default().take_due(at(1_000_000)), None);
    }

    #[test]
    fn memory_is_given_back_a_second_after_a_storm() {
        let mut departures = Departures::default();
        (100..=600).for_each(|millis| departures.note(at(millis)));
        assert_eq!(departures.due(), Some(at(1_600)));
        assert_eq!(departures.take_due(at(1_599)), None);
        assert_eq!(departures.take_due(at(1_600)), Some(501));
        assert_eq!(departures.due(), None);
    }

    #[test]
    fn a_stream_of_departures_without_end_does_not_keep_memory_for_ever() {
        let mut departures = Departures::default();
        let taken: Vec<(u64, usize)> = (0..70)
            .filter_map(|second| {
                let now = at(second * 1_000 + 500);
                departures.note(now);
                departures.take_due(now).map(|count| (second, count))
            })
            .collect();
        assert_eq!(taken, [(30, 31), (61, 31)]);
    }
}
