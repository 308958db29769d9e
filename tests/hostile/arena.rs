//! Where every attack takes place: a node, two clients who behave well and talk throughout, and what must hold afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::node::{Client, Node, eventually};

pub(crate) const KIB: usize = 1024;
pub(crate) const MIB: u64 = 1024 * 1024;

/// What a node may hold after an attack beyond what it held before: what the allocator keeps of a busy moment, for the next one.
const MEMORY_MARGIN: u64 = 4 * MIB;

/// Between two exchanges of the pair: often enough to notice any stall, and seldom enough to leave the machine to the attack.
const BREATH: Duration = Duration::from_millis(2);

/// A node withstands an attack if afterwards
///
/// - it runs, has not panicked, still takes newcomers, and ends with 0 when it is told to;
/// - two clients who talked throughout have got everything that they were sent, in order, and an ack for each;
/// - it holds no descriptor more than before, and hardly more memory ([`MEMORY_MARGIN`]).
///
/// What else must hold, and how much memory the attack itself may cost, is for the attack to check.
pub(crate) fn withstands(settings: &[(&str, &str)], attack: impl FnOnce(&Node)) {
    const QUICK: [(&str, &str); 2] = [("close-timeout", "1s"), ("drain-time", "0s")];
    let is_set = |name: &str| settings.iter().any(|(known, _)| *known == name);
    let defaults = QUICK.iter().filter(|(name, _)| !is_set(name));
    let mut node = Node::start(&settings.iter().chain(defaults).copied().collect::<Vec<_>>());
    let pair = Pair::start(&node);
    let process = node.process();
    let descriptors = process.descriptors();
    // The first newcomer may cost what no later one does.
    node.client().check();
    eventually("the first newcomer has gone", || process.descriptors() == descriptors);
    let memory = process.anonymous_bytes();

    attack(&node);

    pair.check_pulse();
    node.client().check();
    eventually("every descriptor is back", || process.descriptors() == descriptors);
    eventually("the memory is back", || process.anonymous_bytes() <= memory + MEMORY_MARGIN);
    pair.end();
    assert!(node.is_running());
    node.terminate();
    assert_eq!(node.wait().code(), Some(0), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

/// Two clients who talk all the time: each message is acknowledged and arrives, in its turn, or the test fails.
struct Pair {
    is_over: Arc<AtomicBool>,
    exchanges: Arc<AtomicU64>,
    talk: Option<JoinHandle<()>>,
}

impl Pair {
    fn start(node: &Node) -> Pair {
        let mut pair = [node.client(), node.client()];
        let (is_over, exchanges) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (is_over.clone(), exchanges.clone());
        let talk = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                exchange(&mut pair, count.load(Ordering::Relaxed));
                count.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(BREATH);
            }
        });
        Pair { is_over, exchanges, talk: Some(talk) }
    }

    /// They are still talking.
    fn check_pulse(&self) {
        let before = self.exchanges.load(Ordering::Relaxed);
        eventually("the pair goes on talking", || self.exchanges.load(Ordering::Relaxed) > before);
    }

    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.talk.take().expect("a talk ends once").join().expect("the pair has got everything, in order");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Both write to each other before either reads, so that messages cross.
fn exchange([one, other]: &mut [Client; 2], number: u64) {
    let ids = [one.id().to_owned(), other.id().to_owned()];
    let requests = [one.send(&ids[1], &format!("to the other {number}")), other.send(&ids[0], &format!("to the one {number}"))];
    for (client, (request, text)) in [one, other].into_iter().zip(requests.iter().zip(["to the one", "to the other"])) {
        // The ack and the message come in either order.
        let (mut is_acknowledged, mut has_received) = (false, false);
        while !(is_acknowledged && has_received) {
            let message = client.next_message();
            match message["kind"].as_str() {
                Some("ack") => is_acknowledged = message["id"] == **request,
                Some("receive") => {
                    assert_eq!(message["data"]["text"], format!("{text} {number}"));
                    has_received = true;
                }
                _ => panic!("the pair hears {message}"),
            }
        }
    }
}
