//! `texto top` beside running nodes: once as plain text, and live in a terminal that it gives back as it was.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use node::{Node, PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};

const TEXTO: &str = env!("CARGO_BIN_EXE_texto");

fn top(arguments: &[&str]) -> Output {
    Command::new(TEXTO).arg("top").args(arguments).env_clear().stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// While `look` runs, a client of the node talks to itself and makes mistakes.
fn beside_traffic<T>(node: &Node, look: impl FnOnce() -> T) -> T {
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        let talks = Arc::clone(&is_over);
        scope.spawn(move || {
            let mut client = node.client();
            while !talks.load(Ordering::Relaxed) {
                client.check();
                client.say("{");
                client.expect("error");
            }
        });
        // The first rates are those of a client that has begun.
        eventually("there is traffic", || node.metric("errors_total{code=\"ESYNTAX\"}") > 0);
        let seen = look();
        is_over.store(true, Ordering::Relaxed);
        seen
    })
}

#[test]
fn one_look_tells_what_a_node_does() {
    let node = Node::start(&[("loops", "2"), ("max-connections", "1000")]);
    let output = beside_traffic(&node, || top(&["--once", "--interval=300ms", &node.admin().to_string()]));
    let told = text(&output.stdout);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(told.starts_with(&format!("{}  texto {}  serving  up 00:00:", node.admin(), env!("CARGO_PKG_VERSION"))), "{told}");
    for part in [
        "of 1,000 (0 %)   clients 1   slow readers 0",
        "Redis         none",
        "Ended         none",
        "Errors        ESYNTAX ",
        "Sends         loop ",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let loops: Vec<Vec<&str>> =
        told.lines().skip_while(|line| !line.starts_with("Loop")).skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(loops.len(), 2, "{told}");
    assert_ne!(loops[0][2], "0", "the busy loop ticks: {told}");
    assert!(!told.contains('\u{1b}') && told.lines().all(|line| line.len() <= 80), "{told}");
}

#[test]
fn several_nodes_are_a_table() {
    let nodes = [Node::start(&[]), Node::start(&[])];
    let addresses = nodes.each_ref().map(|node| node.admin().to_string());
    let told = text(&top(&["--once", "--interval=100ms", &addresses[0], &addresses[1]]).stdout);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(addresses.iter().zip(told.lines().skip(1)).all(|(address, line)| line.starts_with(address.as_str())), "{told}");
}

#[test]
fn an_address_without_a_node_is_told_in_one_line() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let node = Node::start(&[]);
    let (clients, port) = (node.address().to_string(), node.address().port().to_string());
    for (arguments, expected) in [
        (vec!["--once", &silent], format!("texto: {silent} does not answer: Connection refused (os error 111)\n")),
        (vec!["--once", &clients], format!("texto: {clients} answers, but is not the operator's address of a node\n")),
        (vec![&clients], format!("texto: {clients} answers, but is not the operator's address of a node\n")),
    ] {
        let output = top(&arguments);
        assert_eq!((output.status.code(), text(&output.stderr), text(&output.stdout)), (Some(1), expected, String::new()), "{arguments:?}");
    }
    let output = top(&[&port]);
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(2), format!("texto: the address is \"{port}\": HOST:PORT is allowed\n"))
    );
    let no_terminal = "texto: the terminal cannot be used: standard input and output are none; texto top --once prints plain text\n";
    let output = top(&[&node.admin().to_string()]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), no_terminal.to_owned()));
}

#[test]
fn a_node_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = top(&["--once", &address]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), format!("texto: {address} does not answer: timed out\n")));
}

/// A shell in a terminal of its own, 80 columns and 24 rows, that tells the state of the terminal before and after `texto top`.
struct Session {
    script: Child,
    shown: Arc<Mutex<String>>,
}

impl Session {
    fn start(address: &str) -> Session {
        let shell = format!("stty cols 80 rows 24; stty -g; echo pid $$; {TEXTO} top --interval 100ms {address}; echo exit $?; stty -g");
        let mut script = Command::new("script");
        script.args(["-q", "-f", "-e", "-c", &shell, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.spawn().expect("script is a part of every Debian");
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut stdout, own) = (script.stdout.take().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut piece) {
                own.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..len]));
            }
        });
        Session { script, shown }
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    fn wait_for(&self, words: &str) {
        eventually(&format!("{words:?} is shown"), || self.shown().contains(words));
    }

    fn press(&mut self, key: &[u8]) {
        self.script.stdin.as_mut().unwrap().write_all(key).unwrap();
    }

    /// The process of texto: the only child of the shell.
    fn texto(&self) -> Pid {
        let shown = self.shown();
        let shell: u32 = shown.split_once("pid ").unwrap().1.split_whitespace().next().unwrap().parse().unwrap();
        let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).unwrap();
        Pid::from_raw(children.trim().parse().unwrap()).unwrap()
    }

    /// It has ended well, and the terminal is as it was.
    fn check_end(&mut self) {
        assert!(node::wait(&mut self.script, PATIENCE).is_some(), "it does not end: {}", self.shown());
        self.wait_for("exit 0");
        eventually("the state of the terminal is told twice", || self.states().len() == 2);
        let states = self.states();
        assert_eq!(states[0], states[1], "{}", self.shown());
        let shown = self.shown();
        let (_, end) = shown.rsplit_once("\u{1b}[?25h\u{1b}[?1049l").expect("the other screen is left, with a cursor");
        assert!(!end.contains('\u{1b}'), "{end:?}");
    }

    /// What `stty -g` has said.
    fn states(&self) -> Vec<String> {
        let is_state = |line: &&str| line.split(':').count() > 20;
        self.shown().lines().filter(is_state).map(|line| line.trim().to_owned()).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.script.kill();
        let _status = self.script.wait();
    }
}

#[test]
fn a_terminal_is_drawn_on_until_a_key_and_given_back_as_it_was() {
    let node = Node::start(&[("loops", "1")]);
    for key in [&b"q"[..], &[3]] {
        let mut session = Session::start(&node.admin().to_string());
        session.wait_for("clients 0 ");
        let client = node.client();
        session.wait_for("clients 1 ");
        session.wait_for("q ends");
        session.press(b"x");
        session.press(key);
        session.check_end();
        drop(client);
        eventually("the client is gone", || node.metric("clients") == 0);
    }
}

#[test]
fn a_signal_ends_it_as_a_key_does() {
    let node = Node::start(&[("loops", "1")]);
    let mut session = Session::start(&node.admin().to_string());
    session.wait_for("q ends");
    kill_process(session.texto(), Signal::TERM).unwrap();
    session.check_end();
}

#[test]
fn a_node_that_goes_away_meanwhile_is_shown_as_such() {
    let node = Node::start(&[("loops", "1")]);
    let mut session = Session::start(&node.admin().to_string());
    session.wait_for("q ends");
    drop(node);
    session.wait_for("does not answer: Connection refused");
    session.press(b"q");
    session.check_end();
}
