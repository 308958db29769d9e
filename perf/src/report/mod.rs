//! From files of runs, one JSON object a line: tables with ratios, or a page with plots.

mod compare;
mod page;
mod plot;
mod stats;

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// One line of a file of runs.
pub(crate) struct Sample(Value);

impl Sample {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(Value::as_f64)
    }

    /// A run that failed, or whose load was not what it says, is no result.
    fn is_void(&self) -> bool {
        self.0.get("failed").is_some() || self.0.get("valid") == Some(&Value::Bool(false))
    }

    /// What was asked, without who was asked: runs with the same question can be compared.
    fn question(&self) -> String {
        let mut words = vec![self.text("mode").to_owned()];
        for (name, unit) in [
            ("pairs", "pairs"),
            ("in_flight", "in flight"),
            ("size_bytes", "B"),
            ("rate", "per second"),
            ("idle_connections", "idle"),
            ("connections", "connections"),
            ("flooders", "flooders"),
        ] {
            if let Some(value) = self.number(name) {
                words.push(format!("{value} {unit}"));
            }
        }
        words.join(", ")
    }
}

/// The page with plots of all runs in the files.
pub(crate) fn page(files: &[PathBuf]) -> Result<String, String> {
    read(files).map(|samples| page::write(&samples))
}

/// Medians, least and most, and ratios to the server labelled `base`.
pub(crate) fn comparison(base: Option<&str>, files: &[PathBuf]) -> Result<String, String> {
    read(files).map(|samples| compare::write(base, &samples))
}

fn read(files: &[PathBuf]) -> Result<Vec<Sample>, String> {
    let mut samples = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let value = serde_json::from_str(line).map_err(|error| format!("{} line {}: {error}", file.display(), number + 1))?;
            samples.push(Sample(value));
        }
    }
    if samples.is_empty() { Err("the files hold no runs".to_owned()) } else { Ok(samples) }
}
