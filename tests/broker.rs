//! The broker against a real Redis: started, paused, killed, moved behind TLS, a password or a Unix socket.
//!
//! The loops are replaced by a [`Record`] that shows what was handed over only after it was rung for, so a message without a ring is
//! missed here. Nothing waits for a fixed time: conditions are awaited, with a deadline that only a failure reaches.

// The whole file is tests; clippy allows these to unwrap, but not their helpers.
#![allow(clippy::unwrap_used)]

mod redis;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use redis::{Redis, free_port, wait_until};
use socket2::{Domain, SockAddr, Socket, Type};
use texto::broker::{self, Address, Broker, Loops, Publication, Settings};
use texto::wire::delivery::{Delivery, Refusal, Request, Settlement};
use texto::wire::id::{ClientId, IdSource, MessageId, NodeTag};

/// Long enough for a busy machine; only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Short, so that a stalled Redis does not make the tests long, but not so short that a busy machine looks like one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// For tests in which Redis is healthy and only the machine may be slow.
const GENEROUS: Duration = Duration::from_secs(15);

/// Keeps what is logged, at the default level of a node.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Info
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// The lines so far about the Redis at `url`.
fn logged(url: &str) -> Vec<String> {
    let about = format!("Redis at {url} ");
    LOG.0.lock().unwrap().iter().filter(|line| line.contains(&about)).cloned().collect()
}

/// What the loops of a node got, in order.
#[derive(Default)]
struct Record {
    deliveries: Vec<Delivery>,
    settlements: Vec<Settlement>,
}

/// The loops of a node; each clone has a hand of its own, whose content counts when it rings.
#[derive(Default)]
struct Recorder {
    shared: Arc<(Mutex<Record>, Condvar)>,
    hand: Record,
}

impl Clone for Recorder {
    fn clone(&self) -> Recorder {
        Recorder { shared: Arc::clone(&self.shared), hand: Record::default() }
    }
}

impl Loops for Recorder {
    fn deliver(&mut self, delivery: Delivery) {
        self.hand.deliveries.push(delivery);
    }

    fn settle(&mut self, settlement: Settlement) {
        self.hand.settlements.push(settlement);
    }

    fn ring(&mut self) {
        let mut record = self.shared.0.lock().unwrap();
        record.deliveries.append(&mut self.hand.deliveries);
        record.settlements.append(&mut self.hand.settlements);
        self.shared.1.notify_all();
    }
}

impl Recorder {
    /// Waits until `show` shows something.
    fn wait<T>(&self, what: &str, show: impl Fn(&Record) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut record = self.shared.0.lock().unwrap();
        loop {
            if let Some(shown) = show(&record) {
                return shown;
            }
            let left = deadline.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("waited in vain: {what}"));
            record = self.shared.1.wait_timeout(record, left).unwrap().0;
        }
    }
}

/// A broker, its loops, and one client.
struct Node {
    broker: Broker,
    loops: Recorder,
    client: ClientId,
}

type Outcome = Result<(), Refusal>;

fn node(url: &str, answer_timeout: Duration) -> Node {
    node_with(url, |settings| settings.answer_timeout = answer_timeout)
}

fn node_with(url: &str, change: impl FnOnce(&mut Settings)) -> Node {
    // Refused from the second time on: the first one stays.
    let _ = log::set_logger(&LOG);
    log::set_max_level(log::LevelFilter::Info);
    let mut ids = IdSource::from_system().unwrap();
    let tag = ids.node_tag();
    let client = ClientId::new(tag, 0, ids.serial());
    let mut settings = Settings::new(Address::parse(url).unwrap(), tag);
    change(&mut settings);
    let loops = Recorder::default();
    Node { broker: broker::start(settings, loops.clone(), ids).unwrap(), loops, client }
}

/// A node that has both of its connections, and has seen that messages come round: its next message to itself is some seconds away.
fn connected(url: &str, answer_timeout: Duration) -> Node {
    let node = node(url, answer_timeout);
    node.wait_for_links();
    let status = node.broker.status();
    wait_until("messages come round", || status.do_messages_come_round());
    node
}

fn delivery(from: ClientId, to: ClientId, text: &str) -> Delivery {
    Delivery::parse(format!(r#"{{"SenderID":"{from}","RecipientID":"{to}","Text":"{text}"}}"#).as_bytes()).unwrap()
}

fn message_id(number: u32) -> MessageId {
    MessageId::parse(format!("00000000-0000-4000-8000-{number:012}").as_bytes()).unwrap()
}

fn number(settlement: &Settlement) -> u32 {
    settlement.request.id.to_string()[24..].parse().unwrap()
}

fn stranger(number: u32) -> ClientId {
    ClientId::parse(format!("ffffffff-0000-4000-8000-{number:012}").as_bytes()).unwrap()
}

impl Node {
    fn wait_for_links(&self) {
        let status = self.broker.status();
        wait_until("both connections", || status.is_publisher_up() && status.is_subscriber_up());
    }

    /// Offers messages with these numbers as ids and texts, and posts what is refused at once, as an event loop does.
    fn offer(&self, to: ClientId, numbers: std::ops::Range<u32>) {
        let publication = |number: u32| Publication {
            delivery: delivery(self.client, to, &number.to_string()),
            request: Some(Request { client: self.client, id: message_id(number) }),
        };
        let mut batch = numbers.map(publication).collect();
        let mut refused = vec![];
        self.broker.publisher().offer(&mut batch, &mut refused);
        assert!(batch.is_empty());
        let mut hand = self.loops.clone();
        refused.into_iter().for_each(|settlement| hand.settle(settlement));
        hand.ring();
    }

    /// The outcomes of the first `count` messages, which must come in the order of their numbers.
    fn outcomes(&self, count: u32) -> Vec<Outcome> {
        let settlements = self
            .loops
            .wait("every message is settled", |record| (record.settlements.len() >= count as usize).then(|| record.settlements.clone()));
        assert_eq!(settlements.iter().map(number).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>(), "{settlements:?}");
        assert!(settlements.iter().all(|settlement| settlement.request.client == self.client));
        settlements.iter().map(|settlement| settlement.outcome).collect()
    }

    fn texts(&self, count: usize) -> Vec<String> {
        let text = |delivery: &Delivery| serde_json::from_str::<String>(delivery.text.borrow().as_json()).unwrap();
        self.loops.wait("every message arrives", |record| {
            (record.deliveries.len() >= count).then(|| record.deliveries.iter().map(text).collect())
        })
    }
}

fn check_round_trip(sender: &Node, receiver: &Node) {
    sender.offer(receiver.client, 0..3);
    assert_eq!(sender.outcomes(3), [Ok(()); 3]);
    assert_eq!(receiver.texts(3), ["0", "1", "2"]);
    assert_eq!((sender.broker.status().published(), receiver.broker.status().received()), (3, 3));
}

#[test]
fn messages_go_from_node_to_node_and_back() {
    let redis = Redis::start(&[]);
    let (a, b) = (connected(&redis.url(), GENEROUS), connected(&format!("127.0.0.1:{}", redis.port()), GENEROUS));
    check_round_trip(&a, &b);
    check_round_trip(&b, &a);
    a.loops.wait("who and to whom", |record| {
        record.deliveries.iter().all(|delivery| (delivery.from, delivery.to) == (b.client, a.client)).then_some(())
    });
}

#[test]
fn many_in_flight_are_answered_and_arrive_in_order() {
    const COUNT: u32 = 20_000;
    let redis = Redis::start(&[]);
    let (a, b) = (connected(&redis.url(), GENEROUS), connected(&redis.url(), GENEROUS));
    for first in (0..COUNT).step_by(64) {
        a.offer(b.client, first..(first + 64).min(COUNT));
    }
    assert!(a.outcomes(COUNT).iter().all(Result::is_ok));
    assert!(b.texts(COUNT as usize).iter().enumerate().all(|(index, text)| *text == index.to_string()));
    wait_until("the queue is empty", || a.broker.status().queue_entries() == 0);
    assert_eq!(a.broker.status().queue_bytes(), 0);
}

#[test]
fn a_message_larger_than_any_buffer_passes() {
    let redis = Redis::start(&[]);
    let (a, b) = (connected(&redis.url(), GENEROUS), connected(&redis.url(), GENEROUS));
    let text = "x".repeat(8 << 20);
    a.broker.publisher().offer(&mut vec![Publication { delivery: delivery(a.client, b.client, &text), request: None }], &mut vec![]);
    assert!(b.texts(1) == [text]);
    a.loops.wait("nobody waited for an answer", |record| record.settlements.is_empty().then_some(()));
}

#[test]
fn without_redis_every_message_is_refused_at_once() {
    let node = node(&format!("redis://127.0.0.1:{}", free_port()), GENEROUS);
    node.offer(stranger(1), 0..1000);
    assert_eq!(node.outcomes(1000), [Err(Refusal::Down); 1000]);
    assert_eq!(node.broker.status().refused(Refusal::Down), 1000);
    let before = Instant::now();
    node.broker.stop();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
}

#[test]
fn a_killed_redis_is_noticed_and_found_again() {
    let mut redis = Redis::start(&[]);
    let (a, b) = (connected(&redis.url(), GENEROUS), connected(&redis.url(), GENEROUS));
    redis.kill();
    let (status, others) = (a.broker.status(), b.broker.status());
    wait_until("the loss is noticed with nothing sent", || !status.is_publisher_up() && !status.is_subscriber_up());
    a.offer(b.client, 0..5);
    assert_eq!(a.outcomes(5), [Err(Refusal::Down); 5]);
    wait_until("the other node has noticed as well", || !others.is_subscriber_up());
    redis.spawn();
    a.wait_for_links();
    b.wait_for_links();
    a.offer(b.client, 5..8);
    assert_eq!(a.outcomes(8)[5..], [Ok(()); 3]);
    assert_eq!(b.texts(3), ["5", "6", "7"]);
    assert_eq!(status.reconnects(), 2);
}

#[test]
fn each_change_is_logged_once_per_thread_and_never_a_password() {
    let mut redis = Redis::start(&["--requirepass", "sesame"]);
    let url = redis.url();
    let node = connected(&url.replace("//", "//:sesame@"), GENEROUS);
    let status = node.broker.status();
    redis.kill();
    wait_until("the loss is noticed", || !status.is_publisher_up() && !status.is_subscriber_up());
    redis.spawn();
    node.wait_for_links();
    let lines = logged(&url);
    for purpose in ["publish", "subscribe"] {
        let (connected, lost) =
            (format!("INFO connected to Redis at {url} to {purpose}"), format!("WARN lost Redis at {url} to {purpose}: "));
        let mine: Vec<_> = lines.iter().filter(|line| line.contains(&format!(" to {purpose}"))).collect();
        assert!(mine.len() == 3 && *mine[0] == connected && mine[1].starts_with(&lost) && *mine[2] == connected, "{lines:#?}");
    }
    assert!(!LOG.0.lock().unwrap().iter().any(|line| line.contains("sesame")));
}

#[test]
fn answers_keep_their_order_while_redis_comes_and_goes_under_load() {
    let mut redis = Redis::start(&[]);
    let node = connected(&redis.url(), GENEROUS);
    let (mut sent, mut outages) = (0, 0);
    let mut offer = |count| {
        node.offer(stranger(1), sent..sent + count);
        sent += count;
    };
    while outages < 3 {
        (0..50).for_each(|_| offer(40));
        redis.kill();
        (0..50).for_each(|_| offer(40));
        wait_until("the loss is noticed", || !node.broker.status().is_publisher_up());
        offer(40);
        redis.spawn();
        node.wait_for_links();
        outages += 1;
    }
    offer(40);
    let outcomes = node.outcomes(sent);
    let known = |outcome: &Outcome| matches!(outcome, Ok(()) | Err(Refusal::Down | Refusal::Unanswered));
    assert!(outcomes.iter().all(known));
    assert!(outcomes[sent as usize - 40..].iter().all(Result::is_ok));
    let status = node.broker.status();
    let counted = status.published() + status.refused(Refusal::Down) + status.refused(Refusal::Unanswered);
    assert_eq!(counted, u64::from(sent));
}

#[test]
fn a_stalled_redis_leaves_no_message_without_an_answer() {
    let redis = Redis::start(&[]);
    let node = connected(&redis.url(), ANSWER_TIMEOUT);
    redis.pause();
    let before = Instant::now();
    node.offer(stranger(1), 0..3);
    assert!(node.outcomes(3).iter().all(|outcome| matches!(outcome, Err(Refusal::Unanswered | Refusal::Down))));
    assert!(before.elapsed() >= ANSWER_TIMEOUT / 2 && before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert!(node.broker.status().refused(Refusal::Unanswered) > 0);
    // A stopped Redis still takes connections, but nobody is served on them.
    wait_until("the connection is given up", || !node.broker.status().is_publisher_up());
    node.offer(stranger(1), 3..5);
    assert_eq!(node.outcomes(5)[3..], [Err(Refusal::Down); 2]);
    redis.resume();
    node.wait_for_links();
    node.offer(stranger(1), 5..6);
    assert_eq!(node.outcomes(6)[5], Ok(()));
}

#[test]
fn what_is_queued_behind_a_stalled_batch_was_not_sent() {
    let redis = Redis::start(&[]);
    let node = connected(&redis.url(), ANSWER_TIMEOUT);
    redis.pause();
    node.offer(stranger(1), 0..2000);
    let outcomes = node.outcomes(2000);
    let written = outcomes.iter().take_while(|&&outcome| outcome == Err(Refusal::Unanswered)).count();
    assert!((1..2000).contains(&written), "{written} were written");
    assert!(outcomes[written..].iter().all(|&outcome| outcome == Err(Refusal::Down)));
    redis.resume();
}

#[test]
fn a_full_queue_refuses_in_its_place_and_others_at_once() {
    let redis = Redis::start(&[]);
    let node = node_with(&redis.url(), |settings| (settings.answer_timeout, settings.queue_bytes_max) = (Duration::from_secs(2), 2000));
    let status = node.broker.status();
    wait_until("messages come round", || status.do_messages_come_round());
    redis.pause();
    node.offer(stranger(1), 0..20);
    let before = Instant::now();
    node.offer(stranger(2), 20..21);
    let first = node.loops.wait("the refusal at once", |record| record.settlements.first().copied());
    assert_eq!((number(&first), first.outcome), (20, Err(Refusal::QueueFull)));
    assert!(before.elapsed() < Duration::from_secs(1));
    let settlements = node.loops.wait("the others", |record| (record.settlements.len() == 21).then(|| record.settlements.clone()));
    assert_eq!(settlements[1..].iter().map(number).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert_eq!(settlements[20].outcome, Err(Refusal::QueueFull));
    redis.resume();
}

#[test]
fn payloads_of_other_implementations_are_read_and_garbage_is_dropped() {
    let redis = Redis::start(&[]);
    let node = connected(&redis.url(), GENEROUS);
    let (client, channel) = (node.client, format!("texto:{}", node.client));
    let publish = |payload: &str| assert_eq!(redis.command::<i64>(&["PUBLISH", &channel, payload]), 1);
    let from = stranger(1);
    for garbage in ["", "hello", "[1,2]", "{}", r#"{"SenderID":1}"#, "{\"Text\":\"\\ud800\"}"] {
        publish(garbage);
    }
    publish(&format!(r#"{{"SenderID":"{from}","RecipientID":"{from}","Text":"for another node"}}"#));
    publish(&format!(r#"{{"SenderID":"{from}","RecipientID":"{client}","Text":"\u003cb\u003e \u0026 \ud83d\ude00"}}"#));
    assert_eq!(node.texts(1), ["<b> & 😀"]);
    let status = node.broker.status();
    assert_eq!((status.received(), status.garbage(), status.strays()), (1, 6, 1));
    // The channels of other nodes cost this one nothing.
    assert_eq!(redis.command::<i64>(&["PUBLISH", &format!("texto:{from}"), "x"]), 0);
}

#[test]
fn a_replica_is_no_place_to_publish_until_it_is_promoted() {
    let master = Redis::start(&[]);
    let replica = Redis::start(&["--replicaof", &format!("127.0.0.1 {}", master.port())]);
    let node = node(&replica.url(), GENEROUS);
    let status = node.broker.status();
    wait_until("the subscription, which works on a replica", || status.is_subscriber_up());
    wait_until("an attempt to publish", || replica.command::<String>(&["INFO", "commandstats"]).contains("cmdstat_role"));
    assert!(!status.is_publisher_up());
    node.offer(stranger(1), 0..1);
    assert_eq!(node.outcomes(1), [Err(Refusal::Down)]);
    let _: () = replica.command(&["REPLICAOF", "NO", "ONE"]);
    node.wait_for_links();
    let _: () = replica.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
    wait_until("the demotion is noticed with nothing sent", || !status.is_publisher_up());
}

#[test]
fn a_unix_socket_connects_as_well() {
    let redis = Redis::start(&[]);
    let (a, b) = (connected(&format!("unix://{}", redis.socket()), GENEROUS), connected(&redis.url(), GENEROUS));
    check_round_trip(&a, &b);
    check_round_trip(&b, &a);
}

/// Waits until so many connections were made to the Redis at `url` that both threads of a node must have failed and tried again.
fn wait_for_attempts(url: &str) {
    let mut connection = ::redis::Client::open(url).unwrap().get_connection().unwrap();
    let mut connections = || -> u64 {
        let info: String = ::redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.expect("Redis counts its connections").parse().unwrap()
    };
    let before = connections();
    let deadline = Instant::now() + PATIENCE;
    while connections() < before + 8 {
        assert!(Instant::now() < deadline, "waited in vain: attempts to connect");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_password_opens_redis_and_a_wrong_or_missing_one_does_not() {
    let redis = Redis::start(&["--requirepass", "open sesame"]);
    let at = |credentials: &str| format!("redis://{credentials}127.0.0.1:{}/0", redis.port());
    let unix = format!("redis+unix://{}?pass=open+sesame", redis.socket());
    check_round_trip(&connected(&at(":open%20sesame@"), GENEROUS), &connected(&unix, GENEROUS));
    for credentials in ["", ":wrong@", "nobody:open%20sesame@"] {
        let node = node(&at(credentials), GENEROUS);
        wait_for_attempts(&unix);
        let status = node.broker.status();
        assert!(!status.is_publisher_up() && !status.is_subscriber_up(), "{credentials}");
        node.offer(stranger(1), 0..1);
        assert_eq!(node.outcomes(1), [Err(Refusal::Down)]);
    }
}

#[test]
fn what_redis_does_not_allow_is_refused_and_the_connection_goes_on() {
    let redis = Redis::start(&[]);
    // May publish, but to no channel that a client's could be.
    let _: () = redis.command(&["ACL", "SETUSER", "silent", "on", ">pass", "+@all", "-role", "-psubscribe", "&elsewhere"]);
    let node = node(&format!("redis://silent:pass@127.0.0.1:{}", redis.port()), GENEROUS);
    let status = node.broker.status();
    wait_until("the connection, although ROLE is refused", || status.is_publisher_up());
    node.offer(stranger(1), 0..3);
    assert_eq!(node.outcomes(3), [Err(Refusal::Rejected); 3]);
    assert_eq!((status.refused(Refusal::Rejected), status.reconnects()), (3, 0));
    assert!(status.is_publisher_up());
    wait_until("an attempt to subscribe", || redis.command::<String>(&["INFO", "commandstats"]).contains("cmdstat_psubscribe"));
    assert!(!status.is_subscriber_up());
}

#[test]
fn stopping_publishes_what_is_queued() {
    let redis = Redis::start(&[]);
    let (a, b) = (connected(&redis.url(), GENEROUS), connected(&redis.url(), GENEROUS));
    a.offer(b.client, 0..5000);
    let Node { broker, loops, client } = a;
    let (publisher, status) = (broker.publisher(), broker.status());
    broker.stop();
    loops.wait("all are settled", |record| {
        (record.settlements.len() == 5000 && record.settlements.iter().all(|settlement| settlement.outcome.is_ok())).then_some(())
    });
    assert_eq!(b.texts(5000).len(), 5000);
    assert!(!status.is_publisher_up() && !status.is_subscriber_up());
    let mut refused = vec![];
    let request = Some(Request { client, id: message_id(0) });
    publisher.offer(&mut vec![Publication { delivery: delivery(client, b.client, "late"), request }], &mut refused);
    assert_eq!(refused.iter().map(|settlement| settlement.outcome).collect::<Vec<_>>(), [Err(Refusal::Down)]);
}

#[test]
fn stopping_does_not_wait_for_a_stalled_redis() {
    let redis = Redis::start(&[]);
    let node = connected(&redis.url(), ANSWER_TIMEOUT);
    redis.pause();
    node.offer(stranger(1), 0..2000);
    let Node { broker, loops, .. } = node;
    let before = Instant::now();
    broker.stop();
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    loops.wait("all are settled", |record| (record.settlements.len() == 2000).then_some(()));
    redis.resume();
}

/// A Redis of a few lines: confirms a subscription and then sends `pieces`, with pauses longer than the subscriber waits at a time.
fn dribble(listener: &TcpListener, pieces: &[&[u8]]) {
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        if request[..length].windows(10).any(|window| window == b"PSUBSCRIBE") {
            stream.write_all(b"*3\r\n$10\r\npsubscribe\r\n$1\r\np\r\n:1\r\n").unwrap();
            for piece in pieces {
                thread::sleep(Duration::from_millis(700));
                stream.write_all(piece).unwrap();
            }
            return drop(stream.read(&mut request));
        }
    }
}

#[test]
fn a_message_that_comes_in_pieces_is_read_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let node = node(&format!("redis://{}", listener.local_addr().unwrap()), GENEROUS);
    let payload = format!(r#"{{"SenderID":"{0}","RecipientID":"{0}","Text":"in pieces"}}"#, node.client);
    let message = format!("*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n${}\r\n{payload}\r\n", payload.len()).into_bytes();
    let pieces = [&message[..1], &message[1..25], &message[25..60], &message[60..message.len() - 1], &message[message.len() - 1..]];
    thread::scope(|scope| {
        scope.spawn(|| dribble(&listener, &pieces));
        assert_eq!(node.texts(1), ["in pieces"]);
        node.broker.stop();
    });
}

/// The roots are read from the environment, which cannot be changed safely in a process with threads: so this test runs itself again.
#[test]
fn tls_connects_to_who_has_a_trusted_certificate_and_to_nobody_else() {
    const URL: &str = "TEXTO_TEST_TLS_URL";
    if let Ok(url) = std::env::var(URL) {
        return check_round_trip(&connected(&url, GENEROUS), &connected(&url, GENEROUS));
    }
    let redis = Redis::start_tls();
    let url = format!("rediss://127.0.0.1:{}", redis.port());

    let name = "tls_connects_to_who_has_a_trusted_certificate_and_to_nobody_else";
    let mut again = Command::new(std::env::current_exe().unwrap());
    let output = again.args(["--exact", name, "--nocapture"]).env(URL, &url).env("SSL_CERT_FILE", redis.authority()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let distrustful = node(&url, GENEROUS);
    wait_until("both threads are told about the certificate", || {
        logged(&url).iter().filter(|line| line.contains("invalid peer certificate")).count() == 2
    });
    assert!(!distrustful.broker.status().is_publisher_up());
}

#[test]
fn a_tag_is_all_that_a_node_listens_to() {
    let redis = Redis::start(&[]);
    let node = node_with(&redis.url(), |settings| settings.tag = NodeTag::from_bits(0x00ab_cdef));
    node.wait_for_links();
    assert_eq!(redis.command::<i64>(&["PUBSUB", "NUMPAT"]), 1);
    assert_eq!(redis.command::<i64>(&["PUBLISH", "texto:abcdef00-0000-4000-8000-000000000000", "x"]), 1);
    assert_eq!(redis.command::<i64>(&["PUBLISH", "texto:abcdee00-0000-4000-8000-000000000000", "x"]), 0);
}

#[test]
fn a_unix_socket_that_takes_nobody_is_given_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let socket = |kind: fn(&Socket, &SockAddr) -> std::io::Result<()>| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        kind(&socket, &SockAddr::unix(&path).unwrap()).map(|()| socket)
    };
    let listener = socket(Socket::bind).unwrap();
    listener.listen(0).unwrap();
    // Whoever comes now would wait for as long as the server does not look.
    let _first = socket(Socket::connect).unwrap();
    let url = format!("unix://{}", path.display());
    let node = node(&url, ANSWER_TIMEOUT);
    wait_until("both attempts are given up", || logged(&url).iter().filter(|line| line.contains("no connection within 4s")).count() == 2);
    node.broker.stop();
}
