//! The life of a node as its operator sees it: how it starts, what stops it, what does not, and what its clients are told.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::{ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use node::{Came, Client, Http, Node, PATIENCE, UPGRADE, bare_command, command, eventually, own_file_limit};
use rustix::process::Signal;

/// An address of loopback that nothing else uses, with a port that is known before anything listens.
fn address_of_its_own() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, high | 1, low, NEXT.fetch_add(1, Ordering::Relaxed)], 8398))
}

/// The settings that make a node listen on `address`.
fn at(address: SocketAddr) -> [(&'static str, String); 2] {
    [("HOST", address.ip().to_string()), ("PORT", address.port().to_string())]
}

fn command_at(address: SocketAddr) -> Command {
    let mut command = command(&[]);
    command.envs(at(address));
    command
}

#[test]
fn first_lines_say_what_runs_and_how_much_it_can_hold() {
    let limit = own_file_limit();
    let node = Node::start(&[("loops", "3"), ("max-connections", "100")]);
    let listens = format!("texto {} listens on {} with 3 event loops", env!("CARGO_PKG_VERSION"), node.address());
    let open_files = format!("open files: limit {limit} (was ");
    let operator = format!("/ready and /metrics are on {}", node.admin());
    for words in [&listens, &open_files, "this node takes 100", "no REDIS_URL: this node runs alone", &operator] {
        assert!(node.log().contains(words), "not said: {words}\n{}", node.log());
    }
}

#[test]
fn a_node_needs_no_settings() {
    let mut command = bare_command();
    // Only so that it disturbs nobody.
    command.env("PORT", "0");
    let node = Node::launch(command).unwrap();
    assert!(node.address().ip().is_unspecified());
    for ip in ["127.0.0.1", "::1"] {
        match TcpListener::bind((ip, 0)) {
            Ok(_) => Client::connect(SocketAddr::new(ip.parse().unwrap(), node.address().port())).check(),
            Err(_) => println!("this machine has no {ip}"),
        }
    }
}

#[test]
fn clients_talk_whatever_loops_serve_them() {
    for loops in [1, 4] {
        let node = Node::start(&[("loops", &loops.to_string())]);
        let mut one_of_each: Vec<Client> = Vec::new();
        // The kernel spreads connections by a hash of their addresses, so it takes a few to meet all loops.
        let mut tried = 0;
        while one_of_each.len() < loops {
            let client = node.client();
            assert!(usize::from(client.event_loop()) < loops, "{}", client.id());
            if !one_of_each.iter().any(|known| known.event_loop() == client.event_loop()) {
                one_of_each.push(client);
            }
            tried += 1;
            assert!(tried < 1000, "the kernel uses {} of {loops} loops", one_of_each.len());
        }
        let ids: Vec<String> = one_of_each.iter().map(|client| client.id().to_owned()).collect();
        for (sender, recipient) in (0..loops).flat_map(|sender| (0..loops).map(move |recipient| (sender, recipient))) {
            let text = format!("from {sender} to {recipient}");
            one_of_each[sender].deliver(&ids[recipient], &text);
            assert_eq!(one_of_each[recipient].receive(), text);
        }
    }
}

#[test]
fn a_drain_tells_clients_one_after_the_other_and_turns_newcomers_away() {
    const SPAN: Duration = Duration::from_secs(2);
    let mut node = Node::start(&[("drain-time", "2s")]);
    assert_eq!(node.admin_status("/ready"), 200);
    let clients: Vec<Client> = (0..40).map(|_| node.client()).collect();
    node.terminate();
    let begun = Instant::now();
    let waiting: Vec<_> = clients.into_iter().map(|client| std::thread::spawn(move || time_of_goodbye(client, begun))).collect();

    eventually("/ready is 503", || node.admin_status("/ready") == 503);
    assert_eq!(Http::connect(node.admin()).get("/ready").text(), "{\"status\":\"unready\",\"reasons\":[\"draining\"]}\n");
    let mut response = node.http().ask(UPGRADE);
    while response.status == 101 {
        // Between the signal and the moment in which the loops have heard of it.
        response = node.http().ask(UPGRADE);
    }
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("5")));
    assert!(begun.elapsed() < SPAN, "too slow a machine to see what happens during a drain");
    assert!(waiting.iter().any(|goodbye| !goodbye.is_finished()), "all clients were told before /ready was 503");

    let mut goodbyes: Vec<Duration> = waiting.into_iter().map(|goodbye| goodbye.join().unwrap()).collect();
    goodbyes.sort();
    assert!(goodbyes[39] >= SPAN * 3 / 4, "the last client was told after {:?}", goodbyes[39]);
    assert!(goodbyes[20] - goodbyes[0] >= SPAN / 5 && goodbyes[39] - goodbyes[20] >= SPAN / 5, "not spread: {goodbyes:?}");
    assert!(node.wait().success());
    assert!(node.log().contains("texto has stopped"));
}

fn time_of_goodbye(mut client: Client, begun: Instant) -> Duration {
    assert_eq!(client.expect_close(), Some(1012));
    let goodbye = begun.elapsed();
    client.expect_end();
    goodbye
}

#[test]
fn what_is_owed_is_said_before_a_drain_says_goodbye() {
    const TEXTS: usize = 100;
    let mut node = Node::start(&[("drain-time", "0s"), ("close-timeout", "1s"), ("outbox-size", "16MiB")]);
    let mut reader = node.client();
    let mut sender = node.client();
    // More than the socket buffers of loopback take, so some of it still waits in the node.
    let text = "x".repeat(64 * 1024);
    for _ in 0..TEXTS {
        sender.deliver(reader.id(), &text);
    }
    node.terminate();
    for _ in 0..TEXTS {
        assert_eq!(reader.receive().len(), text.len());
    }
    assert_eq!(reader.expect_close(), Some(1012));
    assert!(node.wait().success());
}

#[test]
fn whatever_was_acknowledged_during_a_drain_was_handed_on() {
    for _ in 0..5 {
        let mut node = Node::start(&[("drain-time", "0s"), ("loops", "1")]);
        let mut client = node.client();
        let own = client.id().to_owned();
        let burst: Vec<u8> = (0..200).flat_map(|_| node::frame(0x81, client.request(&own, "to myself").0.as_bytes())).collect();
        client.write(&burst);
        node.terminate();
        let (mut acks, mut receives) = (0, 0);
        let code = loop {
            match client.next() {
                Came::Message(message) if message["kind"] == "ack" => acks += 1,
                Came::Message(message) if message["kind"] == "receive" => receives += 1,
                Came::Close(code, _) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((code, receives), (Some(1012), acks));
        assert!(node.wait().success());
    }
}

#[test]
fn a_drain_waits_for_nobody_longer_than_the_close_timeout() {
    let mut node = Node::start(&[("drain-time", "0s"), ("close-timeout", "1s")]);
    let _says_nothing = node.http();
    let mut asks_slowly = node.http();
    asks_slowly.write(&UPGRADE.as_bytes()[..20]);
    let _reads_nothing = node.client();
    eventually("all are counted", || node.metric("connections") == 3);
    node.terminate();
    let response = asks_slowly.response();
    assert_eq!((response.status, response.field("Retry-After")), (503, Some("5")));
    assert!(node.wait().success());
}

#[test]
fn a_drain_ends_in_time_though_newcomers_keep_coming() {
    const SPAN: Duration = Duration::from_secs(1);
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
    // What the node adds because its clock hand goes around once a second, and what a busy machine does.
    const SLACK: Duration = Duration::from_secs(5);
    let mut command = command_at(address_of_its_own());
    command.args(["--loops=1", "--drain-time=1s", "--close-timeout=1s", "--handshake-timeout=1m"]);
    let mut node = Node::launch(command).unwrap();
    let address = node.address();
    let newcomers = std::thread::spawn(move || come_one_after_the_other(address));
    eventually("newcomers have come", || node.metric("connections") >= 3);
    node.terminate();
    let begun = Instant::now();
    assert!(node.wait().success());
    let took = begun.elapsed();
    assert!(took > SPAN, "newcomers keep a node up for a while, but it ended after {took:?}");
    assert!(took < SPAN + 2 * CLOSE_TIMEOUT + SLACK, "{took:?}");
    newcomers.join().unwrap();
}

/// Connects every now and then, says nothing, and stays until nobody listens any more.
fn come_one_after_the_other(address: SocketAddr) {
    let mut guests = Vec::new();
    while let Ok(guest) = std::net::TcpStream::connect(address) {
        guests.push(guest);
        assert!(guests.len() < 1000, "somebody listens for ever");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn every_loop_turns_newcomers_away_until_the_last_client_of_the_node_has_left() {
    let mut command = command_at(address_of_its_own());
    command.args(["--loops=2", "--drain-time=0s", "--close-timeout=1m"]);
    let mut node = Node::launch(command).unwrap();
    // One loop has this client, and the other has none.
    let mut last = node.client();
    node.terminate();
    let mut first_byte = [0];
    // Not read, so not answered: the client stays.
    assert_eq!((last.stream().peek(&mut first_byte).unwrap(), first_byte), (1, [0x88]));
    // The other loop may hear of the drain a moment later; whoever it takes till then it sends away at once.
    eventually("newcomers are refused", || node.http().ask(UPGRADE).status == 503);
    for _ in 0..40 {
        let response = node.http().ask(UPGRADE);
        assert_eq!((response.status, response.field("Retry-After")), (503, Some("5")));
    }
    // The kernel spreads newcomers over those who listen. A loop that stops cuts off whoever stands in its line, so none must.
    assert_eq!(listeners(node.address()), 2);
    assert_eq!(last.expect_close(), Some(1012));
    assert!(node.wait().success());
}

/// Sockets that listen on `address`, by the kernel's list (proc(5)).
fn listeners(address: SocketAddr) -> usize {
    const LISTEN: &str = "0A";
    let IpAddr::V4(ip) = address.ip() else { panic!("{address} is not in this list") };
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port());
    let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    fields.filter(|fields| fields[1] == local && fields[3] == LISTEN).count()
}

#[test]
fn a_second_signal_ends_a_node_at_once() {
    for (first, second, code) in [(Signal::TERM, Signal::TERM, 143), (Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::INT, 130)] {
        let mut node = Node::start(&[("drain-time", "1h")]);
        let _clients: Vec<Client> = (0..3).map(|_| node.client()).collect();
        node.signal(first);
        node.wait_for_log("texto stops");
        assert!(node.is_running());
        node.signal(second);
        assert_eq!(node.wait().code(), Some(code), "{first:?}, then {second:?}");
        node.wait_for_log("a second signal: texto ends at once");
        assert!(!node.log().contains("texto has stopped"), "it has not drained:\n{}", node.log());
    }
}

#[test]
fn an_interrupt_drains_too() {
    let mut node = Node::start(&[("drain-time", "0s")]);
    let mut client = node.client();
    node.signal(Signal::INT);
    assert_eq!(client.expect_close(), Some(1012));
    assert!(node.wait().success());
}

#[test]
fn no_other_signal_disturbs_a_node() {
    const IGNORED: [(&str, i32); 5] =
        [("PIPE", libc::SIGPIPE), ("CHLD", libc::SIGCHLD), ("URG", libc::SIGURG), ("WINCH", libc::SIGWINCH), ("CONT", libc::SIGCONT)];
    const TOLD: [(&str, i32); 14] = [
        ("HUP", libc::SIGHUP),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("QUIT", libc::SIGQUIT),
        ("ALRM", libc::SIGALRM),
        ("VTALRM", libc::SIGVTALRM),
        ("PROF", libc::SIGPROF),
        ("IO", libc::SIGIO),
        ("PWR", libc::SIGPWR),
        ("XCPU", libc::SIGXCPU),
        ("XFSZ", libc::SIGXFSZ),
        ("STKFLT", libc::SIGSTKFLT),
        ("SYS", libc::SIGSYS),
        ("TRAP", libc::SIGTRAP),
    ];
    let mut node = Node::start(&[]);
    let mut client = node.client();
    let mut check = |number: i32, is_told: bool| {
        node.kill(number);
        if is_told {
            node.wait_for_log(&format!("signal {number} means nothing here"));
        }
        client.check();
        assert!(node.is_running(), "signal {number} has ended the node");
    };
    IGNORED.iter().for_each(|(_, number)| check(*number, false));
    TOLD.iter().for_each(|(_, number)| check(*number, true));
    // The log leaves out what it has said often enough.
    (libc::SIGRTMIN()..=libc::SIGRTMAX()).for_each(|number| check(number, number == libc::SIGRTMIN()));
}

/// A node whose standard error is read by nobody after the line that says where it listens.
fn start_unheard(settings: &[(&str, &str)]) -> (Unheard, BufReader<ChildStderr>, SocketAddr) {
    let child = command(settings).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut unheard = Unheard(child);
    let mut lines = BufReader::new(unheard.0.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the node does not listen");
        if let Some((_, rest)) = line.split_once("listens on ") {
            let address = rest.split(' ').next().unwrap().parse().unwrap();
            return (unheard, lines, address);
        }
    }
}

struct Unheard(std::process::Child);

impl Unheard {
    fn stop(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        node::wait(&mut self.0, PATIENCE).unwrap().code()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Makes a node that logs every connection's end say more than a pipe holds.
fn make_it_talk(address: SocketAddr) {
    for _ in 0..1500 {
        assert_eq!(Http::connect(address).get("/health").status, 200);
    }
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (unheard, _pipe, address) = start_unheard(&[("log-level", "debug"), ("drain-time", "0s")]);
    let mut client = Client::connect(address);
    make_it_talk(address);
    client.check();
    drop(client);
    assert_eq!(unheard.stop(), Some(0));
}

#[test]
fn a_log_that_breaks_stops_nothing() {
    let (unheard, pipe, address) = start_unheard(&[("log-level", "debug"), ("drain-time", "0s")]);
    drop(pipe);
    let mut client = Client::connect(address);
    make_it_talk(address);
    client.check();
    drop(client);
    assert_eq!(unheard.stop(), Some(0));
}

#[test]
fn a_node_serves_without_standard_error_and_with_one_on_a_full_disk() {
    for redirection in ["2>&-", "2>/dev/full"] {
        let address = address_of_its_own();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("exec \"$0\" {redirection}"), env!("CARGO_BIN_EXE_texto")]).env_clear();
        shell.envs(at(address)).env("TEXTO_ADMIN_ADDRESS", "off").env("TEXTO_DRAIN_TIME", "0s").env("TEXTO_LOG_LEVEL", "debug");
        let unheard = Unheard(shell.stdin(Stdio::null()).spawn().unwrap());
        eventually("it listens", || std::net::TcpStream::connect(address).is_ok());
        let mut client = Client::connect(address);
        make_it_talk(address);
        client.check();
        drop(client);
        assert_eq!(unheard.stop(), Some(0), "{redirection}");
    }
}

#[test]
fn a_port_in_use_is_told_in_one_line() {
    let taken_by_other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_by_node = Node::start(&[]);
    for address in [taken_by_other.local_addr().unwrap(), taken_by_node.address()] {
        let ended = Node::launch(command_at(address)).map(|node| node.address()).unwrap_err();
        let told = format!("cannot listen on 127.0.0.1, port {}: Address already in use", address.port());
        assert_eq!(ended.status.code(), Some(1));
        assert!(ended.log.lines().last().unwrap().contains(&told), "{}", ended.log);
    }
    taken_by_node.client().check();
}

#[test]
fn of_nodes_that_start_on_one_port_at_once_exactly_one_serves() {
    for _ in 0..10 {
        let address = address_of_its_own();
        let starting: Vec<_> = (0..4).map(|_| std::thread::spawn(move || Node::launch(command_at(address)))).collect();
        let serving: Vec<Node> = starting.into_iter().filter_map(|node| node.join().unwrap().ok()).collect();
        assert_eq!(serving.len(), 1, "nodes share {address}");
    }
}

#[test]
fn an_operators_address_that_was_given_must_be_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(taken).unwrap();
    let ended = Node::launch(command(&[("admin-address", &taken.to_string())])).map(|node| node.address()).unwrap_err();
    assert_eq!(ended.status.code(), Some(1));
    let told = format!("cannot listen on the operator's address {taken}: Address already in use");
    assert!(ended.log.lines().last().unwrap().contains(&told), "{}", ended.log);
    drop(holder);
}

#[test]
fn a_node_starts_without_its_default_operators_address() {
    // Whoever has it, it is taken.
    let _holder = TcpListener::bind("127.0.0.1:9398");
    let mut command = bare_command();
    command.env("PORT", "0").env("HOST", "127.0.0.1");
    let node = Node::launch(command).unwrap();
    assert!(node.log().contains("/ready and /metrics are off: 127.0.0.1:9398 cannot be had"), "{}", node.log());
    node.client().check();
}

#[test]
fn the_operators_side_can_be_turned_off() {
    let node = Node::start(&[("admin-address", "off")]);
    assert!(!node.log().contains("/ready"), "{}", node.log());
    let statuses: BTreeSet<u16> = ["/ready", "/metrics"].iter().map(|path| node.http().get(path).status).collect();
    assert_eq!(statuses, BTreeSet::from([404]));
}
