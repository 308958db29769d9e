//! What a run tells: a table for a person, one line of JSON for a file, from the same fields in the same order.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The longest latency that is told apart; a run that gets here has failed anyway.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// The points of a distribution that are kept.
pub(crate) const QUANTILES: [(&str, f64); 8] =
    [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// A distribution of latencies, three digits exact.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Latencies {
        let bounds = Histogram::new_with_bounds(1, LATENCY_MAX.as_nanos() as u64, 3);
        Latencies(bounds.expect("bounds from 1 up with 3 digits are always valid"))
    }

    /// Adds the time from `since`, if that is known, to `now`.
    pub(crate) fn note(&mut self, since: Option<Instant>, now: Instant) {
        if let Some(since) = since {
            self.0.saturating_record(u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX).max(1));
        }
    }

    pub(crate) fn add(&mut self, other: &Latencies) {
        // Refused only for other bounds, and all histograms here have the same.
        let _same_bounds = self.0.add(&other.0);
    }

    /// In microseconds.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }

    fn to_json(&self) -> Value {
        let points = QUANTILES.iter().map(|(name, quantile)| ((*name).to_owned(), rounded(self.at(*quantile))));
        Value::Object(points.collect::<Map<_, _>>())
    }
}

/// The fields of one run. Their names end in their unit.
#[derive(Default)]
pub(crate) struct Record {
    fields: Vec<(&'static str, Value)>,
    printed: usize,
}

impl Record {
    pub(crate) fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.fields.push((name, value.into()));
    }

    /// A number to four digits: more would be noise.
    pub(crate) fn number(&mut self, name: &'static str, value: f64) {
        self.put(name, rounded(value));
    }

    pub(crate) fn latencies(&mut self, name: &'static str, latencies: &Latencies) {
        self.put(name, latencies.to_json());
    }

    /// Prints the fields that have come since the last time.
    pub(crate) fn print(&mut self) {
        let mut out = io::stdout().lock();
        for (name, value) in &self.fields[self.printed..] {
            // Whoever read the table may have gone (`| head`); the run goes on, for the file.
            let _gone = writeln!(out, "{name:>36}  {}", readable(value));
        }
        self.printed = self.fields.len();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.fields.iter().any(|(name, _)| *name == "failed")
    }

    pub(crate) fn to_line(&self) -> String {
        let fields: Vec<String> = self.fields.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// Adds the run to a file of runs.
    pub(crate) fn append(&self, file: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(file)?;
        writeln!(file, "{}", self.to_line())
    }
}

fn rounded(value: f64) -> Value {
    if value == 0.0 || !value.is_finite() {
        return json!(0.0);
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    if scale >= 1.0 { json!((value * scale).round() / scale) } else { json!(value.round()) }
}

fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(points) => {
            // A distribution in its own order; other objects have few fields, in any.
            let quantiles = QUANTILES.iter().filter_map(|(name, _)| Some((*name, points.get(*name)?)));
            let others = points.iter().filter(|(name, _)| QUANTILES.iter().all(|(known, _)| known != name));
            let all = quantiles.chain(others.map(|(name, value)| (name.as_str(), value)));
            all.map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join("  ")
        }
        Value::Array(items) => items.iter().map(readable).collect::<Vec<_>>().join("\n                                      "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_in_the_order_of_its_fields() {
        let mut record = Record::default();
        record.put("mode", "route");
        record.number("server_cpu_us_per_message", 3.456_789);
        record.put("valid", true);
        assert_eq!(record.to_line(), r#"{"mode":"route","server_cpu_us_per_message":3.457,"valid":true}"#);
    }

    #[test]
    fn numbers_keep_four_digits() {
        for (value, expected) in [(0.0, 0.0), (1.23456, 1.235), (123_456.7, 123_457.0), (0.001_234_56, 0.001_235), (f64::NAN, 0.0)] {
            assert_eq!(rounded(value), json!(expected));
        }
    }

    #[test]
    fn latencies_are_microseconds() {
        let (mut latencies, now) = (Latencies::new(), Instant::now());
        for microseconds in 1..=100 {
            latencies.note(Some(now), now + Duration::from_micros(microseconds));
        }
        latencies.note(None, now);
        assert!((latencies.at(0.5) - 50.0).abs() < 0.1, "{}", latencies.at(0.5));
        assert!((latencies.at(1.0) - 100.0).abs() < 0.2, "{}", latencies.at(1.0));
    }
}
