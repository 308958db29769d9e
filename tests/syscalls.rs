//! What a message costs a node in system calls, counted by strace: pairs of clients in lock-step, each message acknowledged and received
//! before the next is sent. Start and end of the node cancel out between few messages and many.
//!
//! ```text
//!   alone        wait, read, write (ack), write (receive)       4 per message
//!   in company   the wait is shared                             3 and a share of it
//! ```

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use node::{Client, Node, command};
use rustix::process::{Pid, Signal, kill_process};

const FEW: usize = 100;
const MANY: usize = 1_100;

/// A node under strace, which is killed with the value: stopping strace would only detach it.
struct Traced {
    strace: Node,
    node: Option<Pid>,
}

impl Traced {
    fn start(summary: &Path) -> Traced {
        let node = command(&[("loops", "1"), ("admin-address", "off"), ("drain-time", "0s")]);
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-o"]).arg(summary).arg(node.get_program()).args(node.get_args()).env_clear();
        strace.envs(node.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let strace = Node::launch(strace).unwrap();
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", strace.pid())).unwrap();
        let node = Pid::from_raw(children.trim().parse().unwrap());
        Traced { strace, node }
    }

    /// Ends the node as an operator does; strace then writes its summary.
    fn end(&mut self) {
        kill_process(self.node.take().unwrap(), Signal::TERM).unwrap();
        assert!(self.strace.wait().success());
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ended = self.node.map(|node| kill_process(node, Signal::KILL));
    }
}

/// System calls of a whole life of a node in which each of `pairs` sends `messages`.
fn system_calls(pairs: usize, messages: usize) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let summary = folder.path().join("summary");
    let mut traced = Traced::start(&summary);
    let together = Barrier::new(pairs);
    std::thread::scope(|scope| {
        for (sender, recipient) in (0..pairs).map(|_| (traced.strace.client(), traced.strace.client())) {
            let together = &together;
            scope.spawn(move || talk(sender, recipient, messages, together));
        }
    });
    traced.end();
    total(&std::fs::read_to_string(summary).unwrap())
}

fn talk(mut sender: Client, mut recipient: Client, messages: usize, together: &Barrier) {
    together.wait();
    for _ in 0..messages {
        sender.deliver(recipient.id(), "thirty-two bytes of a small text");
        recipient.receive();
    }
}

/// The number of calls in the last line of `strace -c`.
fn total(summary: &str) -> f64 {
    let line = summary.lines().find(|line| line.ends_with(" total")).unwrap_or_else(|| panic!("no total in\n{summary}"));
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}

fn check(pairs: usize, most: f64) {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("skipped: there is no strace");
        return;
    }
    let calls = (system_calls(pairs, MANY) - system_calls(pairs, FEW)) / (pairs * (MANY - FEW)) as f64;
    println!(
        "{calls:.3} system calls per message with {pairs} pairs in lock-step (strace -f -c, one loop, {FEW} and {MANY} messages each)"
    );
    assert!(calls <= most, "{calls} system calls per message with {pairs} pairs");
    // A message needs a read and two writes at least, unless writes to one client are joined, which lock-step rules out.
    assert!(calls >= 3.0, "{calls} system calls per message cannot be");
}

#[test]
fn a_message_alone_costs_four_system_calls() {
    check(1, 4.1);
}

#[test]
fn messages_of_several_pairs_share_the_wait() {
    check(8, 3.2);
}
