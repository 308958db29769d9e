//! Servers side by side: one table per question, one row per server, each figure as median (least to most) and as a ratio.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Sample;
use super::stats::{Spread, short};

/// The figures worth comparing, by the field they come from.
const FIGURES: [(&str, &str); 11] = [
    ("user_bytes_per_connection", "user B/conn"),
    ("kernel_bytes_per_connection", "kernel B/conn"),
    ("connect_cpu_us_per_connection", "CPU µs/connect"),
    ("held_cpu_us_per_connection_second", "CPU µs/conn·s"),
    ("server_cpu_us_per_message", "CPU µs/message"),
    ("server_cpu_us_per_connection", "CPU µs/conn"),
    ("messages_per_second", "messages/s"),
    ("connects_per_second", "connects/s"),
    ("user_bytes_ratio", "memory after/before"),
    ("stayed_p99_ratio", "p99 storm/calm"),
    ("quiet_p99_ratio", "p99 flood/calm"),
];

/// Runs that can be compared: question, server, runs.
type Tables<'a> = BTreeMap<String, BTreeMap<&'a str, Vec<&'a Sample>>>;

pub(super) fn write(base: Option<&str>, samples: &[Sample]) -> String {
    let mut tables = Tables::new();
    for sample in samples {
        tables.entry(sample.question()).or_default().entry(sample.text("label")).or_default().push(sample);
    }
    tables.iter().map(|(question, servers)| table(question, servers, base)).collect()
}

fn table(question: &str, servers: &BTreeMap<&str, Vec<&Sample>>, base: Option<&str>) -> String {
    let mut out = format!("\n{question}\n");
    for (field, title) in FIGURES {
        let spread =
            |samples: &[&Sample]| Spread::of(samples.iter().filter(|run| !run.is_void()).filter_map(|run| run.number(field)).collect());
        let rows: Vec<_> = servers.iter().filter_map(|(label, samples)| Some((*label, spread(samples)?))).collect();
        let floor = rows.iter().find(|(label, _)| Some(*label) == base).map(|(_, spread)| spread.median).filter(|median| *median > 0.0);
        for (label, spread) in rows {
            let ratio = floor.map_or(String::new(), |floor| format!("{:>7.2} ×", spread.median / floor));
            let range = format!("{} – {}", short(spread.min), short(spread.max));
            // Writing to a String cannot fail.
            let _never =
                writeln!(out, "  {title:<20} {label:<24} {:>9}  ({range:>17}, {} runs) {ratio}", short(spread.median), spread.count);
        }
    }
    for (label, samples) in servers {
        for sample in samples.iter().filter(|sample| sample.is_void()) {
            let why = if sample.text("failed").is_empty() { "missed its rate" } else { sample.text("failed") };
            let _never = writeln!(out, "  void: {label}: {why}");
        }
        let saturated: Vec<&str> = samples.iter().map(|sample| sample.text("saturated")).filter(|why| !why.is_empty()).collect();
        if let Some(why) = saturated.first() {
            let _never = writeln!(out, "  {label}: saturated in {} of {} runs was {why}", saturated.len(), samples.len());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sample(label: &str, cpu: f64) -> Sample {
        Sample(json!({"mode": "route", "label": label, "pairs": 1, "server_cpu_us_per_message": cpu}))
    }

    #[test]
    fn medians_come_with_their_ratio_to_the_base() {
        let samples = [sample("floor", 2.0), sample("texto", 3.0), sample("texto", 9.0), sample("texto", 4.0)];
        let text = write(Some("floor"), &samples);
        let row = text.lines().find(|line| line.contains("texto")).expect("a row");
        assert!(row.contains("4.00") && row.contains("3.00 – 9.00") && row.contains("2.00 ×"), "{row}");
    }

    #[test]
    fn a_void_run_counts_for_nothing_and_is_named() {
        let failed = Sample(json!({"mode": "route", "label": "texto", "pairs": 1, "server_cpu_us_per_message": 99.0, "failed": "lost"}));
        let text = write(None, &[sample("texto", 3.0), failed]);
        assert!(!text.contains("99") && text.contains("void: texto: lost"), "{text}");
    }
}
