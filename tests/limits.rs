//! The limits that an operator sets, over the program itself: what who runs into one is told, what the metrics count, what a dry run lets
//! through; and whose a connection is, as proxies tell it, nginx among them. Conversations with a single loop are in
//! `tests/transcripts/limits.txt`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::fs;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use node::{Client, Http, Node, UPGRADE, command, eventually};
use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};

/// A request for a WebSocket with one more header field.
fn upgrade_with(field: &str) -> String {
    UPGRADE.replacen("\r\n", &format!("\r\n{field}\r\n"), 1)
}

/// A connection from this address of loopback, of which there are many.
fn connect_from(from: &str, to: SocketAddr) -> Http {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Http::adopt(TcpStream::from(socket))
}

fn hits(node: &Node, limit: &str, enforced: bool) -> u64 {
    node.metric(&format!("limit_hits_total{{limit=\"{limit}\",enforced=\"{enforced}\"}}"))
}

/// Says `request` on a new connection, and keeps the connection if it becomes a WebSocket.
fn ask(mut http: Http, request: &[u8]) -> Result<Http, (u16, String)> {
    http.write(request);
    let response = http.response();
    match response.status {
        101 => Ok(http),
        status => {
            let is_to_come_again = matches!(status, 429 | 503);
            assert_eq!(response.field("Retry-After").is_some(), is_to_come_again, "{response:?}");
            Err((status, response.text()))
        }
    }
}

fn refused(asked: Result<Http, (u16, String)>, status: u16, words: &str) {
    let (told, text) = asked.err().expect("it is let in");
    assert!(told == status && text.starts_with(words), "{told} {text}");
}

#[test]
fn each_address_has_as_many_connections_as_allowed_over_all_loops() {
    let node = Node::start(&[("max-connections-per-address", "3"), ("loops", "2")]);
    let connect = |from| ask(connect_from(from, node.address()), UPGRADE.as_bytes());
    for round in 1..=3 {
        let mut kept: Vec<Http> = Vec::new();
        for from in ["127.0.0.2", "127.0.0.3"] {
            kept.extend((0..3).map(|_| connect(from).unwrap()));
            refused(connect(from), 429, "too many connections from your address");
        }
        assert_eq!(hits(&node, "connections_per_address", true), 2 * round);
        // Who goes makes room, however he goes.
        drop(kept.remove(0));
        eventually("there is room again", || node.metric("connections") == 5);
        kept.push(connect("127.0.0.2").unwrap());
        drop(kept);
        eventually("all are gone", || node.metric("connections") == 0);
    }
}

#[test]
fn an_ipv4_address_is_the_same_in_its_ipv6_form() {
    // On all addresses of both families, IPv4 clients have addresses in IPv6 form.
    let node = Node::start(&[("HOST", "*"), ("max-connections-per-address", "1"), ("trusted-proxies", "127.0.0.9")]);
    let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), node.address().port());
    let _one = ask(connect_from("127.0.0.2", to), UPGRADE.as_bytes()).unwrap();
    refused(ask(connect_from("127.0.0.2", to), UPGRADE.as_bytes()), 429, "");
    let _other = ask(connect_from("127.0.0.9", to), upgrade_with("X-Forwarded-For: 192.0.2.1").as_bytes()).unwrap();
    let _another = ask(connect_from("127.0.0.9", to), upgrade_with("X-Forwarded-For: 192.0.2.2").as_bytes()).unwrap();
}

#[test]
fn a_crowd_from_one_address_costs_no_more_than_those_who_are_told() {
    let node = Node::start(&[("max-connections-per-address", "5")]);
    let descriptors = node.process().descriptors();
    let mut crowd: Vec<Http> = (0..600).map(|_| connect_from("127.0.0.2", node.address())).collect();
    eventually("all have come", || node.metric("connections") + node.metric("connections_dropped_total") == 600);
    assert_eq!(node.metric("connections"), 5 + 256);
    assert_eq!(hits(&node, "connections_per_address", true), 595);
    // Others are served as if nothing were.
    node.client().check();
    crowd.truncate(100);
    eventually("most are gone", || node.metric("connections") <= 100);
    drop(crowd);
    eventually("they are gone", || node.process().descriptors() == descriptors);
    ask(connect_from("127.0.0.2", node.address()), UPGRADE.as_bytes()).unwrap();
}

#[test]
fn only_so_many_handshakes_are_under_way() {
    let node = Node::start(&[("max-handshakes", "3")]);
    let clients: Vec<Client> = (0..10).map(|_| node.client()).collect();
    let mut silent: Vec<Http> = (0..3).map(|_| node.http()).collect();
    eventually("they are there", || node.metric("connections") == 13);
    refused(ask(node.http(), UPGRADE.as_bytes()), 503, "too many new connections");
    assert_eq!(node.http().get("/health").status, 200);
    assert_eq!(hits(&node, "handshakes", true), 2);
    eventually("they have gone", || node.metric("connections") == 13);
    // One becomes a client, one is malformed, one hangs up: each makes room.
    let mut one = silent.remove(0);
    assert_eq!(one.ask(UPGRADE).status, 101);
    silent[0].write(b"no HTTP\r\n\r\n");
    assert_eq!(silent[0].response().status, 400);
    drop(silent);
    eventually("they have gone", || node.metric("connections") == 11);
    let _more: Vec<Http> = (0..3).map(|_| node.http()).collect();
    eventually("there is room for as many", || node.metric("connections") == 14);
    assert_eq!(hits(&node, "handshakes", true), 2);
    drop(clients);
}

#[test]
fn only_so_many_connections_are_taken_per_second() {
    let node = Node::start(&[("accept-rate", "1")]);
    let begun = Instant::now();
    let asked: Vec<_> = (0..20).map(|_| ask(node.http(), UPGRADE.as_bytes())).collect();
    let taken = asked.iter().filter(|asked| asked.is_ok()).count() as u64;
    let most = 2 + begun.elapsed().as_secs();
    assert!((1..=most).contains(&taken), "{taken} were taken, not 1 to {most}");
    assert_eq!(hits(&node, "accept_rate", true), 20 - taken);
    eventually("time makes room", || ask(node.http(), UPGRADE.as_bytes()).is_ok());
}

#[test]
fn nobody_new_is_let_in_while_memory_is_short() {
    // A client that does not read makes the node hold what is sent to it.
    let settings = [("max-memory", "64MiB"), ("message-size", "16MiB"), ("outbox-size", "128MiB"), ("loops", "1")];
    let node = Node::start(&settings);
    let (mut sender, reader) = (node.client(), node.client());
    let text = "x".repeat(15 * 1024 * 1024);
    (0..6).for_each(|_| sender.deliver(reader.id(), &text));
    assert!(node.metric("process_resident_memory_bytes") > 64 << 20);
    eventually("newcomers are refused", || ask(node.http(), UPGRADE.as_bytes()).is_err());
    refused(ask(node.http(), UPGRADE.as_bytes()), 503, "no memory for more connections");
    assert!(hits(&node, "memory", true) > 0);
    sender.check();
    drop(reader);
    eventually("newcomers are let in again", || ask(node.http(), UPGRADE.as_bytes()).is_ok());
}

#[test]
fn pages_of_foreign_origins_do_not_get_in() {
    let node = Node::start(&[("allowed-origins", "https://chat.example,https://*.texto.example")]);
    let ask = |origin: &str| ask(node.http(), upgrade_with(&format!("Origin: {origin}")).as_bytes());
    assert!(ask("https://chat.example").is_ok() && ask("https://a.texto.example").is_ok());
    refused(ask("https://evil.example"), 403, "pages from this origin may not connect here");
    refused(ask("https://texto.example"), 403, "");
    assert_eq!(hits(&node, "origin", true), 2);
    assert_eq!(node.metric(r#"handshakes_refused_total{reason="forbidden_origin"}"#), 2);
    node.client().check();
}

#[test]
fn who_goes_on_sending_too_fast_is_sent_away() {
    let node = Node::start(&[("message-rate", "5")]);
    let (mut flooder, mut other) = (node.client(), node.client());
    (0..100).for_each(|_| flooder.say(r#"{"id":"67e55044-10b1-426f-9247-bb680e5fe0c8","kind":"registration"}"#));
    assert_eq!(flooder.expect_close(), Some(1008));
    flooder.expect_end();
    drop(flooder);
    assert!(hits(&node, "message_rate", true) >= 20);
    eventually("it is gone", || node.metric(r#"connections_closed_total{reason="flooding"}"#) == 1);
    other.check();
}

#[test]
fn a_dry_run_counts_all_and_refuses_nothing() {
    let node = Node::start(&[
        ("limits-dry-run", "true"),
        ("max-connections", "1"),
        ("max-connections-per-address", "1"),
        ("max-handshakes", "1"),
        ("accept-rate", "1"),
        ("message-rate", "1"),
        ("max-memory", "64MiB"),
        ("outbox-size", "128MiB"),
        ("message-size", "16MiB"),
        ("allowed-origins", "https://chat.example"),
    ]);
    let mut silent: Vec<Http> = (0..3).map(|_| node.http()).collect();
    eventually("they are there", || node.metric("connections") == 3);
    let foreign = upgrade_with("Origin: https://evil.example");
    silent.iter_mut().for_each(|http| assert_eq!(http.ask(&foreign).status, 101));
    let (mut sender, reader) = (node.client(), node.client());
    let text = "x".repeat(15 * 1024 * 1024);
    (0..6).for_each(|_| sender.deliver(reader.id(), &text));
    let counts_memory = || {
        node.client().check();
        hits(&node, "memory", false) > 0
    };
    eventually("memory is short", counts_memory);
    for limit in ["connections", "connections_per_address", "handshakes", "accept_rate", "memory", "origin", "message_rate"] {
        assert_eq!(hits(&node, limit, true), 0, "{limit}");
        assert!(hits(&node, limit, false) > 0, "{limit}");
    }
    assert_eq!(node.metric(r#"http_responses_total{status="503"}"#), 0);
}

#[test]
fn messages_and_queues_above_their_size_are_counted_and_a_dry_run_lets_them_through() {
    let settings = [("message-size", "1KiB"), ("outbox-size", "2KiB"), ("loops", "1"), ("message-fragments", "4")];
    let node = Node::start(&settings);
    let mut client = node.client();
    client.say(&"x".repeat(1025));
    assert_eq!(client.expect_close(), Some(1009));
    let (mut flooder, cut) = (node.client(), node.client());
    let text = "x".repeat(500);
    // Of ten in one write, a tick reads more than the queue holds.
    let many: Vec<u8> = (0..10).flat_map(|_| node::frame(0x81, flooder.request(cut.id(), &text).0.as_bytes())).collect();
    flooder.write(&many);
    eventually("the reader is closed", || hits(&node, "outbox", true) > 0);
    assert_eq!((hits(&node, "message_size", true), hits(&node, "message_size", false), hits(&node, "outbox", false)), (1, 0, 0));

    let node = Node::start(&[&settings[..], &[("limits-dry-run", "true")]].concat());
    let (mut flooder, mut reader) = (node.client(), node.client());
    flooder.deliver(reader.id(), &"x".repeat(2000));
    let many: Vec<u8> = (0..10).flat_map(|_| node::frame(0x81, flooder.request(reader.id(), &text).0.as_bytes())).collect();
    flooder.write(&many);
    assert!((0..11).all(|_| reader.receive().starts_with('x')));
    assert_eq!((hits(&node, "message_size", true), hits(&node, "message_size", false)), (0, 1));
    assert!((hits(&node, "outbox", true), hits(&node, "outbox", false) > 0) == (0, true));
    // What the defaults refuse is refused.
    flooder.say(&"x".repeat(256 * 1024 + 1));
    (0..10).for_each(|_| drop(flooder.expect("ack")));
    assert_eq!(flooder.expect_close(), Some(1009));
    assert_eq!(hits(&node, "message_size", true), 1);
}

/// A header of version 2 for a client with this IPv4 address.
fn header_2(client: &str) -> Vec<u8> {
    let IpAddr::V4(client) = client.parse().unwrap() else { panic!("{client} is no IPv4 address") };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(client.octets());
    header.extend([198, 51, 100, 2, 0x9c, 0x40, 1, 0xbb]);
    header
}

#[test]
fn proxies_introduce_their_clients_and_nobody_else_does() {
    let node =
        Node::start(&[("proxy-protocol", "accept"), ("trusted-proxies", "127.0.0.2,10.0.0.0/8"), ("max-connections-per-address", "1")]);
    let proxied = |header: &[u8]| ask(connect_from("127.0.0.2", node.address()), &[header, UPGRADE.as_bytes()].concat());
    let direct = |from: &str, header: &[u8]| ask(connect_from(from, node.address()), &[header, UPGRADE.as_bytes()].concat());
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n";

    let mut kept = vec![proxied(line).unwrap(), proxied(&header_2("192.0.2.2")).unwrap()];
    refused(proxied(&header_2("192.0.2.1")), 429, "too many connections from your address");
    refused(proxied(b"PROXY TCP4 192.0.2.2 198.51.100.2 40001 443\r\n"), 429, "");
    // A proxy before the proxy names the client in the request; a client's own word counts for nothing.
    let chained = |forwarded: &str| {
        let request = [&header_2("10.1.1.1")[..], upgrade_with(&format!("X-Forwarded-For: {forwarded}")).as_bytes()].concat();
        ask(connect_from("127.0.0.2", node.address()), &request)
    };
    kept.push(chained("192.0.2.3").unwrap());
    refused(chained("203.0.113.9, 192.0.2.3"), 429, "");
    // Others are not believed, and are counted as what they are.
    refused(direct("127.0.0.4", line), 400, "this is not an HTTP/1.1 request");
    refused(direct("127.0.0.5", &header_2("203.0.113.9")), 400, "");
    kept.push(direct("127.0.0.3", b"").unwrap());
    let spoofed = upgrade_with("X-Forwarded-For: 203.0.113.9\r\nX-Real-IP: 203.0.113.9");
    refused(ask(connect_from("127.0.0.3", node.address()), spoofed.as_bytes()), 429, "");
    // A proxy's own word about nobody is its own.
    kept.push(proxied(b"PROXY UNKNOWN\r\n").unwrap());
    refused(proxied(b""), 429, "");

    let count = |result: &str| node.metric(&format!("proxy_headers_total{{result=\"{result}\"}}"));
    assert_eq!(["client", "proxy", "absent", "missing", "malformed", "untrusted"].map(count), [6, 1, 1, 0, 0, 0]);
    assert_eq!(hits(&node, "connections_per_address", true), 5);
    eventually("only those let in are there", || node.metric("connections") == kept.len() as u64);
}

#[test]
fn a_header_may_come_in_pieces_but_must_come_whole() {
    let settings = [("proxy-protocol", "require"), ("trusted-proxies", "127.0.0.1"), ("handshake-timeout", "1s")];
    let node = Node::start(&settings);
    for header in [b"PROXY TCP6 2001:db8::1 ::1 40000 443\r\n".to_vec(), header_2("192.0.2.1")] {
        let mut http = node.http();
        for byte in &header {
            http.write(&[*byte]);
        }
        let mut client = Client::upgrade(http, "/v1/texto?nogreet=1");
        client.frame(0x89, b"still there?");
        assert_eq!(client.next(), node::Came::Pong(b"still there?".to_vec()));
    }
    let mut half = node.http();
    half.write(b"PROXY TCP4 192.0.2.1 ");
    assert_eq!(half.response().status, 408);
    // What can be no header is told at once, however much may be to come.
    let mut http = node.http();
    http.write(b"PROXY UNKNOWN ");
    let _cut = http.stream().write_all(&[b'x'; 1 << 16]);
    drop(half);
    eventually("the slow one is gone", || node.metric(r#"connections_closed_total{reason="slow_head"}"#) == 1);
    eventually("it is refused", || node.metric(r#"proxy_headers_total{result="malformed"}"#) == 1);
    assert_eq!(node.http().ask(UPGRADE).status, 400);
    assert_eq!(node.metric(r#"proxy_headers_total{result="missing"}"#), 1);
}

/// An nginx of a test's own, gone with the value.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with this configuration, in which `ADDRESS` stands for where it listens and `FOLDER` for a folder of its own.
    fn start(configuration: &str) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; what is taken meanwhile, nginx tells by ending.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let path = folder.path().join("nginx.conf");
        let place = folder.path().to_string_lossy().into_owned();
        fs::write(&path, configuration.replace("ADDRESS", &address.to_string()).replace("FOLDER", &place)).unwrap();
        let mut command = Command::new("nginx");
        // Debian has it where only root looks for programs.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&path).stdin(Stdio::null());
        let nginx = Nginx { process: command.spawn().expect("nginx is installed"), address, _folder: folder };
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The workers end with the master, but not if that is killed.
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

#[test]
fn nginx_stream_module_introduces_its_clients() {
    if !std::path::Path::new(STREAM_MODULE).exists() {
        println!("skipped: nginx has no stream module ({STREAM_MODULE})");
        return;
    }
    let settings = [("proxy-protocol", "require"), ("trusted-proxies", "127.0.0.1"), ("max-connections-per-address", "1")];
    let node = Node::start(&settings);
    let nginx = Nginx::start(&format!(
        "load_module {STREAM_MODULE}; pid FOLDER/pid; error_log FOLDER/error.log; daemon off; events {{}}
         stream {{ server {{ listen ADDRESS; proxy_pass {}; proxy_protocol on; }} }}",
        node.address()
    ));
    let from = |address| ask(connect_from(address, nginx.address), UPGRADE.as_bytes());
    let (_one, _other) = (from("127.0.0.2").unwrap(), from("127.0.0.3").unwrap());
    refused(from("127.0.0.2"), 429, "too many connections from your address");
    // The client's own header is no more than what it says.
    let forged = [b"PROXY TCP4 203.0.113.9 198.51.100.2 40000 443\r\n", UPGRADE.as_bytes()].concat();
    refused(ask(connect_from("127.0.0.4", nginx.address), &forged), 400, "");
    // And so is one that comes past nginx.
    refused(ask(connect_from("127.0.0.5", node.address()), &forged), 400, "connections come through a proxy here");
}

#[test]
fn nginx_names_its_clients_in_the_request() {
    let node = Node::start(&[("trusted-proxies", "127.0.0.1"), ("max-connections-per-address", "1")]);
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path FOLDER/{name};")).concat();
    let nginx = Nginx::start(&format!(
        "pid FOLDER/pid; error_log FOLDER/error.log; daemon off; events {{}}
         http {{ {temporary} access_log off; keepalive_timeout 0; server {{ listen ADDRESS; location / {{
             proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Host $host;
             proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }} }}",
        node.address()
    ));
    let from = |address, request: &str| ask(connect_from(address, nginx.address), request.as_bytes());
    let (_one, _other) = (from("127.0.0.2", UPGRADE).unwrap(), from("127.0.0.3", UPGRADE).unwrap());
    refused(from("127.0.0.2", UPGRADE), 429, "too many connections from your address");
    refused(from("127.0.0.3", &upgrade_with("X-Forwarded-For: 203.0.113.9")), 429, "");
    refused(from("127.0.0.3", &upgrade_with("X-Real-IP: 203.0.113.9")), 429, "");
    assert!(from("127.0.0.4", &upgrade_with("X-Forwarded-For: 127.0.0.3")).is_ok());
}

#[test]
fn settings_that_contradict_each_other_end_the_start() {
    for (settings, words) in [
        (&[("proxy-protocol", "require")][..], "--proxy-protocol is \"require\": only off is allowed while --trusted-proxies names nobody"),
        (&[("max-connections", "5"), ("max-handshakes", "6")], "--max-handshakes is \"6\": no more is allowed than --max-connections"),
        (&[("trusted-proxies", "10.0.0.1/8")], "--trusted-proxies is \"10.0.0.1/8\": "),
        (&[("allowed-origins", "chat.example")], "--allowed-origins is \"chat.example\": "),
        (&[("max-memory", "1MiB")], "--max-memory is \"1MiB\": off or a size from 64MiB"),
    ] {
        let output = command(settings).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), told.lines().count()), (Some(2), 1), "{told}");
        assert!(told.starts_with(&format!("texto: {words}")), "{told}");
    }
}
