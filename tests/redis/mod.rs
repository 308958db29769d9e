//! A redis-server of a test's own: on a free port of loopback and on a Unix socket, with a folder of its own, and gone with the value.
//!
//! It can be killed, started again on the same port, stopped and continued, put behind TLS or a password, and asked how it is. A test
//! crate that has this module finds the client library under `::redis`. A whole group with Sentinels is in `sentinel.rs`.

// Each test crate that shares this file uses a part of it.
#![allow(dead_code)]

pub(crate) mod sentinel;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ::redis::{Client, Connection, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use texto::wire::id::IdSource;

/// Long enough for a busy machine; only a failure takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server, killed when it goes out of scope.
pub(crate) struct Redis {
    folder: TempDir,
    port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

impl Redis {
    /// Starts one with these options besides its own.
    pub(crate) fn start(options: &[&str]) -> Redis {
        let mut redis = Redis::prepare(options);
        redis.spawn();
        redis
    }

    /// One that is still to be started: its address is known already.
    pub(crate) fn prepare(options: &[&str]) -> Redis {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Redis { folder: tempfile::tempdir().unwrap(), port: free_port(), options, process: None }
    }

    /// Starts one that speaks TLS only, with a certificate of an authority of its own; see [`Redis::authority`].
    pub(crate) fn start_tls() -> Redis {
        let mut redis = Redis::prepare(&[]);
        make_certificates(redis.folder.path());
        let port = redis.port.to_string();
        let file = |name: &str| redis.folder.path().join(name).to_str().unwrap().to_owned();
        let (ca, certificate, key) = (file("ca.pem"), file("redis.pem"), file("redis.key"));
        let tls = ["--port", "0", "--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let clients = ["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"];
        redis.options = tls.into_iter().chain(clients).map(str::to_owned).collect();
        redis.spawn();
        redis
    }

    /// Starts it, on the same port as before if it was killed.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(self.folder.path());
        command.args(["--unixsocket", "redis.sock", "--daemonize", "no"]).args(&self.options);
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server is installed"));
        wait_until("redis-server listens", || std::os::unix::net::UnixStream::connect(self.socket()).is_ok());
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
            // The next one shows by this file that it listens.
            fs::remove_file(self.socket()).unwrap();
        }
    }

    /// Ends it as an operator does, and waits for that.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let mut process = self.process.take().expect("it runs");
        process.wait().unwrap();
        // It takes the file away by itself, unless it is killed.
        assert!(!Path::new(&self.socket()).exists(), "it ended in good order");
    }

    /// Stops it in the middle of whatever it does; the kernel goes on to take connections and bytes for it.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// Its port on loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its address over TCP.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The path of its Unix socket.
    pub(crate) fn socket(&self) -> String {
        self.folder.path().join("redis.sock").to_str().unwrap().to_owned()
    }

    /// The certificate of the authority behind [`Redis::start_tls`], a file.
    pub(crate) fn authority(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// A connection of the test's own.
    pub(crate) fn connection(&self) -> Connection {
        Client::open(format!("unix://{}", self.socket())).unwrap().get_connection().unwrap()
    }

    /// A connection of the test's own to a Redis with a password.
    pub(crate) fn authorized(&self, password: &str) -> Connection {
        let mut connection = self.connection();
        let _: () = ::redis::cmd("AUTH").arg(password).query(&mut connection).unwrap();
        connection
    }

    /// What it answers to a command, asked on a connection of its own.
    pub(crate) fn command<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.connection()).unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below the ports that the kernel gives to outgoing connections: a dead one there could connect to itself. None is given out twice: what
/// is left of an earlier test would look for its own Redis, and find another.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut ids = IdSource::from_system().unwrap();
    let ports = std::iter::repeat_with(|| 20_000 + (ids.bits() % 12_000) as u16);
    let is_new = |port: &u16| GIVEN.lock().unwrap().insert(*port) && TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.take(1000).find(is_new).expect("one of a thousand ports is free")
}

/// A certificate authority and a certificate of it for 127.0.0.1, in `folder`.
pub(crate) fn make_certificates(folder: &Path) {
    let openssl = |arguments: &str| {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output().expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"));
    openssl(&format!("req {key} -keyout redis.key -out redis.csr -subj /CN=redis"));
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    openssl("x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out redis.pem -days 2 -extfile names");
}

/// Waits until `condition` holds; a look costs next to nothing.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
