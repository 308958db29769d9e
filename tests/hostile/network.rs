//! Connections that break, freeze, or end and begin faster than anybody can look.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;

use super::arena::{KIB, MIB, withstands};
use super::frames::close;
use crate::node::{Client, Http, UPGRADE, eventually, frame, own_file_limit};

#[test]
fn clients_that_vanish_anywhere_leave_nothing_behind() {
    withstands(&[], |node| {
        let text = "x".repeat(40 * KIB);
        for round in 0..200 {
            let mut client = node.client();
            let own = client.id().to_owned();
            let whole = frame(0x81, client.request(&own, &text).0.as_bytes());
            match round % 4 {
                0 => client.write(&whole[..1]),
                1 => client.write(&whole[..whole.len() / 2]),
                2 => client.write(&[frame(0x01, b"{"), frame(0x89, b"p"), vec![0x80]].concat()),
                // Gone while the node has something to say to it.
                _ => client.write(&whole.repeat(10)),
            }
            client.reset();
        }
        for cut in (0..UPGRADE.len()).step_by(7) {
            node.http().write(&UPGRADE.as_bytes()[..cut]);
        }
    });
}

#[test]
fn what_was_sent_before_leaving_is_handed_on_and_answered() {
    const SENDS: usize = 100;
    for leave in [Client::half_close as fn(&mut Client), |client| client.write(&close(1000, b""))] {
        withstands(&[("loops", "4")], |node| {
            let mut recipients: Vec<Client> = (0..8).map(|_| node.client()).collect();
            let mut client = node.client();
            let requests: Vec<(String, String)> =
                (0..SENDS).map(|number| client.request(recipients[number % 8].id(), &number.to_string())).collect();
            let bytes: Vec<u8> = requests.iter().flat_map(|(request, _)| frame(0x81, request.as_bytes())).collect();
            client.write(&bytes);
            leave(&mut client);
            let mut missing: Vec<&str> = requests.iter().map(|(_, id)| id.as_str()).collect();
            while !missing.is_empty() {
                let ack = client.expect("ack");
                missing.retain(|id| ack["id"] != **id);
            }
            client.expect_end();
            for number in 0..SENDS {
                assert_eq!(recipients[number % 8].receive(), number.to_string());
            }
        });
    }
}

#[test]
fn all_clients_may_go_at_once_and_come_back() {
    const CLIENTS: usize = 1_000;
    own_file_limit();
    withstands(&[], |node| {
        let process = node.process();
        let mut settled = Vec::new();
        for round in 0..3 {
            let mut clients: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
            clients.iter_mut().step_by(50).for_each(Client::check);
            let leave = if round % 2 == 0 { Client::reset } else { drop::<Client> };
            clients.into_iter().for_each(leave);
            eventually("they are gone", || node.metric("connections") == 2);
            settled.push(process.anonymous_bytes());
        }
        // What the first crowd needed may be kept for the next, but a crowd must not cost more each time.
        assert!(settled[2] < settled[0] + MIB, "{settled:?}");
    });
}

/// A line between clients and a node, on which bytes can be lost without anybody being told.
struct Line {
    address: SocketAddr,
    is_dead: Arc<AtomicBool>,
}

impl Line {
    /// A line that takes as many clients.
    fn to(node: SocketAddr, clients: usize) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, is_dead) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let dead = is_dead.clone();
        thread::spawn(move || {
            for _ in 0..clients {
                let (client, _) = listener.accept().unwrap();
                let server = TcpStream::connect(node).unwrap();
                for (from, to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    let dead = dead.clone();
                    thread::spawn(move || carry(from, to, &dead));
                }
            }
        });
        Line { address, is_dead }
    }
}

/// Carries bytes until the line is dead; then takes them and tells nobody, not even of an end.
fn carry(mut from: TcpStream, mut to: TcpStream, is_dead: &AtomicBool) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        if !is_dead.load(Ordering::Relaxed) && to.write_all(&bytes[..len]).is_err() {
            return;
        }
    }
    if is_dead.load(Ordering::Relaxed) {
        // Its end of the line stays open, as that of a machine without power does, until the node gives it up.
        let _given_up = to.read(&mut bytes);
    }
}

#[test]
fn peers_that_vanish_without_a_word_are_given_up_in_time() {
    const CLIENTS: usize = 50;
    withstands(&[("ping-after", "1s"), ("pong-timeout", "1s")], |node| {
        let line = Line::to(node.address(), CLIENTS);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(line.address)).collect();
        clients.iter_mut().for_each(Client::check);
        // Some in the middle of a frame.
        clients.iter_mut().step_by(3).for_each(|client| client.write(&frame(0x81, b"{}")[..4]));
        line.is_dead.store(true, Ordering::Relaxed);
        eventually("they are given up", || node.metric(r#"connections_closed_total{reason="unresponsive"}"#) == CLIENTS as u64);
    });
}

#[test]
fn who_leaves_and_who_comes_in_one_batch_are_never_taken_for_each_other() {
    const CLIENTS: usize = 100;
    withstands(&[], |node| {
        for round in 0..5 {
            let leaving: Vec<Client> = (0..CLIENTS).map(|_| node.client()).collect();
            // Whatever happens now, the node will hear of all at once.
            node.signal(Signal::STOP);
            let coming: Vec<Http> = leaving
                .into_iter()
                .enumerate()
                .map(|(number, mut client)| {
                    let own = client.id().to_owned();
                    client.send(&own, "the last word");
                    let leave = if (round + number) % 2 == 0 { Client::reset } else { drop::<Client> };
                    leave(client);
                    let mut http = node.http();
                    http.write(UPGRADE.as_bytes());
                    http
                })
                .collect();
            node.signal(Signal::CONT);
            for http in coming {
                let mut client = Client::adopt(http);
                let greeting = client.expect("connection");
                // Nothing of the one who had its place before.
                client.set_id(greeting["client_id"].as_str().unwrap());
                client.check();
            }
        }
    });
}
