//! What an idle connection costs a node: the slope of its memory over thousands of them, as the kernel counts it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::net::{SocketAddr, TcpStream};

use node::{Client, Node, eventually, own_file_limit};

const FEW: usize = 2_000;
const MANY: usize = 18_000;

/// Descriptors that are needed, in the node as in the test.
const DESCRIPTORS: u64 = MANY as u64 + 500;

/// Bytes of a slot. In debug builds mio's sockets also remember their poll.
const SLOT_BYTES: f64 = if cfg!(debug_assertions) { 48.0 } else { 32.0 };

/// Bytes of anonymous memory that one more idle connection may cost besides: an entry in the directory is 4, and some stay free.
const FURTHER_BYTES_MAX: f64 = 32.0;

/// Threads that open connections.
const OPENERS: usize = 4;

/// Connections that have been greeted, have sent a message and have received one.
fn open(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let one = move |_| {
        let mut client = Client::connect(address);
        client.check();
        client.into_stream()
    };
    let share = move || (0..count / OPENERS).map(one).collect::<Vec<_>>();
    let openers: Vec<_> = (0..OPENERS).map(|_| std::thread::spawn(share)).collect();
    openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
}

fn bytes_per_connection(settings: &[(&str, &str)]) -> f64 {
    let node = Node::start(settings);
    let mut connections = open(node.address(), FEW);
    let few = node.process().anonymous_bytes();
    connections.extend(open(node.address(), MANY - FEW));
    eventually("all are there", || node.metric("connections") == MANY as u64);
    let many = node.process().anonymous_bytes();
    (many as f64 - few as f64) / (MANY - FEW) as f64
}

#[test]
fn an_idle_connection_costs_little_more_than_its_slot() {
    let limit = own_file_limit();
    if limit < DESCRIPTORS {
        println!("skipped: the limit of open files is {limit}, and {DESCRIPTORS} are needed");
        return;
    }
    for settings in [&[("loops", "1")][..], &[]] {
        let bytes = bytes_per_connection(settings);
        println!(
            "{bytes:.1} bytes of anonymous memory per idle connection between {FEW} and {MANY}, a slot of {SLOT_BYTES} included, with {settings:?}"
        );
        assert!(bytes < SLOT_BYTES + FURTHER_BYTES_MAX, "{bytes} bytes per idle connection");
        // Less would mean that something else was measured.
        assert!(bytes > SLOT_BYTES, "{bytes} bytes per idle connection are less than its slot");
    }
}
