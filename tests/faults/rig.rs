//! What is under test: nginx, three nodes, and what is between them; and what is done to all of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::backend::Backend;
use super::history::{Recorder, Scope, What};
use super::lookout::Lookout;
use super::plan::Act;
use crate::nginx::Nginx;
use crate::node::{Came, Client, Node, PATIENCE, Process};
use crate::redis::free_port;

pub(crate) const NODES: usize = 3;

/// How long one message may take before another is tried.
const TRY_TIME: Duration = Duration::from_millis(200);

/// A cluster, and who takes notes of what is done to it.
pub(crate) struct Rig {
    nginx: Nginx,
    nodes: [Option<Node>; NODES],
    addresses: [SocketAddr; NODES],
    backend: Backend,
    lookout: Option<Lookout>,
    recorder: Arc<Recorder>,
    /// What nodes that have ended had logged.
    logs: Vec<String>,
    /// How long it took after each fault until messages passed between all nodes again.
    pub(crate) recoveries: BTreeMap<String, Duration>,
}

impl Rig {
    /// Everything started, and messages passing between all nodes.
    pub(crate) fn start(is_group: bool, recorder: &Arc<Recorder>) -> Rig {
        let backend = Backend::start(is_group);
        let lookout = backend.sentinel_ports().map(|ports| Lookout::start(ports, Arc::clone(recorder)));
        let addresses = [(); NODES].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let nginx = Nginx::start(&addresses);
        let nodes = [const { None }; NODES];
        let recoveries = BTreeMap::new();
        let mut rig = Rig { nginx, nodes, addresses, backend, lookout, recorder: Arc::clone(recorder), logs: Vec::new(), recoveries };
        (0..NODES).for_each(|number| rig.start_node(number));
        rig.wait_until_whole();
        rig
    }

    /// Where clients connect to: half of them through nginx, and as many to each node by itself, because nginx gives a node that has come
    /// back no clients for a while, and without clients on several nodes nothing passes between them.
    pub(crate) fn addresses(&self, count: usize) -> Vec<SocketAddr> {
        let around = self.addresses.iter().flat_map(|&address| [address, self.nginx.address()]);
        around.cycle().take(count).collect()
    }

    /// The processes of the nodes.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.nodes.iter().flatten().map(Node::process).collect()
    }

    /// All that nodes and nginx have logged.
    pub(crate) fn logs(&self) -> String {
        let running = self.nodes.iter().flatten().map(Node::log);
        self.logs.iter().cloned().chain(running).chain([self.nginx.log()]).collect::<Vec<_>>().join("\n---\n")
    }

    /// Does something to the cluster, and waits until it is over it.
    pub(crate) fn act(&mut self, act: Act, present: &[String]) {
        match act {
            Act::KillRedis(time) => self.disturb(act, time, |rig| rig.backend.master().kill(), |rig| rig.backend.master().spawn()),
            Act::RestartRedis => self.disturb(act, 0, |rig| rig.backend.master().stop(), |rig| rig.backend.master().spawn()),
            Act::FreezeRedis(time) => self.disturb(act, time, |rig| rig.backend.master().pause(), |rig| rig.backend.master().resume()),
            Act::HoldRedis(time) => self.disturb(act, time, |rig| rig.backend.proxy().hold(), |rig| rig.backend.proxy().release()),
            Act::CutRedis => self.disturb(act, 0, |rig| rig.backend.proxy().cut(), |_| {}),
            Act::KillMaster => self.disturb(act, 0, |rig| rig.backend.kill_master(), |_| {}),
            Act::FreezeMaster(time) => self.disturb(act, 0, |rig| rig.backend.freeze_master(time), |_| {}),
            Act::FailOver => self.disturb(act, 0, |rig| rig.backend.fail_over(), |_| {}),
            Act::KillSentinel(number, time) => {
                self.note(What::Note(format!("{act:?}")));
                self.backend.kill_sentinel(number, time);
            }
            Act::DelayRedis(time) => self.delay(act, time),
            Act::KillNode(number, time) => self.strike(act, number, |rig| rig.kill_node(number, time)),
            Act::StopNode(number) => self.strike(act, number, |rig| rig.stop_node(number)),
            Act::KillNodeWhileRedisIsFrozen(number, time) => self.strike(act, number, |rig| {
                let kill = |rig: &mut Rig| rig.kill_node(number, time);
                rig.disturb(
                    act,
                    0,
                    |rig| rig.backend.master().pause(),
                    |rig| {
                        kill(rig);
                        rig.backend.master().resume();
                    },
                );
            }),
            Act::Garbage(count) => self.garbage(act, count, present),
            Act::Flood(count) => self.flood(act, count, present),
        }
    }

    fn note(&self, what: What) {
        self.recorder.note(what);
    }

    /// Breaks the way between nodes, and mends it.
    fn disturb(&mut self, act: Act, time: u64, break_it: impl Fn(&mut Rig), mend: impl Fn(&mut Rig)) {
        self.note(What::Begins(Scope::Redis, format!("{act:?}")));
        self.lookout.iter().for_each(|lookout| lookout.expect(true));
        break_it(self);
        thread::sleep(Duration::from_millis(time));
        mend(self);
        self.recover(act);
        self.lookout.iter().for_each(|lookout| lookout.expect(false));
        self.note(What::Ends(Scope::Redis));
    }

    /// Takes a node away, and brings it back.
    fn strike(&mut self, act: Act, number: usize, deed: impl Fn(&mut Rig)) {
        self.note(What::Begins(Scope::Node(number), format!("{act:?}")));
        deed(self);
        self.recover(act);
        self.note(What::Ends(Scope::Node(number)));
    }

    fn recover(&mut self, act: Act) {
        let since = Instant::now();
        self.wait_until_whole();
        self.recoveries.insert(format!("{act:?}"), since.elapsed());
    }

    fn kill_node(&mut self, number: usize, time: u64) {
        let node = self.nodes[number].take().expect("it runs");
        self.logs.push(node.log());
        drop(node);
        thread::sleep(Duration::from_millis(time));
        self.start_node(number);
    }

    fn stop_node(&mut self, number: usize) {
        let mut node = self.nodes[number].take().expect("it runs");
        node.signal(Signal::TERM);
        let status = node.wait();
        assert!(status.success(), "a drain ends well: {status}\n{}", node.log());
        self.logs.push(node.log());
        self.start_node(number);
    }

    fn start_node(&mut self, number: usize) {
        let url = self.backend.url();
        let port = self.addresses[number].port().to_string();
        let settings = [("REDIS_URL", url.as_str()), ("PORT", &port), ("TEXTO_LOOPS", "2")];
        let times = [("publish-timeout", "1s"), ("close-timeout", "2s"), ("drain-time", "500ms")];
        let node = Node::start(&[&settings[..], &times[..]].concat());
        self.note(What::Node(number, node.client().id()[..6].to_owned()));
        self.nodes[number] = Some(node);
    }

    /// A slow road is no fault: everything still arrives.
    fn delay(&mut self, act: Act, time: u64) {
        self.note(What::Note(format!("{act:?}")));
        self.backend.proxy().delay(Duration::from_millis(time));
        thread::sleep(Duration::from_millis(1500));
        self.backend.proxy().release();
    }

    fn garbage(&mut self, act: Act, count: usize, present: &[String]) {
        self.note(What::Note(format!("{act:?}")));
        let mut pipeline = ::redis::pipe();
        for (number, payload) in garbage().iter().cycle().take(count).enumerate() {
            pipeline.cmd("PUBLISH").arg(format!("texto:{}", present[number % present.len()])).arg(payload).ignore();
        }
        pipeline.exec(&mut self.backend.master().connection()).unwrap();
    }

    /// Half of it is for clients that do not exist, half for one that is there and reads.
    fn flood(&mut self, act: Act, count: usize, present: &[String]) {
        self.note(What::Note(format!("{act:?}")));
        let mut sponge = self.nodes[0].as_ref().expect("it runs").client();
        let nobody = |session: &str| format!("{}ffff-4fff-8fff-ffffffffffff", &session[..9]);
        let mut connection = self.backend.master().connection();
        for batch in 0..count / 1000 {
            let mut pipeline = ::redis::pipe();
            for number in 0..1000 {
                let to = if number % 2 == 0 { sponge.id().to_owned() } else { nobody(&present[number % present.len()]) };
                let payload = format!(r#"{{"SenderID":"{}","RecipientID":"{to}","Text":"{batch} {number}"}}"#, sponge.id());
                pipeline.cmd("PUBLISH").arg(format!("texto:{to}")).arg(payload).ignore();
            }
            pipeline.exec(&mut connection).unwrap();
            (0..500).for_each(|number| assert_eq!(sponge.receive(), format!("{batch} {}", number * 2)));
        }
    }

    /// Waits until a message passes from every node to every other.
    fn wait_until_whole(&self) {
        let mut probes: Vec<Client> = self.nodes.iter().flatten().map(Node::client).collect();
        let ids: Vec<String> = probes.iter().map(|probe| probe.id().to_owned()).collect();
        let deadline = Instant::now() + PATIENCE;
        for (from, to) in (0..ids.len()).flat_map(|from| (0..ids.len()).map(move |to| (from, to))) {
            for number in 0.. {
                assert!(Instant::now() < deadline, "the way from node {from} to node {to} does not heal\n{}", self.logs());
                let text = format!("{from} {to} {number}");
                probes[from].send(&ids[to], &text);
                if has_come(&mut probes[to], &text) {
                    break;
                }
            }
        }
    }
}

/// Whether this text comes soon; other messages before it are old ones, or answers.
fn has_come(probe: &mut Client, text: &str) -> bool {
    let until = Instant::now() + TRY_TIME;
    loop {
        match probe.next_within(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))) {
            Came::Message(message) if message["data"]["text"] == text => return true,
            Came::Message(_) | Came::Ping(_) | Came::Pong(_) => {}
            Came::Nothing => return false,
            other => panic!("a client of a node that runs got {other:?}"),
        }
    }
}

/// What is no message, in every way there is.
fn garbage() -> Vec<Vec<u8>> {
    let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let message = |sender: &str, recipient: &str, text: &str| {
        format!(r#"{{"SenderID":{sender},"RecipientID":{recipient},"Text":{text}}}"#).into_bytes()
    };
    let quoted = format!("\"{id}\"");
    vec![
        b"".to_vec(),
        b"hello".to_vec(),
        b"[]".to_vec(),
        format!(r#"["{id}","{id}","text"]"#).into_bytes(),
        b"null".to_vec(),
        b"{}".to_vec(),
        message(&quoted, &quoted, "7"),
        message(&quoted, &quoted, r#""\ud800""#),
        message(&quoted, "null", r#""text""#),
        message("\"{67e55044}\"", &quoted, r#""text""#),
        message(&quoted, &quoted, "\"text"),
        [b"{\"SenderID\":\"".as_slice(), &[0xff, 0xfe, 0x00]].concat(),
        vec![b'['; 100_000],
        vec![0; 1_000_000],
    ]
}
