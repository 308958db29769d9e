//! A real nginx with the project's own `nginx.conf`, in front of nodes of a test's own, and gone with the value.
//!
//! The file is changed only where a machine without containers needs it: addresses, the paths of what nginx writes, and the nodes, which
//! nginx knows by name in a cluster of containers. It also ends a connection after a response, as a node does, so that tests see its end.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::redis::{free_port, wait_until};

const CONFIGURATION: &str = include_str!("../../nginx.conf");

/// An nginx that listens on a free port of loopback.
pub(crate) struct Nginx {
    folder: TempDir,
    process: Child,
    address: SocketAddr,
}

impl Nginx {
    /// Starts one that shares its clients out to these nodes.
    pub(crate) fn start(nodes: &[SocketAddr]) -> Nginx {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let path = folder.path().join("nginx.conf");
        fs::write(&path, adapted(folder.path(), address, nodes)).unwrap();
        let mut command = Command::new("nginx");
        // Debian has it where only root looks for programs.
        command.env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()));
        command.arg("-p").arg(folder.path()).arg("-c").arg(&path).args(["-g", "daemon off;"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx is installed");
        let nginx = Nginx { folder, process, address };
        wait_until("nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    /// Where clients connect to.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it had to complain about.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The workers end with the master, but not if that is killed.
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap();
    }
}

/// How a line begins that has to be changed, and what becomes of it, given the rest of it.
type Rule<'r> = (&'static str, &'r dyn Fn(&str) -> String);

/// The project's configuration for this machine. Fails when a line that has to be changed is not there any more.
fn adapted(folder: &Path, address: SocketAddr, nodes: &[SocketAddr]) -> String {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {folder}/{name};"));
    let rules: [Rule<'_>; 6] = [
        ("listen 8398", &|rest| format!("listen {address}{rest}")),
        ("server texto:8398 resolve", &|rest| nodes.iter().map(|node| format!("server {node}{rest}")).collect()),
        ("error_log ", &|_| format!("error_log {folder}/error.log warn;")),
        ("access_log ", &|_| "access_log off;".to_owned()),
        ("pid ", &|_| format!("pid {folder}/nginx.pid;")),
        ("server_tokens off;", &|rest| format!("server_tokens off;{rest} keepalive_timeout 0; {}", temporary.join(" "))),
    ];
    let mut used = [0; 6];
    let lines = CONFIGURATION.lines().map(|line| {
        let line = line.trim();
        let rule = rules.iter().position(|(begin, _)| line.starts_with(begin));
        rule.map_or(line.to_owned(), |rule| {
            used[rule] += 1;
            rules[rule].1(&line[rules[rule].0.len()..])
        })
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    assert!(
        used.iter().all(|&times| times > 0),
        "nginx.conf has lost a line that a test changes: {used:?} times {:?}",
        rules.map(|rule| rule.0)
    );
    text
}
