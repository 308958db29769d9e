//! What a node tells of itself, after some traffic and with a real Redis: judged by Prometheus' own tool, and compared with the documents, the
//! dashboard and the alerts, so that none of them names what does not exist.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod exposition;
mod node;
mod redis;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use exposition::{Family, check_document, families, queries};
use node::{Client, Http, Node, eventually};
use redis::Redis;
use serde_json::Value;

const ALERTS: &str = include_str!("../deploy/prometheus/alerts.yml");
const DASHBOARD: &str = include_str!("../deploy/grafana/texto.json");

/// The page of a node that has Redis and has seen a client.
fn page() -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| {
        let redis = Redis::start(&[]);
        let node = Node::start(&[("REDIS_URL", &redis.url()), ("loops", "2")]);
        eventually("the node is connected to Redis", || node.metric("redis_publisher_up") == 1);
        node.client().check();
        Http::connect(node.admin()).get("/metrics").text()
    })
}

fn told() -> BTreeMap<String, Family> {
    families(page())
}

/// Runs Prometheus' tool; what it complains of.
fn promtool(arguments: &[&str], input: &str) -> Result<(), String> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = command.spawn().expect("promtool is in Debian's package prometheus, which tests/run.sh installs");
    tool.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // It tells what is bad style on standard error, with a status of its own.
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn prometheus_own_linter_finds_nothing_wrong() {
    assert_eq!(promtool(&["check", "metrics"], page()), Ok(()));
    let bad = page().replace("texto_errors_total", "texto_errors");
    assert!(promtool(&["check", "metrics"], &bad).unwrap_err().contains("texto_errors"), "it would have found something");
}

#[test]
fn every_metric_is_documented_and_every_one_documented_is_told() {
    let document = include_str!("../docs/metrics.md");
    let none: [String; 0] = [];
    assert_eq!(check_document(document, &told(), |_| false), none);
    for (right, wrong) in
        [("`texto_clients` |", "`texto_client` |"), ("| counter | `code` |", "| gauge | `code` |"), ("`slow_head`", "slow_head")]
    {
        assert_ne!(check_document(&document.replace(right, wrong), &told(), |_| false), none, "{wrong} would have been found");
    }
}

/// All strings under the keys that hold queries and legends.
fn strings_of<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if ["expr", "legendFormat", "query"].contains(&key.as_str()) => found.push(text),
                    _ => strings_of(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings_of(value, found)),
        _ => {}
    }
}

#[test]
fn no_panel_and_no_alert_names_what_a_node_does_not_tell() {
    let (told, none) = (told(), Vec::<String>::new());
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut strings = Vec::new();
    strings_of(&dashboard, &mut strings);
    assert!(strings.len() > 50, "the queries are where they are looked for: {strings:?}");
    for text in strings {
        assert_eq!(queries::check(text, &told), none, "{text}");
    }
    assert_eq!(queries::check(ALERTS, &told), none);
    for (right, wrong) in [
        ("texto_clients", "texto_client"),
        ("texto_loop_lag_seconds_bucket", "texto_loop_lag_seconds"),
        ("texto_loop_tick_seconds_sum", "texto_loop_tick_seconds_total"),
        ("reason=\"full\"", "reason=\"fill\""),
        ("reason=\"full\"", "why=\"full\""),
        ("unresponsive|socket_error", "unresponsive|socket"),
        ("by (job, instance, loop, le)", "by (job, instance, lop, le)"),
        ("{{ $labels.loop }}", "{{ $labels.lop }}"),
    ] {
        assert!(ALERTS.contains(right), "{right}");
        assert_ne!(queries::check(&ALERTS.replace(right, wrong), &told), none, "{wrong} would have been found");
    }
}

#[test]
fn every_panel_and_every_alert_says_what_it_is_about() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        for field in ["title", "description"] {
            assert!(panel[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {panel}");
        }
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
    }
    for alert in ALERTS.split("- alert: ").skip(1) {
        for field in ["summary: ", "description: ", "action: ", "severity: "] {
            assert!(alert.contains(field), "no {field} in {alert}");
        }
    }
}

#[test]
fn the_alerts_tell_of_what_they_should_and_of_nothing_else() {
    assert_eq!(promtool(&["check", "rules", "deploy/prometheus/alerts.yml"], ""), Ok(()));
    assert_eq!(promtool(&["test", "rules", "deploy/prometheus/alerts_test.yml"], ""), Ok(()));
    let tests = include_str!("../deploy/prometheus/alerts_test.yml");
    for alert in ALERTS.split("- alert: ").skip(1).filter_map(|rest| rest.lines().next()) {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "nothing tests {alert}");
    }
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let mut rules = "groups: [{name: panels, rules: [\n".to_owned();
    for (number, target) in targets.enumerate() {
        let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        rules += &format!("{{record: panel_{number}, expr: {}}},\n", Value::from(query));
    }
    rules += "]}]\n";
    let folder = tempfile::tempdir().unwrap();
    let check = |rules: &str| {
        let path = folder.path().join("panels.yml");
        std::fs::write(&path, rules).unwrap();
        promtool(&["check", "rules", path.to_str().unwrap()], "")
    };
    assert_eq!(check(&rules), Ok(()));
    assert!(check(&rules.replace("rate(", "rate((")).is_err(), "it would have found something");
}

/// A message that is refused with `ESYNTAX`, one with `EKIND`.
const MISTAKES: [&str; 2] = ["{", r#"{"id":"00000000-0000-4000-8000-000000000000","kind":"sing"}"#];

#[test]
fn the_numbers_are_those_of_what_has_happened() {
    let redis = Redis::start(&[]);
    let node = Node::start(&[("REDIS_URL", &redis.url()), ("loops", "1")]);
    eventually("the node is connected to Redis", || (node.metric("redis_publisher_up"), node.metric("redis_subscriber_up")) == (1, 1));
    let (mut alice, bob) = (node.client(), node.client());
    alice.deliver(bob.id(), "hello");
    alice.deliver("ffffffff-ffff-4fff-8fff-ffffffffffff", "is anybody there?");
    for mistake in MISTAKES {
        alice.say(mistake);
        alice.expect("error");
    }
    alice.frame(0x89, b"ping");
    alice.next();
    let id = "00000000-0000-4000-8000-000000000000";
    for kind in ["ack", "error", "registration"] {
        alice.say(&format!(r#"{{"id":"{id}","kind":"{kind}"}}"#));
    }
    alice.expect("connection");
    assert_eq!(node.http().get("/nothing").status, 404);
    eventually("that connection is gone", || node.metric("connections") == 2);
    for (name, expected) in [
        (concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1),
        ("draining", 0),
        ("clients", 2),
        ("loop_connections{loop=\"0\"}", 2),
        ("loop_up{loop=\"0\"}", 1),
        ("handshakes_refused_total{reason=\"not_found\"}", 1),
        ("messages_received_total{kind=\"send\"}", 2),
        ("messages_received_total{kind=\"ack\"}", 1),
        ("messages_received_total{kind=\"error\"}", 1),
        ("messages_received_total{kind=\"registration\"}", 1),
        ("messages_received_total{kind=\"refused\"}", 2),
        ("messages_sent_total{kind=\"connection\"}", 3),
        ("messages_sent_total{kind=\"ack\"}", 2),
        ("messages_sent_total{kind=\"receive\"}", 1),
        ("messages_sent_total{kind=\"error\"}", 2),
        ("errors_total{code=\"ESYNTAX\"}", 1),
        ("errors_total{code=\"EKIND\"}", 1),
        ("sends_total{route=\"loop\"}", 1),
        ("sends_total{route=\"redis\"}", 1),
        ("redis_published_total", 1),
        ("pings_received_total", 1),
        ("slow_readers", 0),
    ] {
        assert_eq!(node.metric(name), expected, "{name}");
    }
    assert!(node.metric("loop_tick_seconds_count{loop=\"0\"}") > 0);
    assert!(node.metric("process_resident_memory_bytes") > node.metric("process_anonymous_memory_bytes"));
    eventually("the clock hand has come to a deadline", || node.metric("loop_lag_seconds_count{loop=\"0\"}") > 0);
}

#[test]
fn what_waits_for_a_reader_that_stopped_is_counted_until_it_is_gone() {
    let node = Node::start(&[("loops", "1"), ("outbox-size", "64MiB")]);
    let (mut writer, reader) = (node.client(), node.client());
    let text = "x".repeat(200_000);
    let mut sent = 0;
    while node.metric("waiting_bytes") < 1_000_000 {
        writer.deliver(reader.id(), &text);
        sent += 1;
        assert!(sent < 200, "the kernel takes it all");
    }
    assert_eq!(node.metric("slow_readers"), 1);
    drop(reader);
    eventually("nothing waits any more", || (node.metric("slow_readers"), node.metric("waiting_bytes")) == (0, 0));
}

#[test]
fn descriptors_are_counted_with_the_connections() {
    let node = Node::start(&[("loops", "1")]);
    let before = node.metric("process_open_fds");
    let clients: Vec<Client> = (0..100).map(|_| node.client()).collect();
    assert_eq!(node.metric("process_open_fds"), before + clients.len() as u64);
    let limits = std::fs::read_to_string(Path::new("/proc").join(node.pid().to_string()).join("limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some(node.metric("process_max_fds").to_string().as_str()));
}
