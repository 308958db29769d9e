//! How often the same is said: what comes in crowds (a Redis full of garbage, a port full of strangers) must not fill the log, and must not
//! be hidden either.
//!
//! The kind of a line is the place in the source that logs it. Each kind may say so many lines at once, and then one per interval; what
//! is left out is counted, and the count stands behind the next line that is not, or in a line of its own when there is none.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use log::{Level, Record};

use crate::limits::{LOG_KIND_BURST, LOG_KIND_INTERVAL_MS, LOG_SAMPLE_CHARS};

/// Time in which a kind may say one line more.
pub(super) const INTERVAL: Duration = Duration::from_millis(LOG_KIND_INTERVAL_MS);

/// A place in the source. There are as many as the program has, so what is kept for each is bounded by its size.
type Place = (&'static str, u32);

/// What may still be said.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    kinds: HashMap<Place, Kind>,
}

#[derive(Debug)]
struct Kind {
    level: Level,
    /// Lines that may still be said at once.
    credit: u32,
    /// When the credit was last counted.
    counted: Instant,
    left_out: u64,
    /// When the first of those was left out.
    left_out_since: Instant,
    /// How the last line began that was said on credit's end.
    sample: String,
}

/// Lines that were left out and not told with another one.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct LeftOut {
    pub(super) level: Level,
    pub(super) count: u64,
    /// How one of them, or one like them, begins.
    pub(super) sample: String,
}

impl Limiter {
    /// Whether the line for `record` is to be written, and if so, how many like it were left out before. Details are never left out: who
    /// asks for them wants them all.
    pub(super) fn admit(&mut self, record: &Record<'_>, now: Instant) -> Option<u64> {
        let place = (record.file_static().unwrap_or_default(), record.line().unwrap_or_default());
        if record.level() >= Level::Debug {
            return Some(0);
        }
        let kind = self.kinds.entry(place).or_insert_with(|| Kind::new(record.level(), now));
        kind.earn(now);
        if kind.credit == 0 {
            kind.leave_out(now);
            return None;
        }
        kind.credit -= 1;
        if kind.credit == 0 {
            kind.sample = record.args().to_string().chars().take(LOG_SAMPLE_CHARS).collect();
        }
        Some(std::mem::take(&mut kind.left_out))
    }

    /// Takes what was left out and has waited for an interval to be told; `is_end` if it can wait no longer.
    pub(super) fn take_overdue(&mut self, now: Instant, is_end: bool) -> Vec<LeftOut> {
        let overdue = |kind: &&mut Kind| kind.left_out > 0 && (is_end || now.saturating_duration_since(kind.left_out_since) >= INTERVAL);
        self.kinds.values_mut().filter(overdue).map(Kind::take_left_out).collect()
    }

    /// Whether lines may be left out soon, or are, so that somebody has to look.
    pub(super) fn is_at_limit(&self, now: Instant) -> bool {
        let is_spent = |kind: &Kind| kind.credit == 0 && now.saturating_duration_since(kind.counted) < INTERVAL;
        self.kinds.values().any(|kind| kind.left_out > 0 || is_spent(kind))
    }
}

impl Kind {
    fn new(level: Level, now: Instant) -> Kind {
        Kind { level, credit: LOG_KIND_BURST, counted: now, left_out: 0, left_out_since: now, sample: String::new() }
    }

    /// One line more for each interval that has passed.
    fn earn(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted);
        let earned = u32::try_from(passed.as_millis() / INTERVAL.as_millis()).unwrap_or(LOG_KIND_BURST).min(LOG_KIND_BURST);
        if earned > 0 {
            self.credit = (self.credit + earned).min(LOG_KIND_BURST);
            self.counted = now;
        }
    }

    fn leave_out(&mut self, now: Instant) {
        if self.left_out == 0 {
            self.left_out_since = now;
        }
        self.left_out += 1;
    }

    fn take_left_out(&mut self) -> LeftOut {
        LeftOut { level: self.level, count: std::mem::take(&mut self.left_out), sample: self.sample.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line from line `place` of a file.
    fn admit(limiter: &mut Limiter, level: Level, place: u32, now: Instant) -> Option<u64> {
        let mut record = Record::builder();
        record.level(level).file_static(Some("a.rs")).line(Some(place));
        limiter.admit(&record.args(format_args!("the same again")).build(), now)
    }

    #[test]
    fn each_kind_may_say_some_lines_at_once_and_then_one_per_interval_with_the_count_of_those_left_out() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let mut check = |intervals: u32, lines: u32, expected: &[Option<u64>]| {
            let now = start + INTERVAL * intervals + Duration::from_millis(1);
            let told: Vec<_> = (0..lines).map(|_| admit(&mut limiter, Level::Warn, 1, now)).collect();
            assert_eq!(told, expected, "after {intervals} intervals");
        };
        check(0, LOG_KIND_BURST, &vec![Some(0); LOG_KIND_BURST as usize]);
        check(0, 3, &[None, None, None]);
        check(1, 2, &[Some(3), None]);
        check(2, 1, &[Some(1)]);
        check(4, 3, &[Some(0), Some(0), None]);
        check(1000, 1, &[Some(1)]);
        assert_eq!(admit(&mut limiter, Level::Warn, 2, start), Some(0), "another kind has a credit of its own");
    }

    #[test]
    fn details_are_never_left_out() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        assert!((0..10 * LOG_KIND_BURST).all(|_| admit(&mut limiter, Level::Debug, 1, start) == Some(0)));
    }

    #[test]
    fn what_no_line_follows_is_told_after_an_interval_or_at_the_end() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        assert!(!limiter.is_at_limit(start));
        let told = (0..LOG_KIND_BURST + 5).filter_map(|_| admit(&mut limiter, Level::Warn, 1, start)).count();
        assert_eq!(told, LOG_KIND_BURST as usize);
        assert!(limiter.is_at_limit(start));
        assert_eq!(limiter.take_overdue(start, false), []);
        let told = LeftOut { level: Level::Warn, count: 5, sample: "the same again".to_owned() };
        assert_eq!(limiter.take_overdue(start + INTERVAL, false), [told]);
        assert_eq!(limiter.take_overdue(start + INTERVAL, true), [], "it is told once");
        assert!(!limiter.is_at_limit(start + INTERVAL));
        assert_eq!(admit(&mut limiter, Level::Warn, 1, start + INTERVAL), Some(0));
        assert_eq!(admit(&mut limiter, Level::Warn, 1, start + INTERVAL), None);
        assert_eq!(limiter.take_overdue(start + INTERVAL, true).len(), 1);
    }
}
