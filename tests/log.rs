//! What a node writes to standard error, and what becomes of it when standard error does not take it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use node::{Client, Http, Node, PATIENCE, command, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The whole life of a node: it starts, refuses, serves, and is told to stop. What it has logged, line by line.
fn life(settings: &[(&str, &str)]) -> Vec<String> {
    let mut node = Node::start(&[&[("loops", "1"), ("drain-time", "0s")], settings].concat());
    assert_eq!(node.http().ask("nonsense\r\n\r\n").status, 400);
    assert_eq!(node.http().get("/nothing").status, 404);
    let mut client = node.client();
    client.check();
    node.wait_for_log("not_found");
    node.terminate();
    assert_eq!(client.expect_close(), Some(1012));
    drop(client);
    assert!(node.wait().success());
    node.wait_for_log("texto has stopped");
    node.log().lines().map(str::to_owned).collect()
}

/// Whether this is `2026-11-27T18:02:16.384Z`.
fn is_time(text: &str) -> bool {
    let form = text.bytes().map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    form.eq(*b"0000-00-00T00:00:00.000Z")
}

#[test]
fn a_life_is_told_in_lines_for_people() {
    let lines = life(&[]);
    for line in &lines {
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(is_time(time) && (rest.starts_with("[INFO ] ") || rest.starts_with("[WARN ] ")), "{line}");
    }
    for told in [
        "listens on",
        "metrics are on",
        "open files: limit",
        "runs alone",
        "(not_found)",
        "(malformed)",
        "texto stops",
        "texto has stopped",
    ] {
        assert!(lines.iter().any(|line| line.contains(told)), "{told} is not in {lines:#?}");
    }
    assert!(lines.len() < 12, "a message and a connection leave no line: {lines:#?}");
}

#[test]
fn a_life_is_told_in_json_for_programs() {
    let lines: Vec<Value> =
        life(&[("log-format", "json"), ("log-level", "debug")]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        for field in ["time", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
        assert!(is_time(line["time"].as_str().unwrap()), "{line}");
    }
    let found = |message: &str| {
        lines.iter().find(|line| line["message"].as_str().unwrap().contains(message)).unwrap_or_else(|| panic!("no {message}"))
    };
    let listens = found("listens on");
    assert_eq!((&listens["loops"], &listens["level"], &listens["target"]), (&1.into(), &"info".into(), &"texto::server".into()));
    assert!(listens["address"].as_str().unwrap().parse::<SocketAddr>().is_ok());
    assert_eq!((&found("(not_found)")["reason"], &found("(not_found)")["count"]), (&"not_found".into(), &1.into()));
    assert_eq!(found("texto stops")["connections"], 1);
    assert_eq!(found("a connection has ended: draining")["reason"], "draining");
}

#[test]
fn what_comes_in_crowds_is_left_out_and_counted() {
    const CROWD: usize = 200;
    let mut node = Node::start(&[("loops", "1"), ("drain-time", "0s"), ("log-format", "json")]);
    for _ in 0..CROWD {
        assert_eq!(node.http().get("/nothing").status, 404);
    }
    node.terminate();
    assert!(node.wait().success());
    node.wait_for_log("more lines like this were left out");
    let lines: Vec<Value> = node.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = lines.iter().filter(|line| line["reason"] == "not_found");
    let (count, handshakes) = told.fold((0, 0), |(lines, sum), line| (lines + 1, sum + line["count"].as_u64().unwrap()));
    assert!((20..30).contains(&count), "{count} lines of {handshakes} handshakes");
    let left_out = lines.iter().filter(|line| line["message"].as_str().unwrap().contains("more lines like this were left out"));
    assert!(left_out.map(|line| line["count"].as_u64().unwrap()).sum::<u64>() > 0, "{lines:#?}");
}

/// Each leaves a line; a pipe holds 64 KiB.
const REQUESTS: usize = 2000;

/// A node whose standard error is not read; killed with the value.
struct Unheard {
    child: Child,
    address: SocketAddr,
}

impl Unheard {
    fn start(stderr: Stdio) -> Unheard {
        // The log cannot say which port it is, so it is chosen here.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let settings = [("port", port.as_str()), ("loops", "1"), ("log-level", "trace"), ("admin-address", "off"), ("drain-time", "0s")];
        let child = command(&settings).stdin(Stdio::null()).stderr(stderr).spawn().unwrap();
        let node = Unheard { child, address: format!("127.0.0.1:{port}").parse().unwrap() };
        eventually("it listens", || std::net::TcpStream::connect(node.address).is_ok());
        node
    }

    /// More lines than a pipe holds are logged, and everybody is served meanwhile.
    fn check(&mut self) {
        let mut client = Client::connect(self.address);
        for _ in 0..REQUESTS {
            assert_eq!(Http::connect(self.address).get("/nothing").status, 404);
        }
        client.check();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        client.expect_end();
        assert!(node::wait(&mut self.child, PATIENCE).is_some_and(|status| status.success()), "it ends in time");
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up() {
    let mut node = Unheard::start(Stdio::piped());
    node.check();
    let mut pipe = Vec::new();
    node.child.stderr.take().unwrap().read_to_end(&mut pipe).unwrap();
    let lines = pipe.iter().filter(|byte| **byte == b'\n').count();
    assert!((100..REQUESTS).contains(&lines), "the pipe was full, or nothing is shown: {lines} lines");
}

#[test]
fn a_full_disk_holds_nobody_up() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    Unheard::start(full.into()).check();
}

#[test]
fn a_closed_pipe_holds_nobody_up() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Unheard::start(writer.into()).check();
}

#[test]
fn debug_lines_tell_of_the_end_of_each_connection_and_of_no_message() {
    let node = Node::start(&[("loops", "1"), ("log-level", "debug")]);
    let mut client = node.client();
    client.check();
    let lines_before = node.log().lines().count();
    (0..100).for_each(|_| client.check());
    drop(client);
    node.wait_for_log("a connection has ended: hung_up");
    let log = node.log();
    let after: BTreeSet<&str> = log.lines().skip(lines_before).collect();
    assert_eq!(after.len(), 1, "{after:#?}");
}
