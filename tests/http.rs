//! What a node answers over HTTP, on real sockets: every row of its table, however the bytes come, and when it is full.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use node::{Came, Client, Http, Node, PATIENCE, Response, UPGRADE, eventually, frame, id};

/// The line that a request for a page has to have.
const HOST: &str = "Host: localhost\r\n";

/// The shortest handshake timeout; a node counts in whole milliseconds.
const ALMOST_A_SECOND: Duration = Duration::from_millis(990);

/// The lines of a request but for its Host, and the status and some fields of the response.
type Row<'a> = (&'a str, u16, &'a [(&'a str, &'a str)]);

/// Asks for something and compares what has to be compared; a `*` stands for any value of a field, a `-` for no such field.
fn check(address: SocketAddr, request: &str, status: u16, fields: &[(&str, &str)]) -> Response {
    let shown = &request[..request.len().min(200)];
    let response = Http::connect(address).ask(request);
    assert_eq!(response.status, status, "{shown:?}: {response:?}");
    for (name, expected) in fields {
        match (*expected, response.field(name)) {
            ("-", None) | ("*", Some(_)) => {}
            (expected, found) => assert_eq!(found, Some(expected), "{name} after {shown:?}"),
        }
    }
    if status == 304 {
        assert_eq!((response.field("Connection"), response.field("Content-Length"), &response.body[..]), (Some("close"), None, &b""[..]));
    } else if status != 101 {
        assert_eq!(response.field("Connection"), Some("close"));
        let length: usize = response.field("Content-Length").unwrap().parse().unwrap();
        assert!(length > 0);
        let expected = if request.starts_with("HEAD") { 0 } else { length };
        assert_eq!(response.body.len(), expected, "{shown:?}: {response:?}");
    }
    response
}

/// [`UPGRADE`] with the lines that begin with `without` left out and `with` added.
fn upgrade(without: &str, with: &str) -> String {
    let kept = UPGRADE.trim_end().split("\r\n").filter(|line| without.is_empty() || !line.starts_with(without));
    let mut lines: Vec<&str> = kept.collect();
    if !with.is_empty() {
        lines.push(with);
    }
    lines.join("\r\n") + "\r\n\r\n"
}

#[test]
fn pages_are_served_with_and_without_their_bodies() {
    let node = Node::start(&[]);
    let html = [("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", "*"), ("X-Content-Type-Options", "nosniff")];
    let json = [("Content-Type", "application/json"), ("Cache-Control", "no-cache")];
    let ask = |line: &str, fields: &[(&str, &str)]| check(node.address(), &format!("{line}\r\n{HOST}\r\n"), 200, fields);
    assert_eq!(ask("GET / HTTP/1.1", &html).body, include_bytes!("../client/index.html"));
    let script = [("Content-Type", "text/javascript; charset=utf-8"), ("X-Content-Type-Options", "nosniff"), ("ETag", "*")];
    assert_eq!(ask("GET /texto.js HTTP/1.1", &script).body, include_bytes!("../client/texto.js"));
    assert_eq!(ask("GET /health HTTP/1.1", &json).text(), "{\"status\":\"alive\"}\n");
    for line in ["HEAD / HTTP/1.1", "GET /?room=1 HTTP/1.1", "GET http://localhost/ HTTP/1.1", "GET / HTTP/1.0"] {
        ask(line, &html);
    }
    for line in ["HEAD /health HTTP/1.1", "HEAD /health HTTP/1.0"] {
        ask(line, &json);
    }
    check(node.address(), "GET /health HTTP/1.0\r\n\r\n", 200, &json);
}

#[test]
fn a_browser_that_has_the_client_already_need_not_load_it_again() {
    let node = Node::start(&[]);
    for path in ["/", "/texto.js"] {
        let first = check(node.address(), &format!("GET {path} HTTP/1.1\r\n{HOST}\r\n"), 200, &[("Cache-Control", "no-cache")]);
        let tag = first.field("ETag").unwrap();
        let ask = |known: &str, status: u16| {
            let fields = [("ETag", tag), ("Cache-Control", "no-cache")];
            check(node.address(), &format!("GET {path} HTTP/1.1\r\n{HOST}If-None-Match: {known}\r\n\r\n"), status, &fields)
        };
        // A 304 brings the policy anew: what is kept may be older than the rules for it.
        assert_eq!(ask(tag, 304).field("Content-Security-Policy"), first.field("Content-Security-Policy"));
        ask(&format!("\"of another version\", W/{tag}"), 304);
        ask("\"of another version\"", 200);
    }
    assert_eq!(node.metric(r#"http_responses_total{status="304"}"#), 4);
    let tagless = format!("GET /health HTTP/1.1\r\n{HOST}If-None-Match: *\r\n\r\n");
    check(node.address(), &tagless, 200, &[("ETag", "-")]);
}

#[test]
fn the_operators_pages_are_on_the_operators_address_only() {
    let node = Node::start(&[]);
    for page in ["/ready", "/metrics"] {
        assert_eq!((node.http().get(page).status, node.admin_status(page)), (404, 200), "{page}");
    }
    assert_eq!(check(node.admin(), UPGRADE, 404, &[("Upgrade", "-")]).status, 404);
}

#[test]
fn what_cannot_be_had_gets_its_status_and_its_fields() {
    let node = Node::start(&[]);
    let pages = [("Allow", "GET, HEAD")];
    let not_an_upgrade = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "-")];
    let wrong_version = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    let rows: &[Row<'_>] = &[
        ("GET /nothing HTTP/1.1", 404, &[("Allow", "-")]),
        ("GET /v1/texto/ HTTP/1.1", 404, &[]),
        ("GET /V1/TEXTO HTTP/1.1", 404, &[]),
        ("POST /nothing HTTP/1.1", 404, &[]),
        ("POST / HTTP/1.1", 405, &pages),
        ("DELETE /health HTTP/1.1", 405, &pages),
        ("BREW /health HTTP/1.1", 405, &pages),
        ("OPTIONS * HTTP/1.1", 405, &pages),
        ("CONNECT localhost:80 HTTP/1.1", 405, &pages),
        ("POST /v1/texto HTTP/1.1", 405, &[("Allow", "GET")]),
        ("HEAD /v1/texto HTTP/1.1", 405, &[("Allow", "GET")]),
        ("GET /v1/texto HTTP/1.1", 426, &not_an_upgrade),
        ("GET /v1/texto HTTP/1.0", 426, &not_an_upgrade),
        ("GET /v1/texto HTTP/1.1\r\nConnection: Upgrade", 426, &not_an_upgrade),
        ("GET /v1/texto HTTP/1.1\r\nUpgrade: websocket", 426, &not_an_upgrade),
        ("GET /v1/texto HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c", 426, &not_an_upgrade),
        ("GET /v1/texto HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket", 426, &wrong_version),
        ("GET /v1/texto HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8", 426, &wrong_version),
    ];
    for (lines, status, fields) in rows {
        // A HEAD's response has no body, whatever its status: RFC 9110 section 9.3.2.
        let request = format!("{lines}\r\n{HOST}\r\n");
        if lines.starts_with("HEAD") {
            assert_eq!(node.http().ask(&request).status, *status, "{lines}");
        } else {
            check(node.address(), &request, *status, fields);
        }
    }
}

#[test]
fn bad_requests_get_400() {
    let node = Node::start(&[]);
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let rows = [
        "this is no request\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\n{HOST}{HOST}\r\n"),
        format!("GET / HTTP/1.1\r\n{HOST}X-Name : value\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{HOST}X-Name: nu\0ll\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{HOST} folded: line\r\n\r\n"),
        format!("GET  / HTTP/1.1\r\n{HOST}\r\n"),
        upgrade("Sec-WebSocket-Key", ""),
        upgrade("", key),
        upgrade("Sec-WebSocket-Key", "Sec-WebSocket-Key: c2hvcnQ="),
        upgrade("Sec-WebSocket-Key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=!"),
        upgrade("", "Sec-WebSocket-Version: 13"),
        upgrade("", "Content-Length: 3"),
        upgrade("", "Transfer-Encoding: chunked"),
        upgrade("Host", ""),
        upgrade("", "Host: elsewhere"),
    ];
    for request in rows {
        check(node.address(), &request, 400, &[("Content-Type", "text/plain; charset=utf-8")]);
    }
}

#[test]
fn a_head_may_be_large_but_not_larger() {
    let node = Node::start(&[]);
    let many = |count: usize| (0..count).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let long = |bytes: usize| {
        let head = format!("GET /health HTTP/1.1\r\n{HOST}Cookie: \r\n\r\n");
        head.replace("Cookie: ", &format!("Cookie: {}", "c".repeat(bytes - head.len())))
    };
    check(node.address(), &format!("GET /health HTTP/1.1\r\n{HOST}{}\r\n", many(99)), 200, &[]);
    check(node.address(), &format!("GET /health HTTP/1.1\r\n{HOST}{}\r\n", many(100)), 431, &[]);
    check(node.address(), &long(16 * 1024), 200, &[]);
    check(node.address(), &long(16 * 1024 + 1), 431, &[]);
    check(node.address(), &long(200 * 1024), 431, &[]);
    check(node.address(), &format!("GET /{}", "x".repeat(20 * 1024)), 431, &[]);
    check(node.address(), &upgrade("", &format!("Cookie: {}", "c".repeat(20 * 1024))), 431, &[]);
}

#[test]
fn upgrades_are_granted_in_every_good_form() {
    let node = Node::start(&[]);
    let granted = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ("Content-Length", "-"),
    ];
    let rows = [
        UPGRADE.to_owned(),
        UPGRADE.replace("HTTP/1.1", "HTTP/1.0"),
        upgrade("Host", "").replace("HTTP/1.1", "HTTP/1.0"),
        upgrade("Connection", "Connection: keep-alive, upgrade"),
        upgrade("Upgrade", "UPGRADE: WebSocket"),
        upgrade("", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat"),
        UPGRADE.replace("/v1/texto", "/v1/texto?room=1&nogreet=1"),
        UPGRADE.replace("/v1/texto", "http://texto.example/v1/texto"),
    ];
    for request in rows {
        let response = check(node.address(), &request, 101, &granted);
        assert_eq!((response.field("Sec-WebSocket-Extensions"), response.field("Sec-WebSocket-Protocol")), (None, None));
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte_or_with_frames_behind_it() {
    let node = Node::start(&[]);
    let registration = frame(0x81, format!(r#"{{"id":"{}","kind":"registration"}}"#, id()).as_bytes());
    let whole = [UPGRADE.as_bytes(), &registration, &registration].concat();
    let cuts = [vec![whole.len()], vec![UPGRADE.len() - 1], vec![UPGRADE.len() + 1], vec![UPGRADE.len() + 9], (1..=whole.len()).collect()];
    for cuts in cuts {
        let mut http = node.http();
        let mut from = 0;
        for to in cuts.into_iter().chain([whole.len()]) {
            http.write(&whole[from..to]);
            from = to;
        }
        let mut client = Client::adopt(http);
        let sessions = [(); 3].map(|()| client.expect("connection")["client_id"].clone());
        assert!(sessions[0].is_string() && sessions.iter().all(|session| *session == sessions[0]));
    }
}

#[test]
fn a_page_may_be_asked_byte_by_byte_and_by_half_closing() {
    let node = Node::start(&[]);
    let request = format!("GET /health HTTP/1.1\r\n{HOST}\r\n");
    let mut slow = node.http();
    request.as_bytes().iter().for_each(|byte| slow.write(&[*byte]));
    assert_eq!(slow.response().text(), "{\"status\":\"alive\"}\n");

    let mut half_closed = node.http();
    half_closed.write(request.as_bytes());
    half_closed.half_close();
    assert_eq!(half_closed.response().text(), "{\"status\":\"alive\"}\n");

    let mut incomplete = node.http();
    incomplete.write(&request.as_bytes()[..20]);
    incomplete.half_close();
    assert_eq!(incomplete.read_to_end(), b"");
}

#[test]
fn a_response_arrives_whole_although_the_client_goes_on_talking() {
    let node = Node::start(&[]);
    let pages = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    let large = format!("GET /health HTTP/1.1\r\n{HOST}{}", "X: y\r\n".repeat(200));
    for (request, status) in
        [(pages.as_str(), 200), ("nonsense\r\n\r\n", 400), ("GET /v1/texto HTTP/1.1\r\nHost: x\r\n\r\n", 426), (&large, 431)]
    {
        let mut http = node.http();
        http.write(request.as_bytes());
        // More than the buffers of the sockets hold: the node has to go on reading, and must not answer it with a reset.
        for _ in 0..256 {
            http.write(&[b'x'; 64 * 1024]);
        }
        http.write(request.as_bytes());
        let response = http.response();
        assert_eq!(response.status, status);
        assert_eq!(response.body.len(), response.field("Content-Length").unwrap().parse::<usize>().unwrap());
        assert_eq!(http.read_to_end(), b"");
    }
}

#[test]
fn a_head_that_is_not_whole_in_time_gets_408_however_it_comes() {
    let node = Node::start(&[("handshake-timeout", "1s"), ("close-timeout", "1s")]);
    let begun = Instant::now();
    let silent = node.http();
    let mut stuck = node.http();
    stuck.write(&UPGRADE.as_bytes()[..UPGRADE.len() - 1]);
    for mut http in [silent, stuck] {
        assert_eq!(http.response().status, 408);
        assert!(begun.elapsed() >= ALMOST_A_SECOND);
    }

    let begun = Instant::now();
    let mut http = node.http();
    let mut sent = 0;
    // Waiting for an answer is what paces the bytes.
    http.stream().set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while http.stream().peek(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock) {
        http.write(&UPGRADE.as_bytes()[sent..=sent]);
        sent += 1;
    }
    assert!(sent < 50 && begun.elapsed() >= ALMOST_A_SECOND, "{sent} bytes in {:?}", begun.elapsed());
    // Who has been answered and neither leaves nor falls silent is left in the end.
    let is_open = |http: &mut Http| match http.stream().read(&mut [0; 4096]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    while is_open(&mut http) && http.try_write(b"x") {}
    eventually("nobody is left", || node.metric("connections") == 0);
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!(node.metric(r#"connections_closed_total{reason="slow_head"}"#), 3);
}

#[test]
fn exactly_as_many_clients_as_allowed_are_let_in() {
    const MOST: usize = 10;
    let node = Node::start(&[("max-connections", &MOST.to_string())]);
    let mut asked: Vec<Http> = (0..4 * MOST).map(|_| node.http()).collect();
    asked.iter_mut().for_each(|http| http.write(UPGRADE.as_bytes()));
    let (admitted, refused): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .map(|mut http| {
            let response = http.response();
            (http, response)
        })
        .partition(|(_, response)| response.status == 101);
    assert_eq!((admitted.len(), refused.len()), (MOST, 3 * MOST));
    for (_, response) in &refused {
        assert_eq!((response.status, response.field("Retry-After")), (503, Some("5")));
    }
    drop(refused);
    for path in ["/", "/health"] {
        assert_eq!(node.http().get(path).status, 200, "{path}");
    }
    eventually("only those let in are there", || node.metric("connections") == MOST as u64);
    assert_eq!(node.http().ask(UPGRADE).status, 503);

    let mut admitted: Vec<Http> = admitted.into_iter().map(|(http, _)| http).collect();
    for _ in 0..3 {
        drop(admitted.pop());
        eventually("the place is free again", || {
            let mut http = node.http();
            let is_let_in = http.ask(UPGRADE).status == 101;
            if is_let_in {
                admitted.insert(0, http);
            }
            is_let_in
        });
        eventually("only those let in are there", || node.metric("connections") == MOST as u64);
        assert_eq!(node.http().ask(UPGRADE).status, 503);
    }
}

#[test]
fn a_crowd_in_front_of_a_full_node_is_bounded_and_leaves_no_trace() {
    let node = Node::start(&[("max-connections", "10")]);
    let descriptors = node.process().descriptors();
    // Some of them are told to come back later, the others hear nothing.
    let crowd: Vec<Http> = (0..600).map(|_| node.http()).collect();
    eventually("the crowd has come", || node.metric("connections_accepted_total") == 266);
    assert_eq!(node.metric("connections"), 266);
    drop(crowd);
    eventually("they are gone", || node.process().descriptors() == descriptors);
    let mut client = node.client();
    client.check();
    assert_eq!(client.next_within(Duration::from_millis(1)), Came::Nothing);
}
