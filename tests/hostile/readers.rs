//! Clients that do not read what they are sent, and clients that say too much.

use std::io::Write;
use std::time::{Duration, Instant};

use super::arena::{KIB, MIB, withstands};
use crate::node::{Came, PATIENCE, eventually, frame};

/// How long a crowd floods a node.
const FLOOD: Duration = Duration::from_secs(2);

#[test]
fn a_flood_of_pings_whose_pongs_nobody_reads_ends_at_the_bound() {
    withstands(&[("close-timeout", "1s")], |node| {
        let mut client = node.client();
        let pings = frame(0x89, &[7; 125]).repeat(500);
        client.stream().set_write_timeout(Some(PATIENCE)).unwrap();
        let begun = Instant::now();
        while client.stream().write_all(&pings).is_ok() {
            assert!(begun.elapsed() < PATIENCE, "the flood never ends");
        }
        drop(client);
        eventually("it is counted", || node.metric(r#"connections_closed_total{reason="slow_reader"}"#) == 1);
    });
}

#[test]
fn a_reader_that_stops_is_closed_and_nobody_else_loses_anything() {
    // Far above the bound of 1 MiB and what the sockets of loopback hold.
    const SENT: usize = 1_000;
    withstands(&[], |node| {
        let before = node.process().anonymous_bytes();
        let mut stopped = node.client();
        let mut reads_on = node.client();
        let mut sender = node.client();
        let text = "x".repeat(32 * KIB);
        for sent in 0..SENT {
            sender.deliver(stopped.id(), &format!("{sent:06}{text}"));
            sender.deliver(reads_on.id(), &format!("{sent:06}"));
            assert_eq!(reads_on.receive(), format!("{sent:06}"));
        }
        // A full queue of 1 MiB, which grows by doubling, is what it may cost.
        assert!(node.process().anonymous_bytes() < before + 4 * MIB);
        // What was put into its queue before is still there to be read, and in order.
        let mut read = 0;
        let code = loop {
            match stopped.next() {
                Came::Message(message) => assert!(message["data"]["text"].as_str().unwrap().starts_with(&format!("{read:06}"))),
                Came::Close(code, _) => break code,
                other => panic!("after {read} of {SENT} messages: {other:?}"),
            }
            read += 1;
        };
        assert_eq!(code, Some(1008));
        assert!(read > 0 && read < SENT, "{read} of {SENT}");
        stopped.expect_end();
        eventually("it is counted", || node.metric(r#"connections_closed_total{reason="slow_reader"}"#) == 1);
    });
}

#[test]
fn a_ping_is_answered_behind_what_a_full_socket_has_still_to_take() {
    withstands(&[("outbox-size", "64MiB")], |node| {
        let mut stopped = node.client();
        let mut sender = node.client();
        let text = "x".repeat(64 * KIB);
        let mut sent = 0;
        while node.metric("slow_readers") == 0 {
            sender.deliver(stopped.id(), &format!("{sent:06}{text}"));
            sent += 1;
        }
        (0..3_u8).for_each(|number| stopped.frame(0x89, &[number]));
        for number in 0..sent {
            assert!(stopped.receive().starts_with(&format!("{number:06}")));
        }
        for number in 0..3 {
            assert_eq!(stopped.next(), Came::Pong(vec![number]));
        }
        stopped.check();
    });
}

#[test]
fn a_flooding_sender_that_reads_is_answered_whole_and_slows_nobody_down() {
    const SENDS: usize = 20_000;
    // Room for all answers: on a busy machine this client reads, but not as fast as the node answers.
    withstands(&[("outbox-size", "16MiB")], |node| {
        let mut client = node.client();
        let own = client.id().to_owned();
        let requests: Vec<(String, String)> = (0..SENDS).map(|number| client.request(&own, &number.to_string())).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(|(request, _)| frame(0x81, request.as_bytes())).collect();
        let mut stream = client.stream().try_clone().unwrap();
        let flood = std::thread::spawn(move || stream.write_all(&bytes));
        for (number, (_, id)) in requests.iter().enumerate() {
            assert_eq!(client.expect("ack")["id"], **id);
            assert_eq!(client.receive(), number.to_string());
        }
        flood.join().unwrap().unwrap();
    });
}

#[test]
fn a_crowd_that_says_nonsense_as_fast_as_it_can_slows_nobody_down() {
    withstands(&[], |node| {
        let until = Instant::now() + FLOOD;
        let flooders: Vec<_> = (0..4)
            .map(|number| {
                let client = node.client();
                // Refused one by one, with an answer each; not even that; and pings.
                let nonsense = [frame(0x81, b"{}"), frame(0x8a, b""), frame(0x82, b"x"), frame(0x89, b"?")][number].repeat(5_000);
                let mut stream = client.into_stream();
                let mut answers = stream.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
                std::thread::spawn(move || {
                    while Instant::now() < until && stream.write_all(&nonsense).is_ok() {}
                    stream.shutdown(std::net::Shutdown::Both)
                })
            })
            .collect();
        let mut bystander = node.client();
        let mut answered = 0;
        while Instant::now() < until {
            bystander.check();
            answered += 1;
        }
        // On a machine with nothing else to do it is some thousand.
        assert!(answered > 20, "{answered} messages there and back beside a flood of {FLOOD:?}");
        for flooder in flooders {
            // One that was cut off for what it said has nothing left to shut down.
            let _gone = flooder.join().unwrap();
        }
    });
}
