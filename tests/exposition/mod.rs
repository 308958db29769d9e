//! What `/metrics` says, taken apart: families with their types, labels, and the values that these have.
//!
//! Prometheus' own `promtool` judges the form; this only finds out what is there, for whoever names metrics elsewhere: the documents, the
//! dashboard, the alerts.

// Each test crate that shares this file uses a part of it.
#![allow(dead_code)]

pub(crate) mod queries;

use std::collections::{BTreeMap, BTreeSet};

/// A metric.
#[derive(Debug, Default)]
pub(crate) struct Family {
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: String,
    /// Its labels without `le`, and the values that each has.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// The metrics of an exposition, by name.
pub(crate) fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), labels: BTreeMap::new() });
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = families.get_mut(family_of(name)).unwrap_or_else(|| panic!("{name} has no type"));
            for (label, value) in labels(line) {
                if label != "le" {
                    family.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
        }
    }
    families
}

/// The family that a sample of `name` belongs to.
pub(crate) fn family_of(name: &str) -> &str {
    ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// The labels in the first braces of a line. No value of Texto has a comma or a quote.
fn labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|label| label.split_once('=')).map(|(label, value)| (label, value.trim_matches('"')))
}

/// What is wrong with `document` (docs/metrics.md) as a description of `families`; those whose names `is_left_out` may be missing here.
pub(crate) fn check_document(document: &str, families: &BTreeMap<String, Family>, is_left_out: impl Fn(&str) -> bool) -> Vec<String> {
    let mut complaints = Vec::new();
    let rows: Vec<&str> = document.lines().filter(|line| line.starts_with("| `texto_")).collect();
    for (name, Family { kind, labels }) in families {
        let labels: String = labels.keys().map(|label| format!("`{label}` ")).collect();
        let row = format!("| `{name}` | {kind} | {labels}|");
        if !rows.iter().any(|line| line.starts_with(&row)) {
            complaints.push(format!("docs/metrics.md has no row {row} … |"));
        }
    }
    // Numbers and versions speak for themselves.
    let spelled =
        families.values().flat_map(|family| &family.labels).filter(|(label, _)| !["loop", "status", "version"].contains(&label.as_str()));
    for value in spelled.flat_map(|(_, values)| values) {
        if !document.contains(&format!("`{value}`")) {
            complaints.push(format!("docs/metrics.md does not say what `{value}` is"));
        }
    }
    for name in rows.iter().filter_map(|row| row.split('`').nth(1)) {
        if !families.contains_key(name) && !is_left_out(name) {
            complaints.push(format!("docs/metrics.md has {name}, which no node tells"));
        }
    }
    complaints
}
