//! The page: three plots and the table of all runs, in one file that needs nothing else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Sample;
use super::plot::{Axis, Scale, Series, draw, escaped};
use super::stats::{Spread, short};
use crate::record::QUANTILES;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2rem auto;padding:0 1rem;color:#1d2329;background:#fff}\
h1{font-size:1.6rem}h2{font-size:1.15rem;margin-top:2.2rem}h3{font-size:1rem;font-weight:600;margin:1.4rem 0 .2rem}svg{width:100%;height:auto}svg text{font-size:12px;fill:#3b444c}\
svg polyline{fill:none;stroke-width:1.8}.grid{stroke:#e3e7ea;stroke-width:1}p{color:#4a545c}.scroll{overflow-x:auto}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #e3e7ea}\
td:nth-child(-n+2){white-space:nowrap}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}.void td{color:#a33;text-decoration:line-through}";

/// The columns of the table: field and title.
const COLUMNS: [(&str, &str); 8] = [
    ("messages_per_second", "messages/s"),
    ("server_cpu_us_per_message", "CPU µs/message"),
    ("connects_per_second", "connects/s"),
    ("server_cpu_us_per_connection", "CPU µs/conn"),
    ("user_bytes_per_connection", "user B/conn"),
    ("kernel_bytes_per_connection", "kernel B/conn"),
    ("server_cpu_share", "server CPU"),
    ("tool_cpu_share", "tool CPU"),
];

pub(super) fn write(samples: &[Sample]) -> String {
    let valid: Vec<&Sample> = samples.iter().filter(|sample| !sample.is_void()).collect();
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>texto-perf</title><style>{STYLE}</style></head><body>\n<h1>texto-perf: {} runs</h1>\n",
        samples.len()
    );
    section(
        &mut out,
        "Latency by percentile",
        "Send to delivery, the median run of each kind. Under a fixed rate it counts from the moment when a message was due.",
        &latency(&valid),
    );
    section(
        &mut out,
        "Memory over connections",
        "Anonymous memory of the server while connections only idle. By powers of ten: servers lie that far apart.",
        &memory(&valid),
    );
    section(
        &mut out,
        "CPU over rate",
        "CPU time per message at fixed rates: what a message costs when there is time between them, and when there is none.",
        &cpu(&valid),
    );
    out.push_str("<h2>All runs</h2>\n<p>Struck out: failed, or missed its rate.</p>\n");
    out.push_str(&table(samples));
    out.push_str("</body></html>\n");
    out
}

fn section(out: &mut String, title: &str, words: &str, plot: &str) {
    if !plot.is_empty() {
        out.push_str(&format!("<h2>{title}</h2>\n<p>{words}</p>\n{plot}"));
    }
}

/// A server's line.
fn line(samples: &[&Sample], label: &str, points: Vec<(f64, f64)>) -> Series {
    let labels: BTreeSet<&str> = samples.iter().map(|sample| sample.text("label")).collect();
    Series { name: label.to_owned(), colour: labels.iter().position(|known| *known == label).unwrap_or(0), points }
}

/// Runs by server and question.
fn groups<'a>(samples: &[&'a Sample]) -> BTreeMap<(String, &'a str), Vec<&'a Sample>> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for sample in samples {
        groups.entry((sample.question(), sample.text("label"))).or_default().push(*sample);
    }
    groups
}

/// One plot per question, one line per server: at each percentile the median of its runs.
fn latency(samples: &[&Sample]) -> String {
    // The further into the tail, the wider: one unit per nine.
    let position = |quantile: f64| -(1.0 - quantile.min(0.999_99)).log10();
    let mut plots = BTreeMap::<String, Vec<Series>>::new();
    for ((question, label), runs) in groups(samples) {
        let at = |name: &str| Spread::of(runs.iter().filter_map(|run| run.0.get("delivery_us")?.get(name)?.as_f64()).collect());
        let points: Vec<_> = QUANTILES.iter().filter_map(|(name, quantile)| Some((position(*quantile), at(name)?.median))).collect();
        if !points.is_empty() {
            plots.entry(question).or_default().push(line(samples, label, points));
        }
    }
    let marks = QUANTILES.iter().filter(|(name, _)| *name != "p75" && *name != "p95").map(|(name, at)| (position(*at), (*name).to_owned()));
    let x = Axis { title: "percentile", scale: Scale::Linear, marks: marks.collect() };
    let y = Axis { title: "µs", scale: Scale::Log, marks: Vec::new() };
    plots.iter().map(|(question, series)| format!("<h3>{}</h3>\n{}", escaped(question), draw(&x, &y, series))).collect()
}

/// One line per server: the last run that has steps.
fn memory(samples: &[&Sample]) -> String {
    let mut lines = BTreeMap::new();
    for sample in samples {
        let Some(Value::Array(steps)) = sample.0.get("steps") else { continue };
        let point = |step: &Value| Some((step.get("connections")?.as_f64()?, step.get("user_bytes")?.as_f64()? / 1e6));
        lines.insert(sample.text("label"), steps.iter().filter_map(point).collect::<Vec<_>>());
    }
    let series: Vec<_> = lines.into_iter().map(|(label, points)| line(samples, label, points)).collect();
    let axis = |title, scale| Axis { title, scale, marks: Vec::new() };
    draw(&axis("connections", Scale::Linear), &axis("MB", Scale::Log), &series)
}

/// One line per server through its runs at fixed rates; those at one rate are one point.
fn cpu(samples: &[&Sample]) -> String {
    let mut lines = BTreeMap::<&str, Vec<(f64, f64)>>::new();
    let steady: Vec<&Sample> = samples.iter().copied().filter(|sample| sample.text("mode") == "rate").collect();
    for ((_, label), runs) in groups(&steady) {
        let median = |name: &str| Spread::of(runs.iter().filter_map(|run| run.number(name)).collect()).map(|spread| spread.median);
        if let (Some(rate), Some(cost)) = (median("messages_per_second"), median("server_cpu_us_per_message")) {
            lines.entry(label).or_default().push((rate, cost));
        }
    }
    let series: Vec<_> = lines
        .into_iter()
        .map(|(label, mut points)| {
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            line(samples, label, points)
        })
        .collect();
    let x = Axis { title: "messages per second", scale: Scale::Log, marks: Vec::new() };
    draw(&x, &Axis { title: "CPU µs per message", scale: Scale::Linear, marks: Vec::new() }, &series)
}

fn table(samples: &[Sample]) -> String {
    let titles: String = COLUMNS.iter().map(|(_, title)| format!("<th>{title}</th>")).collect();
    let rows: String = samples.iter().map(row).collect();
    format!("<div class=\"scroll\"><table><tr><th>server</th><th>question</th>{titles}</tr>\n{rows}</table></div>\n")
}

fn row(sample: &Sample) -> String {
    let cells: String =
        COLUMNS.iter().map(|(field, _)| format!("<td>{}</td>", sample.number(field).map_or(String::new(), short))).collect();
    let class = if sample.is_void() { " class=\"void\"" } else { "" };
    format!("<tr{class}><td>{}</td><td>{}</td>{cells}</tr>\n", escaped(sample.text("label")), escaped(&sample.question()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_needs_nothing_from_outside() {
        let route = Sample(json!({"mode": "rate", "label": "<texto>", "messages_per_second": 1e5, "server_cpu_us_per_message": 3.0,
            "delivery_us": {"p50": 10.0, "p99": 50.0, "max": 90.0}}));
        let idle = Sample(json!({"mode": "idle", "label": "texto", "steps": [{"connections": 1, "user_bytes": 5, "kernel_bytes": 7}]}));
        let page = write(&[route, idle]);
        assert_eq!(page.matches("<svg").count(), 3);
        assert!(page.contains("&lt;texto&gt;") && !page.contains("<texto>"));
        assert!(!page.contains("src=") && !page.contains("href="));
    }

    #[test]
    fn a_void_run_is_in_the_table_only() {
        let page = write(&[Sample(json!({"mode": "rate", "label": "texto", "valid": false, "delivery_us": {"p50": 10.0}}))]);
        assert!(page.contains("class=\"void\"") && !page.contains("<svg"));
    }
}
