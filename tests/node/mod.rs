//! Support for tests of the program itself: start a node, look into its process, talk to it.
//!
//! ```text
//!   Node     the process: where it listens, what it logged, signals, its end       this file
//!   Client   one WebSocket of it: JSON in and out, or any bytes                    client.rs
//!   Http     one connection of it before any handshake: bytes in, responses out    http.rs
//!   Process  what the kernel says about it: memory, descriptors, processor time    process.rs
//! ```
//!
//! Every wait has an end, [`PATIENCE`], which only a test that fails ever reaches. Nothing sleeps to let something happen.

#![allow(dead_code, unused_imports, reason = "each test program uses a part of it")]

mod client;
mod http;
mod process;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) use client::{Came, Client, frame, id};
pub(crate) use http::{Http, Response, UPGRADE};
pub(crate) use process::{Process, own_file_limit};

/// How long anything may take before a test gives up. Far above what is needed, for machines that do much else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running node. It is killed with the value.
pub(crate) struct Node {
    child: Child,
    log: Log,
    address: Option<SocketAddr>,
    admin: Option<SocketAddr>,
}

impl Node {
    /// Starts a node on free ports of loopback and waits until it listens.
    ///
    /// A setting is named as its flag without the dashes (`max-connections`), or as its variable (`REDIS_URL`).
    pub(crate) fn start(settings: &[(&str, &str)]) -> Node {
        Node::launch(command(settings)).unwrap_or_else(|ended| panic!("the node has ended with {}:\n{}", ended.status, ended.log))
    }

    /// The same with a command of one's own, which may end instead: see [`command`].
    pub(crate) fn launch(mut command: Command) -> Result<Node, Ended> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program can be run");
        let log = Log::of(child.stderr.take().expect("standard error is piped"));
        if log.wait_for("listens on ").is_none() {
            let Some(status) = wait(&mut child, PATIENCE) else {
                child.kill().expect("a child that was not waited for can be killed");
                panic!("the node neither listens nor ends:\n{}", log.text());
            };
            return Err(Ended { status, log: log.text() });
        }
        let address = log.address_after("listens on ");
        let admin = log.address_after("/metrics are on ");
        Ok(Node { child, log, address, admin })
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("this node listens on a port")
    }

    /// Where `/ready` and `/metrics` are.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin.expect("this node has an operator's side")
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the kernel says about the process.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until `words` have been logged.
    pub(crate) fn wait_for_log(&self, words: &str) {
        assert!(self.log.wait_for(words).is_some(), "never logged: {words}\n{}", self.log());
    }

    /// A client with a session.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// A connection on which nothing has been said.
    pub(crate) fn http(&self) -> Http {
        Http::connect(self.address())
    }

    /// The status of a page on the operator's side.
    pub(crate) fn admin_status(&self, path: &str) -> u16 {
        Http::connect(self.admin()).get(path).status
    }

    /// A number from `/metrics`, by its name with labels, without the prefix of all.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let page = Http::connect(self.admin()).get("/metrics").text();
        let found = page.lines().filter_map(|line| line.strip_prefix("texto_")?.strip_prefix(name)?.strip_prefix(' ')).next();
        found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in\n{page}"))
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process has a number");
        kill_process(pid, signal).expect("a child that was not waited for takes signals");
    }

    /// Sends a signal by its number, which may be a real-time one.
    pub(crate) fn kill(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status().expect("there is a kill(1)");
        assert!(status.success());
    }

    /// Tells it to stop, as an operator does.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("the node does not end:\n{}", self.log()))
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be asked").is_none()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the log of node {} ---\n{}", self.pid(), self.log());
        }
    }
}

/// A node that ended instead of serving.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

/// The program with `settings` and nothing else from outside; see [`Node::start`].
pub(crate) fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = bare_command();
    command.env("HOST", "127.0.0.1").env("PORT", "0").env("TEXTO_ADMIN_ADDRESS", "127.0.0.1:0");
    for (name, value) in settings {
        match name.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
            true => command.env(name, value),
            false => command.arg(format!("--{name}={value}")),
        };
    }
    command
}

/// The program without any setting.
pub(crate) fn bare_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_texto"));
    command.env_clear();
    command
}

/// Waits for the end of a process, at most for `patience`.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let mut status = None;
    poll(patience, || {
        status = child.try_wait().expect("a child can be asked");
        status.is_some()
    });
    status
}

/// Asks `is_so` again and again until it is; whether it was within `patience`.
pub(crate) fn poll(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `is_so`, and fails with `claim` if it never is.
pub(crate) fn eventually(claim: &str, is_so: impl FnMut() -> bool) {
    assert!(poll(PATIENCE, is_so), "never so: {claim}");
}

/// What a process writes to its standard error, collected by a thread so that it never has to wait.
#[derive(Clone, Default)]
struct Log {
    said: Arc<(Mutex<Said>, Condvar)>,
}

#[derive(Default)]
struct Said {
    text: String,
    is_over: bool,
}

impl Log {
    fn of(stderr: impl Read + Send + 'static) -> Log {
        let log = Log::default();
        let own = log.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                own.note(|said| said.text.push_str(&(line + "\n")));
            }
            own.note(|said| said.is_over = true);
        });
        log
    }

    fn note(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.lock());
        self.said.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.0.lock().expect("nobody panics with the log in hand")
    }

    fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// Waits for a line with `words`, as long as there may be one.
    fn wait_for(&self, words: &str) -> Option<String> {
        let waiting = |said: &mut Said| !said.text.contains(words) && !said.is_over;
        let (said, _) = self.said.1.wait_timeout_while(self.lock(), PATIENCE, waiting).expect("nobody panics with the log in hand");
        said.text.lines().find(|line| line.contains(words)).map(str::to_owned)
    }

    fn address_after(&self, words: &str) -> Option<SocketAddr> {
        let text = self.text();
        let (_, rest) = text.split_once(words)?;
        rest.split_whitespace().next()?.parse().ok()
    }
}
