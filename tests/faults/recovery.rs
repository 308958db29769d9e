//! How long it takes until messages pass from node to node again, beside what a plain client needs on the same Redis: one that connects,
//! subscribes, and when that breaks tries again every [`RETRY`].
//!
//! These measure and take minutes, so they run only when they are asked for:
//!
//! ```sh
//! cargo test --locked --test faults recovery -- --ignored --nocapture --test-threads=1
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ::redis::Connection;

use crate::node::{Came, Client, Node, poll};
use crate::random::Random;
use crate::redis::Redis;
use crate::redis::sentinel::{MASTER_NAME, SentinelGroup};

const REPETITIONS: usize = 10;

/// Between two messages: as fine as this is what is measured.
const BEAT: Duration = Duration::from_millis(5);

/// The pause of a plain client that could not connect.
const RETRY: Duration = Duration::from_millis(100);

/// A connection that held so long has forgotten the trouble before it; the next one meets nodes as a rare event does.
const CALM: Duration = Duration::from_secs(11);

/// How long a recovery may take before this gives up.
const RECOVERY_MAX: Duration = Duration::from_secs(60);

/// Messages that are sent all the time, and when they were sent and came.
#[derive(Default)]
struct Pulse {
    is_over: AtomicBool,
    sent: Mutex<Vec<Instant>>,
    arrived: Mutex<Vec<(usize, Instant)>>,
}

impl Pulse {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The number of the next message, which is sent now.
    fn beat(&self) -> usize {
        let mut sent = self.sent.lock().unwrap();
        sent.push(Instant::now());
        sent.len() - 1
    }

    fn arrive(&self, text: &str) {
        self.arrived.lock().unwrap().push((text.parse().unwrap(), Instant::now()));
    }

    /// How long after `since` the first message arrived that was sent after it.
    fn first_since(&self, since: Instant) -> Option<Duration> {
        let sent = self.sent.lock().unwrap();
        let arrived = self.arrived.lock().unwrap();
        arrived.iter().find(|(number, _)| sent[*number] >= since).map(|(_, at)| *at - since)
    }

    fn wait_since(&self, since: Instant) -> Duration {
        assert!(poll(RECOVERY_MAX, || self.first_since(since).is_some()), "no message has come for {RECOVERY_MAX:?}");
        self.first_since(since).unwrap()
    }
}

/// The threads behind a pulse. They end with it.
struct Beating {
    pulse: Arc<Pulse>,
    threads: Vec<JoinHandle<()>>,
}

impl Beating {
    fn start(talk: impl FnOnce(&Pulse) + Send + 'static, listen: impl FnOnce(&Pulse) + Send + 'static) -> Beating {
        let pulse = Arc::new(Pulse::default());
        let (own, other) = (Arc::clone(&pulse), Arc::clone(&pulse));
        let threads = vec![thread::spawn(move || talk(&own)), thread::spawn(move || listen(&other))];
        Beating { pulse, threads }
    }

    /// From a client of one node to one of another.
    fn through_nodes(nodes: &[Node; 2]) -> Beating {
        let (mut from, mut to) = (nodes[0].client(), nodes[1].client());
        let receiver = to.id().to_owned();
        let talk = move |pulse: &Pulse| {
            while !pulse.is_over() {
                from.send(&receiver, &pulse.beat().to_string());
                let until = Instant::now() + BEAT;
                while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                    let _answer = from.next_within(left);
                }
            }
        };
        Beating::start(talk, move |pulse| listen(&mut to, pulse))
    }

    /// From one plain client to another.
    fn through_plain_clients(connect: impl Fn() -> Option<Connection> + Clone + Send + 'static) -> Beating {
        let other = connect.clone();
        let talk = move |pulse: &Pulse| {
            with_connections(pulse, &connect, |connection| {
                let published = ::redis::cmd("PUBLISH").arg("plain").arg(pulse.beat().to_string()).query::<usize>(connection);
                thread::sleep(BEAT);
                published.is_ok()
            });
        };
        let listen = move |pulse: &Pulse| {
            with_connections(pulse, &other, |connection| {
                let mut messages = connection.as_pubsub();
                let mut is_well = messages.subscribe("plain").is_ok();
                while is_well && !pulse.is_over() {
                    match messages.get_message() {
                        Ok(message) => pulse.arrive(&message.get_payload::<String>().unwrap()),
                        Err(error) => is_well = error.is_timeout(),
                    }
                }
                false
            });
        };
        Beating::start(talk, listen)
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        self.pulse.is_over.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }
}

fn listen(client: &mut Client, pulse: &Pulse) {
    while !pulse.is_over() {
        if let Came::Message(message) = client.next_within(Duration::from_millis(100)) {
            pulse.arrive(message["data"]["text"].as_str().unwrap());
        }
    }
}

/// Works with a connection until that fails, makes another, and so on.
fn with_connections(pulse: &Pulse, connect: &impl Fn() -> Option<Connection>, mut work: impl FnMut(&mut Connection) -> bool) {
    while !pulse.is_over() {
        if let Some(mut connection) = connect() {
            while !pulse.is_over() && work(&mut connection) {}
        }
        thread::sleep(RETRY);
    }
}

/// A connection as a plain client makes it, with time limits.
fn dial(port: u16) -> Option<Connection> {
    let connection = ::redis::Client::open(("127.0.0.1", port)).ok()?.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    Some(connection)
}

/// A connection to whom the first Sentinel that answers calls the master.
fn dial_master(sentinels: &[u16]) -> Option<Connection> {
    let ask = |port: &u16| {
        let question = ::redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER_NAME).query(&mut dial(*port)?);
        question.ok().map(|(_, port): (String, u16)| port)
    };
    sentinels.iter().find_map(ask).and_then(dial)
}

fn start_nodes(url: &str) -> [Node; 2] {
    [(); 2].map(|()| Node::start(&[("REDIS_URL", url), ("TEXTO_LOOPS", "1")]))
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let times: Vec<u128> = times.iter().map(Duration::as_millis).collect();
    println!("{what}: median {} ms, worst {} ms of {}: {times:?}", times[times.len() / 2], times[times.len() - 1], times.len());
}

/// Does something to Redis again and again, and says how long after it the first message came, through nodes and through plain clients.
fn measure(what: &str, nodes: &[Node; 2], plain: &Beating, mut harm: impl FnMut() -> Instant) {
    let texto = Beating::through_nodes(nodes);
    let (mut of_texto, mut of_plain) = (Vec::new(), Vec::new());
    for _ in 0..REPETITIONS {
        thread::sleep(CALM);
        let since = harm();
        of_plain.push(plain.pulse.wait_since(since));
        of_texto.push(texto.pulse.wait_since(since));
    }
    report(&format!("{what}, from node to node"), of_texto);
    report(&format!("{what}, between plain clients that try again every {RETRY:?}"), of_plain);
}

#[test]
#[ignore = "it measures, and takes minutes"]
fn recovery_from_a_restart_of_redis() {
    let mut redis = Redis::start(&[]);
    let (nodes, port) = (start_nodes(&redis.url()), redis.port());
    let plain = Beating::through_plain_clients(move || dial(port));
    let mut dice = Random::new(1);
    measure("from the moment when a restarted Redis listens", &nodes, &plain, || {
        redis.kill();
        thread::sleep(Duration::from_millis(dice.below(2000) as u64));
        redis.spawn();
        Instant::now()
    });
}

#[test]
#[ignore = "it measures, and takes minutes"]
fn recovery_from_a_crash_of_the_master() {
    let mut group = SentinelGroup::start();
    let nodes = start_nodes(&group.url());
    let sentinels = group.sentinel_ports();
    let plain = Beating::through_plain_clients(move || dial_master(&sentinels));
    let mut down: Option<u16> = None;
    measure("from kill -9 of a group's master, which is down for its Sentinels after 1 s", &nodes, &plain, || {
        // The one that was killed the last time is to be the next replica.
        if let Some(port) = down.take() {
            group.server_at(port).spawn();
            thread::sleep(CALM);
        }
        down = Some(group.kill_master());
        Instant::now()
    });
}
