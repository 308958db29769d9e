//! What a node has told, and what has changed between two times that it did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The numbers of a node at one time.
#[derive(Debug)]
pub(super) struct Reading {
    at: Instant,
    /// The same moment, since 1970.
    since_epoch: Duration,
    /// By name and labels as they were told, without the prefix of all.
    samples: BTreeMap<String, f64>,
}

/// Readings of one node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'r> {
    /// The first of all, for what does not happen often enough to have happened between the other two.
    pub(super) first: &'r Reading,
    pub(super) before: &'r Reading,
    pub(super) now: &'r Reading,
}

impl Reading {
    /// Reads a page. What is not a number of Texto is passed over: a newer node may tell more.
    pub(super) fn parse(page: &str, at: Instant, since_epoch: Duration) -> Reading {
        let samples = page.lines().filter_map(|line| {
            let (name, value) = line.strip_prefix("texto_")?.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Reading { at, since_epoch, samples: samples.collect() }
    }

    /// The number of this name, with its labels if it has any.
    pub(super) fn value(&self, name: &str) -> Option<f64> {
        self.samples.get(name).copied()
    }

    /// All numbers of this name, by the value of their first label, and what else stands in the braces.
    pub(super) fn labelled<'r>(&'r self, name: &'r str) -> impl Iterator<Item = (&'r str, &'r str, f64)> {
        let samples = self.samples.range(name.to_owned()..).take_while(move |(key, _)| key.starts_with(name));
        samples.filter_map(move |(key, value)| {
            let (_, rest) = key.strip_prefix(name)?.strip_prefix('{')?.split_once("=\"")?;
            let (first, rest) = rest.split_once('"')?;
            Some((first, rest.trim_start_matches(',').trim_end_matches('}'), *value))
        })
    }

    /// How long the process has run.
    pub(super) fn age(&self) -> Duration {
        let start = self.value("process_start_time_seconds").and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        start.map_or(Duration::ZERO, |start| self.since_epoch.saturating_sub(start))
    }
}

impl<'r> Change<'r> {
    /// How much the counter `name` has grown per second; one that began anew has not.
    pub(super) fn rate(self, name: &str) -> f64 {
        let value = |reading: &Reading| reading.value(name).unwrap_or_default();
        self.per_second(value(self.before), value(self.now))
    }

    /// The same since the first reading.
    pub(super) fn since_first(self) -> Change<'r> {
        Change { before: self.first, ..self }
    }

    fn per_second(self, before: f64, now: f64) -> f64 {
        let seconds = self.now.at.saturating_duration_since(self.before.at).as_secs_f64();
        if now > before && seconds > 0.0 { (now - before) / seconds } else { 0.0 }
    }

    /// The same for each counter of this name, by its label; the fastest first, those that stand still left out.
    pub(super) fn rates(self, name: &'r str) -> Vec<(&'r str, f64)> {
        let mut rates: Vec<_> = self.now.labelled(name).map(|(label, _, _)| (label, self.rate_of(name, label))).collect();
        rates.retain(|(_, rate)| *rate > 0.0);
        rates.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        rates
    }

    fn rate_of(self, name: &str, label: &str) -> f64 {
        let value = |reading: &Reading| reading.labelled(name).find(|(found, _, _)| *found == label).map_or(0.0, |(_, _, value)| value);
        self.per_second(value(self.before), value(self.now))
    }

    /// All of them together.
    pub(super) fn total_rate(self, name: &'r str) -> f64 {
        self.rates(name).iter().fold(0.0, |sum, (_, rate)| sum + rate)
    }

    /// Below which time the share `quantile` of what happened between the readings stayed, in seconds, as Prometheus estimates it;
    /// infinite beyond the largest bound, nothing if nothing happened. Of an event loop, or of a histogram without a label of its own.
    pub(super) fn quantile(self, name: &str, event_loop: Option<&str>, quantile: f64) -> Option<f64> {
        let name = format!("{name}_bucket");
        let buckets = |reading: &Reading| -> Vec<(f64, f64)> {
            let own = reading.labelled(&name).filter_map(|(first, rest, count)| match event_loop {
                Some(event_loop) => (first == event_loop).then_some((rest.strip_prefix("le=\"")?.strip_suffix('"')?, count)),
                None => Some((first, count)),
            });
            own.filter_map(|(bound, count)| Some((seconds(bound)?, count))).collect()
        };
        let (now, before) = (buckets(self.now), buckets(self.before));
        let grown = |(bound, count): (f64, f64)| {
            let old = before.iter().find(|(old, _)| *old == bound).map_or(0.0, |(_, count)| *count);
            (bound, (count - old).max(0.0))
        };
        let mut grown: Vec<_> = now.into_iter().map(grown).collect();
        grown.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        interpolate(&grown, quantile)
    }
}

/// The bound of a bucket.
fn seconds(bound: &str) -> Option<f64> {
    if bound == "+Inf" { Some(f64::INFINITY) } else { bound.parse().ok() }
}

/// Where the share `quantile` ends among cumulative `buckets`, which are in order.
fn interpolate(buckets: &[(f64, f64)], quantile: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
    let rank = quantile * total;
    let index = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (below, count_below) = index.checked_sub(1).map_or((0.0, 0.0), |index| buckets[index]);
    let (bound, count) = buckets[index];
    if bound.is_infinite() || count <= count_below {
        return Some(bound);
    }
    Some(below + (bound - below) * (rank - count_below) / (count - count_below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(page: &str, second: u64) -> Reading {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let start = *START.get_or_init(Instant::now);
        Reading::parse(page, start + Duration::from_secs(second), Duration::from_secs(1000 + second))
    }

    #[test]
    fn numbers_are_found_by_name_and_label() {
        let page = "# HELP texto_a A.\n# TYPE texto_a gauge\ntexto_a 7\ntexto_ab 8\ntexto_b_total{x=\"one\"} 1\ntexto_b_total{x=\"two\",y=\"3\"} 2.5\n\
            texto_process_start_time_seconds 990.5\nother 1\ntexto_c many\ntexto_d NaN\n";
        let reading = reading(page, 0);
        assert_eq!((reading.value("a"), reading.value("ab"), reading.value("c")), (Some(7.0), Some(8.0), None));
        assert!(reading.value("d").is_some_and(f64::is_nan));
        let found: Vec<_> = reading.labelled("b_total").collect();
        assert_eq!(found, [("one", "", 1.0), ("two", "y=\"3\"", 2.5)]);
        assert_eq!(reading.age(), Duration::from_millis(9_500));
    }

    #[test]
    fn rates_are_per_second_and_never_below_nothing() {
        let before = reading("texto_a_total 10\ntexto_b_total{x=\"one\"} 1\ntexto_b_total{x=\"two\"} 9\ntexto_b_total{x=\"three\"} 3\n", 0);
        let now = reading("texto_a_total 30\ntexto_b_total{x=\"one\"} 5\ntexto_b_total{x=\"two\"} 1\ntexto_b_total{x=\"three\"} 23\n", 4);
        let change = Change { first: &before, before: &before, now: &now };
        assert_eq!((change.rate("a_total"), change.rate("none_total")), (5.0, 0.0));
        assert_eq!(change.rates("b_total"), [("three", 5.0), ("one", 1.0)]);
        assert_eq!(change.total_rate("b_total"), 6.0);
        assert_eq!(Change { first: &now, before: &now, now: &now }.rate("a_total"), 0.0);
    }

    #[test]
    fn a_histogram_without_a_label_has_quantiles_too() {
        let page = |few: u32| format!("texto_t_bucket{{le=\"0.1\"}} {few}\ntexto_t_bucket{{le=\"+Inf\"}} {few}\n");
        let (before, now) = (reading(&page(2), 0), reading(&page(4), 1));
        assert_eq!(Change { first: &before, before: &before, now: &now }.quantile("t", None, 0.5), Some(0.05));
    }

    #[test]
    fn quantiles_are_of_what_happened_between_the_readings_and_estimated_as_prometheus_does() {
        let page = |counts: [u32; 3]| {
            let bucket = |(le, count)| format!("texto_t_bucket{{loop=\"0\",le=\"{le}\"}} {count}\n");
            ["0.1", "1", "+Inf"].into_iter().zip(counts).map(bucket).collect::<String>() + "texto_t_bucket{loop=\"1\",le=\"+Inf\"} 9\n"
        };
        for (counts, quantile, expected) in [
            ([10, 10, 10], 0.5, None),
            ([20, 20, 20], 0.5, Some(0.05)),
            ([10, 20, 20], 0.5, Some(0.55)),
            ([15, 20, 20], 0.5, Some(0.1)),
            ([10, 10, 20], 0.99, Some(f64::INFINITY)),
        ] {
            let (before, now) = (reading(&page([10, 10, 10]), 0), reading(&page(counts), 1));
            let found = Change { first: &before, before: &before, now: &now }.quantile("t", Some("0"), quantile);
            let is_near = match (found, expected) {
                (Some(found), Some(expected)) => found == expected || (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(is_near, "{counts:?}: {found:?}, not {expected:?}");
        }
    }
}
