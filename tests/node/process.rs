//! What the kernel says about a process (proc(5)).

use std::collections::HashSet;
use std::fs;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

/// A process by its number.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pid: u32,
}

impl Process {
    pub(crate) fn new(pid: u32) -> Process {
        Process { pid }
    }

    /// Descriptors that are open.
    pub(crate) fn descriptors(self) -> usize {
        fs::read_dir(self.path("fd")).expect("a running process has descriptors").count()
    }

    /// Bytes of memory that are its own: without the program text and files.
    pub(crate) fn anonymous_bytes(self) -> u64 {
        let summary = fs::read_to_string(self.path("smaps_rollup")).expect("a running process has memory");
        let line = summary.lines().find_map(|line| line.strip_prefix("Anonymous:")).expect("smaps_rollup has a line Anonymous");
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("the line is in kB");
        kilobytes * 1024
    }

    /// Hundredths of a second that it has spent on a processor.
    pub(crate) fn cpu_ticks(self) -> u64 {
        let stat = fs::read_to_string(self.path("stat")).expect("a running process has numbers");
        // The second field is the name in parentheses, which may hold anything.
        let (_, rest) = stat.rsplit_once(") ").expect("the name ends with a parenthesis");
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields[index].parse::<u64>().expect("utime and stime are numbers");
        number(11) + number(12)
    }

    /// Leaves room for `count` more descriptors; those that it has, it keeps.
    pub(crate) fn limit_descriptors(self, count: usize) {
        let names =
            fs::read_dir(self.path("fd")).expect("a running process has descriptors").map(|entry| entry.expect("it runs").file_name());
        let used: HashSet<usize> = names.filter_map(|name| name.to_str()?.parse().ok()).collect();
        // The kernel gives out the lowest free numbers, all below the limit.
        let limit = (0..).filter(|number| !used.contains(number)).nth(count).map(|number: usize| number as u64);
        let pid = Pid::from_raw(self.pid as i32);
        prlimit(pid, Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("the limit of a child can be lowered");
    }

    fn path(self, file: &str) -> String {
        format!("/proc/{}/{file}", self.pid)
    }
}

/// Raises this process's own soft limit of open files to the hard one, which is returned.
pub(crate) fn own_file_limit() -> u64 {
    let found = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: found.maximum, maximum: found.maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised to the hard one");
    found.maximum.unwrap_or(u64::MAX)
}
