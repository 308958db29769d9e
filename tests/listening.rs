//! Where a node listens that is not a port of its own: a unix socket, a socket that the service manager hands over; and what it tells that
//! manager about itself.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod node;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use node::{Client, Http, Node, PATIENCE, bare_command, command};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::{Message, WebSocket};

/// A folder with the path of a socket that is not there yet.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("texto.sock");
    (folder, path)
}

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A client that has come by way of a unix socket.
struct Neighbour {
    socket: WebSocket<UnixStream>,
    id: String,
}

impl Neighbour {
    fn connect(path: &Path) -> Neighbour {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client("ws://localhost/v1/texto", stream).unwrap();
        let mut neighbour = Neighbour { socket, id: String::new() };
        neighbour.id = neighbour.hear("connection")["client_id"].as_str().unwrap().to_owned();
        neighbour
    }

    fn hear(&mut self, kind: &str) -> Value {
        let message: Value = serde_json::from_str(self.socket.read().unwrap().to_text().unwrap()).unwrap();
        assert_eq!(message["kind"], kind, "{message}");
        message["data"].clone()
    }

    fn send(&mut self, receiver: &str, text: &str) {
        let data = json!({"receiver_id": receiver, "text": text});
        let message = json!({"client_id": self.id, "id": node::id(), "kind": "send", "data": data});
        self.socket.send(Message::text(message.to_string())).unwrap();
        self.hear("ack");
    }
}

#[test]
fn clients_of_a_unix_socket_talk_whatever_loops_serve_them() {
    let (_folder, path) = place();
    let _node = Node::start(&[("HOST", &at(&path)), ("loops", "3")]);
    let mut clients: Vec<Neighbour> = (0..30).map(|_| Neighbour::connect(&path)).collect();
    // Longer than what a unix socket takes at once, so that a part has to wait.
    let text = "m".repeat(250_000);
    for sender in 0..clients.len() {
        let recipient = (sender + 1) % clients.len();
        let id = clients[recipient].id.clone();
        clients[sender].send(&id, &text);
        assert_eq!(clients[recipient].hear("receive")["text"], text);
    }
}

#[test]
fn a_unix_socket_has_the_permissions_of_the_settings_and_goes_with_its_node() {
    let (_folder, path) = place();
    let mut node = Node::start(&[("HOST", &at(&path)), ("socket-mode", "606"), ("drain-time", "0")]);
    assert_eq!(fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o777, 0o606);
    assert!(node.log().contains(&format!("listens on {}", at(&path))));
    let mut client = Neighbour::connect(&path);
    node.terminate();
    let Message::Close(Some(close)) = client.socket.read().unwrap() else { panic!("no Close") };
    assert_eq!(u16::from(close.code), 1012);
    // Answers the Close.
    let _end = client.socket.read();
    assert_eq!(node.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_in_use_is_left_to_its_node_and_an_abandoned_one_is_taken() {
    let (_folder, path) = place();
    let place = at(&path);
    let mut first = Node::start(&[("HOST", &place)]);
    let ended = Node::launch(command(&[("HOST", &place)])).err().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.log.contains(&format!("cannot listen on {place}: Address already in use")), "{}", ended.log);
    Neighbour::connect(&path);
    first.signal(Signal::KILL);
    first.wait();
    assert!(path.exists());
    let _second = Node::start(&[("HOST", &place)]);
    Neighbour::connect(&path);
}

/// The program with a descriptor handed over as systemd does it: as number 3, with `LISTEN_PID` as its own.
fn activated(socket: impl Into<OwnedFd>, count: u32) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS={count} exec {}", env!("CARGO_BIN_EXE_texto"));
    command.env_clear().args(["-c", &script]).stdin(Stdio::from(socket.into()));
    command.env("TEXTO_ADMIN_ADDRESS", "off").env("TEXTO_DRAIN_TIME", "0").env("TEXTO_LOOPS", "2");
    command
}

/// Like [`Node::launch`], which gives a child no standard input.
fn launch(command: &mut Command, log: &Path) -> Running {
    Running(command.stderr(fs::File::create(log).unwrap()).spawn().unwrap())
}

/// A child that is killed with the value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Running {
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(node::wait(&mut self.0, PATIENCE).unwrap().code(), Some(0));
    }
}

#[test]
fn clients_who_come_while_an_activated_node_is_replaced_wait_for_the_next() {
    let (folder, _) = place();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let mut first = launch(&mut activated(listener.try_clone().unwrap(), 1), &folder.path().join("first"));
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        client.check();
    }
    drop(clients);
    first.stop();
    let mut early = Http::connect(address);
    early.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let _second = launch(&mut activated(listener, 1), &folder.path().join("second"));
    assert_eq!(early.response().status, 200);
    Client::connect(address).check();
}

#[test]
fn a_unix_socket_is_handed_over_like_a_port() {
    let (folder, path) = place();
    let mut node = launch(&mut activated(UnixListener::bind(&path).unwrap(), 1), &folder.path().join("log"));
    Neighbour::connect(&path);
    node.stop();
    assert!(path.exists(), "the file is the manager's");
}

#[test]
fn what_is_handed_over_must_be_one_socket_that_listens() {
    let (folder, _) = place();
    let listener = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let (datagram, stream) = (UnixDatagram::unbound().unwrap(), UnixStream::pair().unwrap().0);
    let file = fs::File::open("/dev/null").unwrap();
    for (socket, count, why) in [
        (listener(), 2, "2 sockets were handed over: one is allowed"),
        (datagram.into(), 1, "neither a TCP nor a unix stream socket"),
        (file.into(), 1, "neither a TCP nor a unix stream socket"),
        (stream.into(), 1, "does not listen"),
    ] {
        let log = folder.path().join("log");
        let mut node = launch(&mut activated(socket, count), &log);
        assert_eq!(node::wait(&mut node.0, PATIENCE).unwrap().code(), Some(1), "{why}");
        let told = fs::read_to_string(&log).unwrap();
        assert!(told.contains(why), "{why}: {told}");
    }
}

/// The service manager's end of the conversation.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, folder }
    }

    /// A node of this manager, with a watchdog of this many milliseconds.
    fn start(&self, watchdog: u64) -> Node {
        let mut command = command(&[("loops", "2"), ("drain-time", "0")]);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify")).env("WATCHDOG_USEC", (watchdog * 1000).to_string());
        Node::launch(command).unwrap()
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    /// Waits for one of what the node has to say, whatever comes before it.
    fn hear_at_last(&self, line: &str) -> String {
        (0..1000).map(|_| self.hear()).find(|said| said.lines().any(|said| said == line)).unwrap()
    }
}

#[test]
fn the_service_manager_is_told_of_the_beginning_the_end_and_the_time_between() {
    let manager = Manager::new();
    let mut node = manager.start(200);
    assert_eq!(manager.hear(), format!("READY=1\nSTATUS=serves on {}\n", node.address()));
    let _client = node.client();
    manager.hear_at_last("STATUS=serves; 1 connections");
    assert!(manager.hear().starts_with("WATCHDOG=1\n"));
    node.terminate();
    manager.hear_at_last("STOPPING=1");
    assert_eq!(node.wait().code(), Some(0));
}

/// Ends what a test has attached to a node.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        // An interrupted strace lets go of what it watches; a killed one would take it along.
        let _sent = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), Signal::INT);
        let _status = self.0.wait();
    }
}

#[test]
fn the_watchdog_is_told_nothing_while_one_loop_stands_still() {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("skipped: no strace to make a loop stand still");
        return;
    }
    let manager = Manager::new();
    let node = manager.start(400);
    manager.hear_at_last("WATCHDOG=1");
    let tasks = fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().flatten();
    let is_loop = |path: &Path| fs::read_to_string(path.join("comm")).is_ok_and(|name| name == "texto-loop-1\n");
    let thread = tasks.map(|task| task.path()).find(|path| is_loop(path)).unwrap();
    let thread = thread.file_name().unwrap().to_str().unwrap().to_owned();
    let delay = format!("inject=epoll_wait:delay_enter={}", Duration::from_millis(600).as_micros());
    let strace = Command::new("strace").args(["-qq", "-o", "/dev/null", "-e", &delay, "-p", &thread]).spawn().unwrap();
    let tracer = Tracer(strace);
    node.wait_for_log("an event loop has stood still");
    drop(tracer);
    manager.socket.set_nonblocking(true).unwrap();
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
    manager.socket.set_nonblocking(false).unwrap();
    manager.hear_at_last("WATCHDOG=1");
}

#[test]
fn a_node_without_a_manager_tells_nobody() {
    let mut command = bare_command();
    command.env("PORT", "0").env("TEXTO_ADMIN_ADDRESS", "off").env("WATCHDOG_USEC", "40000");
    let node = Node::launch(command).unwrap();
    node.client().check();
    assert!(!node.log().contains("service manager"), "{}", node.log());
}
