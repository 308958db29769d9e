//! A process from outside, through `/proc`.

use std::fs;
use std::time::Duration;

/// Clock ticks of `/proc/PID/stat`, the same on every Linux of our days.
const TICKS_PER_SECOND: f64 = 100.0;

/// Anonymous memory, in bytes.
pub(super) fn anonymous_bytes(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kilobytes(&text, "Anonymous:").map(|kilobytes| kilobytes * 1024)
}

fn kilobytes(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// User and system time together: to the nanosecond where the kernel keeps it, else in ticks of 10 ms.
pub(super) fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds: u64 = threads.filter_map(|thread| ran_nanoseconds(&fs::read_to_string(thread.path().join("schedstat")).ok()?)).sum();
    if nanoseconds > 0 {
        return Duration::from_nanos(nanoseconds);
    }
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Duration::from_secs_f64(ticks(&text).unwrap_or(0) as f64 / TICKS_PER_SECOND)
}

fn ran_nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// `utime` and `stime`: the 14th and 15th fields; the second one is a name in parentheses, which may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The process that listens on a TCP port of this machine.
pub(super) fn listening(port: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inode = tables.iter().find_map(|table| listener_inode(&fs::read_to_string(table).ok()?, port))?;
    let wanted = format!("socket:[{inode}]");
    let pids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        descriptors.into_iter().any(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()))
    })
}

/// The inode of the socket in state LISTEN (0A) on `port`, from a table of `/proc/net`.
fn listener_inode(table: &str, port: u16) -> Option<u64> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16).ok()? == port && *fields.get(3)? == "0A";
        if is_it { fields.get(9)?.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_are_found_behind_any_name() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 0 0 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(400));
    }

    #[test]
    fn anonymous_memory_is_found_among_its_neighbours() {
        let rollup = "Pss:   10 kB\nAnonymous:          1234 kB\nAnonHugePages:     0 kB\n";
        assert_eq!(kilobytes(rollup, "Anonymous:"), Some(1234));
    }

    #[test]
    fn only_a_listening_socket_counts() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:20CE 0100007F:1111 01 00000000:00000000 00:00000000 00000000 0 0 111 1\n\
            1: 0100007F:20CE 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 222 1\n";
        assert_eq!(listener_inode(table, 0x20CE), Some(222));
        assert_eq!(listener_inode(table, 80), None);
    }

    #[test]
    fn this_process_has_memory_and_has_run() {
        assert!(anonymous_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
    }
}
