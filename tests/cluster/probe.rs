//! Whether messages come round: what a node tells and does when Redis is well, answers, and yet nothing arrives.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::Signal;

use super::sentinel::check_exchange;
use crate::node::{Http, Node, eventually};
use crate::redis::Redis;
use crate::{attempt, count_in_log, join, links, nobody, node_at, wait_for_links};

const READY: &str = r#"{"status":"ready"}"#;
const NOT_ARRIVING: &str = r#"["redis: what is published does not arrive"]"#;
const NO_LINKS: &str = r#"["redis: no connection to publish","redis: no connection to subscribe"]"#;

/// Often, so that a test need not wait, but not so often that a busy machine looks like a Redis that loses messages.
const OFTEN: (&str, &str) = ("redis-probe-interval", "400ms");
const REQUIRED: (&str, &str) = ("ready-requires-redis", "true");

fn ready(node: &Node) -> (u16, String) {
    let response = Http::connect(node.admin()).get("/ready");
    assert_eq!(response.field("Content-Type"), Some("application/json"));
    (response.status, response.text().trim_end().to_owned())
}

fn wait_until_ready(node: &Node) {
    eventually("the node is ready and knows nothing bad", || ready(node) == (200, READY.into()));
}

/// A junction in the road to Redis: where new connections go can be changed, and messages to subscribers can be swallowed, while
/// everything else passes.
struct Junction {
    address: SocketAddr,
    points: Arc<Points>,
}

struct Points {
    target: Mutex<SocketAddr>,
    swallows: AtomicBool,
}

impl Junction {
    /// It serves as long as there are tests.
    fn start(target: &Redis) -> Junction {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let points = Arc::new(Points { target: Mutex::new(at(target)), swallows: AtomicBool::new(false) });
        let own = Arc::clone(&points);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let target = *own.target.lock().unwrap();
                // If nobody is there, dropping the stream tells the caller.
                let Ok(far) = TcpStream::connect(target) else { continue };
                let (near_too, far_too, points) = (near.try_clone().unwrap(), far.try_clone().unwrap(), Arc::clone(&own));
                thread::spawn(move || carry(near, far_too, |_| true));
                thread::spawn(move || carry(far, near_too, |bytes| !points.swallows(bytes)));
            }
        });
        Junction { address, points }
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    fn lead_to(&self, target: &Redis) {
        *self.points.target.lock().unwrap() = at(target);
    }

    fn swallow_messages(&self, is_so: bool) {
        self.points.swallows.store(is_so, Ordering::SeqCst);
    }
}

impl Points {
    fn swallows(&self, bytes: &[u8]) -> bool {
        self.swallows.load(Ordering::SeqCst) && bytes.windows(8).any(|window| window == b"pmessage")
    }
}

fn at(redis: &Redis) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()))
}

/// Passes on what comes, as far as it `passes`, until either side ends.
fn carry(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if passes(&bytes[..length]) && to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _gone = stream.shutdown(std::net::Shutdown::Both);
    }
}

#[test]
fn a_message_to_itself_is_timed_and_makes_a_node_ready() {
    let redis = Redis::start(&[]);
    let node = join(&redis, &[REQUIRED, OFTEN]);
    wait_until_ready(&node);
    eventually("several are timed", || node.metric("redis_round_trip_seconds_count") > 3);
    assert_eq!(node.metric("redis_round_trips_up"), 1);
    // They are no messages of clients.
    assert_eq!((node.metric("redis_published_total"), node.metric("redis_received_total"), node.metric("redis_strays_total")), (0, 0, 0));
}

#[test]
fn what_is_wrong_with_redis_is_a_reason_or_only_told() {
    let mut redis = Redis::prepare(&[]);
    let (strict, mild) = (node_at(&redis.url(), &[REQUIRED, OFTEN]), node_at(&redis.url(), &[OFTEN]));
    let unready = |reasons: &str| (503, format!(r#"{{"status":"unready","reasons":{reasons}}}"#));
    let degraded = |troubles: &str| (200, format!(r#"{{"status":"ready","degraded":{troubles}}}"#));
    assert_eq!((ready(&strict), ready(&mild)), (unready(NO_LINKS), degraded(NO_LINKS)));
    let mut client = strict.client();
    redis.spawn();
    [&strict, &mild].into_iter().for_each(wait_until_ready);
    redis.kill();
    eventually("the loss is told", || (ready(&strict), ready(&mild)) == (unready(NO_LINKS), degraded(NO_LINKS)));
    // Who is here stays here.
    client.check();
    assert_eq!(strict.http().get("/health").text().trim_end(), r#"{"status":"alive"}"#);
    redis.spawn();
    [&strict, &mild].into_iter().for_each(wait_until_ready);
    client.check();
}

#[test]
fn links_to_two_servers_are_found_out_and_made_anew() {
    let (one, other) = (Redis::start(&[]), Redis::start(&[]));
    let junction = Junction::start(&one);
    let (near, far) = (node_at(&junction.url(), &[REQUIRED, OFTEN]), node_at(&junction.url(), &[REQUIRED, OFTEN]));
    [&near, &far].into_iter().for_each(wait_until_ready);
    let (mut a, mut b) = (near.client(), far.client());
    check_exchange(&mut b, &mut a);
    junction.lead_to(&other);
    let ended: i64 = one.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(ended, 2, "both subscribe anew, and elsewhere");
    // Everything answers, and nothing arrives, until the nodes find out.
    for node in [&near, &far] {
        node.wait_for_log("do not come round");
        eventually("both of its connections are new", || node.metric("redis_moves_total") >= 1);
        assert!(node.metric("redis_round_trips_missed_total") >= 2, "{}", node.log());
        wait_until_ready(node);
    }
    check_exchange(&mut a, &mut b);
}

#[test]
fn a_subscription_that_brings_nothing_makes_a_node_unready_until_it_does_again() {
    let redis = Redis::start(&[]);
    let junction = Junction::start(&redis);
    let (near, far) = (node_at(&junction.url(), &[REQUIRED, OFTEN]), join(&redis, &[]));
    wait_until_ready(&near);
    let (mut a, mut b) = (near.client(), far.client());
    junction.swallow_messages(true);
    eventually("the node says so", || ready(&near) == (503, format!(r#"{{"status":"unready","reasons":{NOT_ARRIVING}}}"#)));
    eventually("it has connected anew more than once", || near.metric("redis_moves_total") > 1);
    a.check();
    junction.swallow_messages(false);
    wait_until_ready(&near);
    check_exchange(&mut b, &mut a);
}

#[test]
fn a_probe_that_redis_refuses_is_told_and_connects_nobody_anew() {
    let redis = Redis::start(&[]);
    // May listen, but publish to no channel that a client's could be.
    let rules = ["ACL", "SETUSER", "silent", "on", ">pass", "+@all", "resetchannels", "&texto:??????[*]"];
    let _: () = redis.command(&rules);
    let node = node_at(&format!("redis://silent:pass@127.0.0.1:{}", redis.port()), &[REQUIRED, OFTEN]);
    eventually("some are refused", || node.metric("redis_round_trips_missed_total") > 6);
    assert_eq!((ready(&node).0, links(&node).0, node.metric("redis_moves_total")), (503, 1, 0), "{}", node.log());
}

#[test]
fn a_node_that_redis_cuts_for_reading_too_slowly_says_so_and_comes_back() {
    let redis = Redis::start(&["--client-output-buffer-limit", "pubsub 256kb 0 0"]);
    let (near, far) = (join(&redis, &[]), join(&redis, &[]));
    let (mut a, mut b) = (near.client(), far.client());
    check_exchange(&mut b, &mut a);
    near.signal(Signal::STOP);
    let channel = format!("texto:{}", a.id());
    let payload = format!(r#"{{"SenderID":"{}","RecipientID":"{}","Text":"{}"}}"#, nobody(1), nobody(2), "x".repeat(1 << 20));
    let mut connection = redis.connection();
    let mut heard = 1;
    // The kernel takes some megabytes for a process that stands still, before Redis has to keep them.
    for _ in 0..200 {
        heard = ::redis::cmd("PUBLISH").arg(&channel).arg(&payload).query(&mut connection).unwrap();
        if heard == 0 {
            break;
        }
    }
    assert_eq!(heard, 0, "Redis has cut the subscriber");
    near.signal(Signal::CONT);
    near.wait_for_log("client-output-buffer-limit");
    assert_eq!((near.metric("redis_subscriptions_cut_total"), far.metric("redis_subscriptions_cut_total")), (1, 0));
    wait_for_links(&near);
    check_exchange(&mut a, &mut b);
}

#[test]
fn a_redis_that_dies_is_not_taken_for_one_that_cuts() {
    let mut redis = Redis::start(&[]);
    let node = join(&redis, &[]);
    redis.kill();
    redis.spawn();
    let checks = || node.metric("redis_round_trip_seconds_count");
    wait_for_links(&node);
    let before = checks();
    eventually("it had the time to find out", || checks() > before + 1);
    assert_eq!(node.metric("redis_subscriptions_cut_total"), 0, "{}", node.log());
    assert_eq!(attempt(&mut node.client(), &nobody(1)), Ok(()));
    assert_eq!(count_in_log(&node, "client-output-buffer-limit"), 0);
}
