//! How long things took: counts by length, as Prometheus' histograms have them.
//!
//! One set of buckets for all that Texto times, from the tenth of a millisecond that a tick takes to the second that worries somebody, so
//! that any two of them can be laid side by side. Whoever counts owns the numbers; others get a copy, as plain cells.

use std::time::Duration;

/// Counts by length, and the sum of the lengths.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Histogram {
    /// Counts by [`Histogram::BOUNDS`], then of what took longer, then the microseconds of all together.
    cells: [u64; Histogram::CELLS],
}

impl Histogram {
    /// Upper bounds of the buckets: in microseconds, and in seconds as they are told.
    pub const BOUNDS: [(u64, &'static str); 12] = [
        (100, "0.0001"),
        (250, "0.00025"),
        (500, "0.0005"),
        (1_000, "0.001"),
        (2_500, "0.0025"),
        (5_000, "0.005"),
        (10_000, "0.01"),
        (25_000, "0.025"),
        (50_000, "0.05"),
        (100_000, "0.1"),
        (250_000, "0.25"),
        (1_000_000, "1"),
    ];

    /// How many numbers a histogram is made of.
    pub const CELLS: usize = Histogram::BOUNDS.len() + 2;

    /// Counts one that took `time`.
    pub fn count(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.cells[Histogram::bucket(micros)] += 1;
        self.cells[Histogram::CELLS - 1] = self.cells[Histogram::CELLS - 1].saturating_add(micros);
    }

    /// The cell that counts what took `micros` microseconds. The last cell is the sum, to which these are added.
    pub fn bucket(micros: u64) -> usize {
        Histogram::BOUNDS.iter().position(|(bound, _)| micros <= *bound).unwrap_or(Histogram::BOUNDS.len())
    }

    /// Its numbers, in a fixed order.
    pub fn cells(&self) -> &[u64; Histogram::CELLS] {
        &self.cells
    }

    /// The histogram of which `cells` are the numbers.
    pub fn from_cells(cells: [u64; Histogram::CELLS]) -> Histogram {
        Histogram { cells }
    }

    /// For each bound in seconds, how many took no longer; `+Inf` is the last.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = Histogram::BOUNDS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        bounds.zip(&self.cells).scan(0, |sum, (bound, cell)| {
            *sum += cell;
            Some((bound, *sum))
        })
    }

    /// How long all took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.cells[Histogram::CELLS - 1])
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.cells[..Histogram::CELLS - 1].iter().sum()
    }

    /// Whether nothing has been counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_below_its_bound() {
        let mut histogram = Histogram::default();
        assert!(histogram.is_empty());
        [90, 100, 101, 1_000_001].into_iter().for_each(|micros| histogram.count(Duration::from_micros(micros)));
        let told: Vec<_> = histogram.cumulative().collect();
        assert_eq!((told[0], told[1], told[11], told[12]), (("0.0001", 2), ("0.00025", 3), ("1", 3), ("+Inf", 4)));
        assert_eq!((histogram.len(), histogram.sum()), (4, Duration::from_micros(1_000_292)));
        histogram.count(Duration::MAX);
        assert_eq!(histogram.len(), 5);
    }

    #[test]
    fn bounds_ascend_and_are_told_as_what_they_are() {
        assert!(Histogram::BOUNDS.is_sorted());
        for (micros, seconds) in Histogram::BOUNDS {
            assert_eq!((seconds.parse::<f64>().unwrap() * 1e6).round() as u64, micros);
        }
    }
}
