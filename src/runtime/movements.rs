//! When to give back the memory that coming and going has taken: not while a storm lasts, and not never. Not only movements count: ten
//! thousand opening handshakes leave their crumbs in the heap, too.
//!
//! ```text
//!   movements   |||||||  |||       |                      |  |  |  |  |  |  |  |  |  |
//!   due                  1 s later ▲  1 s later ▲            30 s after the first of them ▲
//! ```

use std::time::Duration;

use crate::hub::Moment;
use crate::limits::{QUIET_MS, UNQUIET_MS_MAX};

/// The connections that have come or gone since memory was given back last.
#[derive(Default, Debug)]
pub struct Movements {
    count: usize,
    first: Moment,
    last: Moment,
}

impl Movements {
    /// A connection has come or gone.
    pub fn note(&mut self, now: Moment) {
        if self.count == 0 {
            self.first = now;
        }
        self.count += 1;
        self.last = now;
    }

    /// When to give memory back; `None` if nobody has moved.
    pub fn due(&self) -> Option<Moment> {
        let quiet = self.last.plus(Duration::from_millis(QUIET_MS));
        let latest = self.first.plus(Duration::from_millis(UNQUIET_MS_MAX));
        (self.count > 0).then(|| quiet.min(latest))
    }

    /// How many have moved, if it is time to give memory back. Counts anew from then on.
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
    fn nothing_is_due_when_nobody_has_moved() {
        assert_eq!(Movements::default().due(), None);
        assert_eq!(Movements::default().take_due(at(1_000_000)), None);
    }

    #[test]
    fn memory_is_given_back_a_second_after_a_storm() {
        let mut movements = Movements::default();
        (100..=600).for_each(|millis| movements.note(at(millis)));
        assert_eq!(movements.due(), Some(at(1_600)));
        assert_eq!(movements.take_due(at(1_599)), None);
        assert_eq!(movements.take_due(at(1_600)), Some(501));
        assert_eq!(movements.due(), None);
    }

    #[test]
    fn a_stream_of_movements_without_end_does_not_keep_memory_for_ever() {
        let mut movements = Movements::default();
        let taken: Vec<(u64, usize)> = (0..70)
            .filter_map(|second| {
                let now = at(second * 1_000 + 500);
                movements.note(now);
                movements.take_due(now).map(|count| (second, count))
            })
            .collect();
        assert_eq!(taken, [(30, 31), (61, 31)]);
    }
}
