//! A Sentinel group of a test's own: a master, two replicas and three Sentinels on free ports of loopback.
//!
//! The Sentinels are told of each other and of the replicas when they start, so the group is ready at once. What is down for a second is
//! down for them.

use std::fs;
use std::process::{Child, Command, Stdio};

use ::redis::{Client, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Redis, free_port, wait_until};

/// What the Sentinels call the master.
pub(crate) const MASTER_NAME: &str = "main";

/// Replicas and Sentinels there are.
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;

/// The whole group, killed when it goes out of scope.
pub(crate) struct SentinelGroup {
    servers: Vec<Redis>,
    sentinels: Vec<Sentinel>,
}

/// How the members of a group let in whoever wants to speak with them.
#[derive(Default)]
pub(crate) struct Access {
    /// The password of the Redis servers.
    pub(crate) password: Option<&'static str>,
    /// The password of the Sentinels.
    pub(crate) sentinel_password: Option<&'static str>,
}

impl SentinelGroup {
    /// A group that lets everybody in.
    pub(crate) fn start() -> SentinelGroup {
        SentinelGroup::start_with(&Access::default())
    }

    /// One that is kept by passwords.
    pub(crate) fn start_with(access: &Access) -> SentinelGroup {
        let auth: Vec<&str> = access.password.iter().flat_map(|password| ["--requirepass", password, "--masterauth", password]).collect();
        let master = Redis::start(&auth);
        let replica_of = format!("127.0.0.1 {}", master.port());
        // Without the delay that a replica may take for its first copy.
        let options = [&auth[..], &["--replicaof", &replica_of, "--repl-diskless-sync-delay", "0"]].concat();
        let replicas = (0..REPLICAS).map(|_| Redis::start(&options));
        let mut group = SentinelGroup { servers: Vec::new(), sentinels: Vec::new() };
        group.servers = std::iter::once(master).chain(replicas).collect();
        for replica in &group.servers[1..] {
            let mut connection = replica.connection();
            if let Some(password) = access.password {
                connection = replica.authorized(password);
            }
            let connection = std::cell::RefCell::new(connection);
            wait_until("the replica has its copy", || info(&mut connection.borrow_mut(), "replication").contains("master_link_status:up"));
        }
        let ports: Vec<u16> = (0..SENTINELS).map(|_| free_port()).collect();
        group.sentinels = (0..SENTINELS).map(|number| Sentinel::prepare(number, &ports, &group.servers, access)).collect();
        group.sentinels.iter_mut().for_each(Sentinel::spawn);
        for sentinel in &group.sentinels {
            wait_until("the Sentinel sees the master well", || sentinel.sees_master_well(access.sentinel_password));
        }
        group
    }

    /// The address of the group, for a node; `userinfo` is that of Redis, such as `:password@`.
    pub(crate) fn url_with(&self, userinfo: &str, more: &str) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{userinfo}{}/0?master={MASTER_NAME}{more}", hosts.join(","))
    }

    /// The address of a group that lets everybody in.
    pub(crate) fn url(&self) -> String {
        self.url_with("", "")
    }

    /// The server on this port.
    pub(crate) fn server_at(&mut self, port: u16) -> &mut Redis {
        self.servers.iter_mut().find(|server| server.port() == port).expect("a server of this group")
    }

    /// All servers, whatever they are at the moment.
    pub(crate) fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The port of the master, as the first Sentinel that answers says.
    pub(crate) fn master_port(&self) -> u16 {
        let said = self.sentinels.iter().find_map(Sentinel::master_port);
        said.expect("one of the Sentinels answers")
    }

    /// The ports of the Sentinels.
    pub(crate) fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(Sentinel::port).collect()
    }

    /// The Sentinel of this number.
    pub(crate) fn sentinel(&mut self, number: usize) -> &mut Sentinel {
        &mut self.sentinels[number]
    }

    /// Kills the master as a crash would. Its port.
    pub(crate) fn kill_master(&mut self) -> u16 {
        let port = self.master_port();
        self.server_at(port).kill();
        port
    }

    /// Has a Sentinel make another server the master, as an operator does before maintenance. Returns at once.
    pub(crate) fn fail_over(&self) {
        assert!(self.try_fail_over());
    }

    /// The same; whether a Sentinel has agreed to, which none does that is still busy with the one before.
    pub(crate) fn try_fail_over(&self) -> bool {
        self.sentinels.iter().any(|sentinel| sentinel.command::<()>(&["SENTINEL", "FAILOVER", MASTER_NAME]).is_some())
    }

    /// Waits until all Sentinels that run say that another server than that at `port` is the master. Its port.
    pub(crate) fn wait_for_other_master(&self, port: u16) -> u16 {
        let running = || self.sentinels.iter().filter(|sentinel| sentinel.process.is_some());
        wait_until("the Sentinels agree on another master", || {
            running().all(|sentinel| sentinel.master_port().is_some_and(|other| other != port))
        });
        self.master_port()
    }
}

/// One Sentinel.
pub(crate) struct Sentinel {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Sentinel {
    fn prepare(number: usize, ports: &[u16], servers: &[Redis], access: &Access) -> Sentinel {
        let port = ports[number];
        let [master, replicas @ ..] = servers else { panic!("a group has a master") };
        let mut lines = vec![
            format!("port {port}\nbind 127.0.0.1\nsentinel myid {}", id(number)),
            format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {} 2", master.port()),
            format!("sentinel down-after-milliseconds {MASTER_NAME} 1000\nsentinel failover-timeout {MASTER_NAME} 10000"),
        ];
        lines.extend(access.password.map(|password| format!("sentinel auth-pass {MASTER_NAME} {password}")));
        // With this, a Sentinel asks for the password, and says it to the others.
        lines.extend(access.sentinel_password.map(|password| format!("requirepass {password}\nsentinel sentinel-pass {password}")));
        lines.extend(replicas.iter().map(|replica| format!("sentinel known-replica {MASTER_NAME} 127.0.0.1 {}", replica.port())));
        let others = ports.iter().enumerate().filter(|(other, _)| *other != number);
        lines.extend(others.map(|(other, port)| format!("sentinel known-sentinel {MASTER_NAME} 127.0.0.1 {port} {}", id(other))));
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sentinel.conf"), lines.join("\n") + "\n").unwrap();
        Sentinel { folder, port, process: None }
    }

    /// Starts one that speaks TLS only, with the certificate of the master that it watches: see [`Redis::start_tls`].
    pub(crate) fn start_tls(master: &Redis) -> Sentinel {
        let (port, own) = (free_port(), master.folder.path());
        let conf = format!(
            "port 0\nbind 127.0.0.1\ntls-port {port}\ntls-replication yes\ntls-auth-clients no\n\
             tls-ca-cert-file {0}/ca.pem\ntls-cert-file {0}/redis.pem\ntls-key-file {0}/redis.key\n\
             sentinel monitor {MASTER_NAME} 127.0.0.1 {1} 1\n",
            own.display(),
            master.port(),
        );
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("sentinel.conf"), conf).unwrap();
        let mut sentinel = Sentinel { folder, port, process: None };
        sentinel.spawn();
        sentinel
    }

    /// Starts it, with what it knew when it was killed.
    pub(crate) fn spawn(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("sentinel.conf")).arg("--sentinel").args(["--dir"]).arg(self.folder.path());
        self.process = Some(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("redis-server is installed"));
        wait_until("the Sentinel listens", || std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
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

    /// What it answers, if it runs and lets everybody in.
    pub(crate) fn command<T: FromRedisValue>(&self, words: &[&str]) -> Option<T> {
        self.process.as_ref()?;
        ask(self.port, words)
    }

    fn master_port(&self) -> Option<u16> {
        self.process.as_ref()?;
        master_port(self.port)
    }

    /// Whether it is connected to the master, its replicas and the other Sentinels, and would fail over if it had to.
    fn sees_master_well(&self, password: Option<&str>) -> bool {
        let userinfo = password.map(|password| format!(":{password}@")).unwrap_or_default();
        let client = Client::open(format!("redis://{userinfo}127.0.0.1:{}", self.port)).unwrap();
        let Ok(mut connection) = client.get_connection() else { return false };
        let has_quorum = ::redis::cmd("SENTINEL").arg("CKQUORUM").arg(MASTER_NAME).query::<String>(&mut connection).is_ok();
        let expected =
            format!("status=ok,address=127.0.0.1:{},slaves={REPLICAS},sentinels={SENTINELS}", self.port_of_master(&mut connection));
        has_quorum && info(&mut connection, "sentinel").contains(&expected)
    }

    fn port_of_master(&self, connection: &mut ::redis::Connection) -> u16 {
        let question = ::redis::cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(MASTER_NAME).query::<(String, u16)>(connection);
        question.map_or(0, |(_, port)| port)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the Sentinel on this port says that the master is, if it answers anybody.
pub(crate) fn master_port(sentinel: u16) -> Option<u16> {
    ask::<(String, u16)>(sentinel, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME]).map(|(_, port)| port)
}

fn ask<T: FromRedisValue>(port: u16, words: &[&str]) -> Option<T> {
    let mut connection = Client::open(("127.0.0.1", port)).ok()?.get_connection().ok()?;
    ::redis::cmd(words[0]).arg(&words[1..]).query(&mut connection).ok()
}

/// The name of a Sentinel among Sentinels.
fn id(number: usize) -> String {
    format!("{number:040x}")
}

fn info(connection: &mut ::redis::Connection, section: &str) -> String {
    ::redis::cmd("INFO").arg(section).query(connection).unwrap_or_default()
}
