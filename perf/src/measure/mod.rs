//! What is measured from outside: the server's memory and CPU, the kernel's memory, the tool's own CPU.

mod kernel;
mod process;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(crate) use kernel::Kernel;

/// The server's processes, and what has been learned about them.
pub(crate) struct Subject {
    pids: Vec<u32>,
}

/// Memory at one moment, in bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Memory {
    /// Anonymous memory of the server: what it has allocated, without files and without what it shares.
    pub(crate) user: u64,
    /// Slab and socket memory of the whole kernel: both ends of each connection, and whatever else runs.
    pub(crate) kernel: u64,
}

/// CPU between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) server: Duration,
    pub(crate) tool: Duration,
}

impl Spent {
    /// Above this share of one CPU the tool is what is being measured: it has one thread.
    pub(crate) const TOOL_SHARE_MAX: f64 = 0.95;

    pub(crate) fn tool_share(&self) -> f64 {
        self.tool.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    pub(crate) fn server_share(&self) -> f64 {
        self.server.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

/// A stop watch for CPU.
pub(crate) struct Meter {
    since: Instant,
    server: Duration,
    tool: Duration,
}

impl Subject {
    /// The processes that were named, or those that listen where the targets point.
    pub(crate) fn find(named: &[u32], targets: impl Iterator<Item = SocketAddr>) -> Subject {
        if !named.is_empty() {
            return Subject { pids: named.to_vec() };
        }
        let mut pids: Vec<u32> = targets.filter_map(|target| process::listening(target.port())).collect();
        pids.sort_unstable();
        pids.dedup();
        Subject { pids }
    }

    /// Whether there is a process to measure.
    pub(crate) fn is_known(&self) -> bool {
        !self.pids.is_empty()
    }

    pub(crate) fn memory(&self) -> Memory {
        let user = self.pids.iter().filter_map(|&pid| process::anonymous_bytes(pid)).sum();
        Memory { user, kernel: Kernel::read().bytes() }
    }

    pub(crate) fn cpu(&self) -> Duration {
        self.pids.iter().map(|&pid| process::cpu(pid)).sum()
    }

    pub(crate) fn meter(&self) -> Meter {
        Meter { since: Instant::now(), server: self.cpu(), tool: process::cpu(std::process::id()) }
    }

    pub(crate) fn spent(&self, meter: &Meter) -> Spent {
        Spent {
            wall: meter.since.elapsed(),
            server: self.cpu().saturating_sub(meter.server),
            tool: process::cpu(std::process::id()).saturating_sub(meter.tool),
        }
    }
}
