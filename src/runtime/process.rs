//! What the kernel says about this process: memory, descriptors, time on the processors. Asked when an operator asks, never before.
//!
//! Linux tells them in `/proc`; elsewhere, and where `/proc` is hidden, a number is missing rather than wrong.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Connections from which on memory is shared among them: below, most of it belongs to none.
const CONNECTIONS_TO_SHARE: u64 = 1000;

/// Memory of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// Bytes of all its pages that are in memory.
    pub resident: u64,
    /// Bytes of those that belong to no file: what the process itself has asked for.
    pub anonymous: u64,
}

/// How the process was when it began, to compare with.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// When that was, since 1970.
    pub since_epoch: Duration,
    /// Its memory then: what is more now is mostly for connections.
    pub memory: Option<Memory>,
}

impl Birth {
    /// The process as it is now.
    pub fn now() -> Birth {
        Birth { since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(), memory: memory() }
    }

    /// Bytes of anonymous memory that have come since then, for each of `connections`; with few of them that would say nothing.
    pub fn bytes_per_connection(&self, now: Memory, connections: u64) -> Option<u64> {
        let before = self.memory.map_or(0, |memory| memory.anonymous);
        (connections >= CONNECTIONS_TO_SHARE).then(|| now.anonymous.saturating_sub(before) / connections)
    }
}

/// The memory of this process.
pub fn memory() -> Option<Memory> {
    parse_memory(&fs::read_to_string("/proc/self/status").ok()?)
}

fn parse_memory(status: &str) -> Option<Memory> {
    let bytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        value.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    Some(Memory { resident: bytes("VmRSS")?, anonymous: bytes("RssAnon")? })
}

/// Open descriptors of this process.
pub fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    // Linux 6.2 and newer tell the number as the size of the folder. Reading the folder instead takes a second for a million of them.
    match fs::metadata(folder).ok()?.len() {
        // One of those listed is the folder itself, opened to be read.
        0 => fs::read_dir(folder).ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// The most descriptors that this process may have.
pub fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Time that all threads of the process together have had on processors.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn memory_is_read_from_what_the_kernel_writes() {
        let status = "Name:\ttexto\nVmRSS:\t    9272 kB\nRssAnon:\t    1024 kB\nRssFile:\t8248 kB\n";
        assert_eq!(parse_memory(status), Some(Memory { resident: 9272 * 1024, anonymous: 1024 * 1024 }));
        assert_eq!(parse_memory("Name:\ttexto\n"), None);
        assert_eq!(parse_memory("VmRSS:\t1 kB\nRssAnon:\tmany kB\n"), None);
    }

    #[test]
    fn memory_that_has_come_since_is_shared_among_the_connections() {
        let memory = |anonymous| Memory { resident: 0, anonymous };
        let birth = Birth { since_epoch: Duration::ZERO, memory: Some(memory(1000)) };
        for (now, connections, each) in [(81_000, 2000, Some(40)), (900, 1000, Some(0)), (5000, 999, None), (5000, 0, None)] {
            assert_eq!(birth.bytes_per_connection(memory(now), connections), each);
        }
    }

    #[test]
    fn an_open_file_is_counted_and_a_busy_moment_costs_time() {
        let files: Vec<File> = (0..100).map(|_| File::open("/dev/null").unwrap()).collect();
        assert!(open_files().unwrap() >= files.len() as u64);
        assert!(open_files_max().unwrap() > files.len() as u64);
        let start = processor_time();
        while processor_time() == start {
            std::hint::spin_loop();
        }
    }
}
