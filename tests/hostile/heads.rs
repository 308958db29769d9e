//! Opening handshakes that are wrong, foreign, endless or slow.

use std::time::Duration;

use super::arena::{MIB, withstands};
use crate::node::{Came, Client, Http, Node, UPGRADE, eventually, frame, id, poll};

/// [`UPGRADE`] with the line that begins with `without` left out and `with` added.
fn upgrade(without: &str, with: &str) -> String {
    let kept = UPGRADE.trim_end().split("\r\n").filter(|line| without.is_empty() || !line.starts_with(without));
    kept.chain((!with.is_empty()).then_some(with)).collect::<Vec<_>>().join("\r\n") + "\r\n\r\n"
}

/// What is asked, the status of the answer, and a field that it has.
pub(super) fn rows() -> Vec<(&'static str, String, u16, &'static str)> {
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let many = |fields: usize| UPGRADE.trim_end().to_owned() + "\r\n" + &"X-Header: y\r\n".repeat(fields) + "\r\n";
    vec![
        ("POST", UPGRADE.replace("GET", "POST"), 405, "Allow: GET"),
        ("no upgrade", upgrade("Upgrade", ""), 426, "Upgrade: websocket"),
        ("an upgrade to something else", UPGRADE.replace("websocket", "h2c"), 426, "Upgrade: websocket"),
        ("a wrong path", UPGRADE.replace("/v1/texto", "/v2/texto"), 404, ""),
        ("a path that climbs", UPGRADE.replace("/v1/texto", "/v1/texto/../../etc/passwd"), 404, ""),
        ("version 777", UPGRADE.replace("13", "777"), 426, "Sec-WebSocket-Version: 13"),
        ("no version", upgrade("Sec-WebSocket-Version", ""), 426, "Sec-WebSocket-Version: 13"),
        ("no key", upgrade("Sec-WebSocket-Key", ""), 400, ""),
        ("a bad key", upgrade("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!"), 400, ""),
        ("a short key", upgrade("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="), 400, ""),
        ("a doubled key", upgrade("", KEY), 400, ""),
        ("a body of known length", upgrade("", "Content-Length: 5") + "hello", 400, ""),
        ("a body in chunks", upgrade("", "Transfer-Encoding: chunked") + "5\r\nhello\r\n0\r\n\r\n", 400, ""),
        ("two hosts", upgrade("", "Host: elsewhere"), 400, ""),
        ("2,000 header fields", many(2_000), 431, ""),
        ("a field of 200 kB", upgrade("", &format!("Cookie: {}", "c".repeat(200_000))), 431, ""),
        ("a target of 200 kB", UPGRADE.replace("/v1/texto", &"/x".repeat(100_000)), 431, ""),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".to_owned(), 400, ""),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, ""),
    ]
}

#[test]
fn wrong_handshakes_are_answered_and_closed() {
    withstands(&[], |node| {
        for (claim, request, status, field) in rows() {
            let mut http = node.http();
            // The node may answer, and end, before all of it is said.
            http.try_write(request.as_bytes());
            let response = http.response();
            assert_eq!(response.status, status, "{claim}: {response:?}");
            if let Some((name, value)) = field.split_once(": ") {
                assert_eq!(response.field(name), Some(value), "{claim}");
            }
            // Reading the response has already seen the end of the connection.
            assert_eq!(response.field("Connection"), Some("close"), "{claim}");
        }
    });
}

#[test]
fn a_head_without_an_end_is_answered_at_its_bound() {
    withstands(&[], |node| {
        let before = node.process().anonymous_bytes();
        let mut endless: Vec<Http> = (0..50).map(|_| node.http()).collect();
        for _ in 0..40 {
            for http in &mut endless {
                http.try_write(&b"X-Header: and one more\r\n".repeat(50));
            }
        }
        assert!(node.process().anonymous_bytes() < before + 50 * 64 * 1024 + 4 * MIB);
        for http in &mut endless {
            assert!(matches!(http.response().status, 400 | 431));
        }
    });
}

#[test]
fn one_byte_a_moment_is_no_handshake_and_keeps_nobody_out() {
    withstands(&[("handshake-timeout", "2s")], |node| {
        let mut slow: Vec<Http> = (0..100).map(|_| node.http()).collect();
        // Ten times as fast as a byte a second, so that the test need not last; it is the whole head that has its time, not each byte.
        for byte in UPGRADE.as_bytes()[..UPGRADE.len() - 1].iter().take(15) {
            slow.iter_mut().for_each(|http| http.write(&[*byte]));
            poll(Duration::from_millis(100), || false);
        }
        node.client().check();
        for http in &mut slow {
            assert_eq!(http.response().status, 408);
        }
        let slow_heads = || node.metric(r#"connections_closed_total{reason="slow_head"}"#);
        drop(slow);
        eventually("they are counted", || slow_heads() == 100);
    });
}

#[test]
fn frames_in_the_packet_of_the_handshake_are_heard_the_good_and_the_bad() {
    withstands(&[], |node| {
        let registration = format!(r#"{{"id":"{}","kind":"registration"}}"#, id());
        let mut http = node.http();
        http.write(&[UPGRADE.as_bytes(), &frame(0x81, registration.as_bytes())].concat());
        let mut client = Client::adopt(http);
        let sessions = [(); 2].map(|()| client.expect("connection")["client_id"].clone());
        assert_eq!(sessions[0], sessions[1]);

        let mut http = node.http();
        http.write(&[UPGRADE.as_bytes(), &[0xff; 300]].concat());
        let mut client = Client::adopt(http);
        client.expect("connection");
        assert_eq!(client.expect_close(), Some(1002));
    });
}

#[test]
fn a_foreign_origin_is_turned_away_where_origins_are_named() {
    withstands(&[("allowed-origins", "https://texto.example,https://*.texto.example")], |node| {
        for (origin, status) in [
            ("https://texto.example", 101),
            ("https://chat.texto.example", 101),
            ("https://texto.example.evil.example", 403),
            ("http://texto.example", 403),
            ("https://evil.example", 403),
            ("null", 403),
        ] {
            let mut http = node.http();
            http.write(upgrade("", &format!("Origin: {origin}")).as_bytes());
            assert_eq!(http.response().status, status, "{origin}");
        }
    });
}

#[test]
fn http_1_0_is_upgraded_as_old_proxies_ask_for_it() {
    withstands(&[], |node| {
        let mut http = node.http();
        http.write(UPGRADE.replace("HTTP/1.1", "HTTP/1.0").as_bytes());
        Client::adopt(http).expect("connection");
    });
}

#[test]
fn compression_is_offered_in_vain_and_breaks_the_rules_if_it_comes() {
    withstands(&[], |node| {
        let mut http = node.http();
        http.write(upgrade("", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits").as_bytes());
        let response = http.response();
        assert_eq!((response.status, response.field("Sec-WebSocket-Extensions")), (101, None));
        let mut client = Client::adopt_upgraded(http);
        client.expect("connection");
        client.write(&frame(0xc1, b"\xaa\x56\x4a\x04\x00"));
        assert_eq!(client.expect_close(), Some(1002));
    });
}

#[test]
fn ten_thousand_handshakes_that_never_end_keep_nobody_out() {
    const HALVES: usize = 10_000;
    // Each end of a connection is a descriptor: these are the clients', and the node has a limit of its own.
    let room = crate::node::own_file_limit();
    assert!(room > HALVES as u64 + 1_000, "this test needs {HALVES} descriptors and more, and may have {room}");
    withstands(&[("handshake-timeout", "5s"), ("max-connections", "15000")], |node| {
        let before = node.process().anonymous_bytes();
        let mut halves: Vec<Http> = (0..HALVES).map(|number| half(node, number)).collect();
        node.client().check();
        let spent = node.process().anonymous_bytes() - before.min(node.process().anonymous_bytes());
        // Less than 1.5 KiB for each half of a head of up to 150 bytes.
        assert!(spent < 16 * MIB, "{} MiB", spent / MIB);
        for half in &mut halves {
            assert_eq!(half.response().status, 408);
        }
    });
}

fn half(node: &Node, number: usize) -> Http {
    let mut http = node.http();
    // Those who came first may have been told already, if this machine is slow.
    http.try_write(&UPGRADE.as_bytes()[..number % UPGRADE.len()]);
    http
}

#[test]
fn a_handshake_that_is_cut_off_anywhere_leaves_nothing() {
    withstands(&[], |node| {
        for cut in 0..UPGRADE.len() {
            node.http().write(&UPGRADE.as_bytes()[..cut]);
        }
        let mut half_closed = node.http();
        half_closed.write(&UPGRADE.as_bytes()[..40]);
        half_closed.half_close();
        half_closed.wait_for_end();
        assert_ne!(node.client().next_within(Duration::from_millis(1)), Came::End);
    });
}
