//! The kernel's memory: its slabs, which hold sockets, files and epoll entries, and the pages in socket buffers.
//!
//! `/proc/slabinfo` is for root only; without it the slabs come from `/proc/meminfo`, which counts the same pages under one name.

use std::fs;

const PAGE_BYTES: u64 = 4096;

/// Kernel memory at one moment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Kernel {
    pub(crate) slab_bytes: u64,
    pub(crate) buffer_bytes: u64,
}

impl Kernel {
    pub(crate) fn read() -> Kernel {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let slab_bytes = slab_bytes(&text("/proc/slabinfo")).or_else(|| meminfo_slab_bytes(&text("/proc/meminfo")));
        let sockstat = text("/proc/net/sockstat");
        Kernel { slab_bytes: slab_bytes.unwrap_or(0), buffer_bytes: tcp(&sockstat, "mem").unwrap_or(0) * PAGE_BYTES }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.slab_bytes + self.buffer_bytes
    }
}

/// Slabs that no open connection grows, but every compiler, every file system and the connections of the run before: they would drown
/// what is measured.
const UNRELATED: [&str; 17] = [
    "btrfs",
    "ext4",
    "jbd2",
    "xfs",
    "fuse",
    "ovl",
    "shmem_inode",
    "proc_inode",
    "inode_cache",
    "radix_tree",
    "buffer_head",
    "vm_area",
    "anon_vma",
    "maple_node",
    "task_",
    "bio",
    "tw_sock",
];

/// Pages of all related slabs: the columns `pagesperslab` and `num_slabs`.
fn slab_bytes(slabinfo: &str) -> Option<u64> {
    let mut total = None;
    for line in slabinfo.lines().skip(2) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(name), Some(pages), Some(slabs)) = (fields.first(), fields.get(5), fields.get(14)) else { continue };
        let (Ok(pages), Ok(slabs)) = (pages.parse::<u64>(), slabs.parse::<u64>()) else { continue };
        if !UNRELATED.iter().any(|unrelated| name.starts_with(unrelated)) {
            *total.get_or_insert(0) += pages * slabs * PAGE_BYTES;
        }
    }
    total
}

fn meminfo_slab_bytes(meminfo: &str) -> Option<u64> {
    let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("Slab:"))?.split_whitespace().next()?;
    Some(kilobytes.parse::<u64>().ok()? * 1024)
}

/// A number of the line `TCP:`, by the name in front of it.
fn tcp(sockstat: &str, name: &str) -> Option<u64> {
    let mut words = sockstat.lines().find_map(|line| line.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|word| *word == name)?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn related_slabs_are_counted_in_pages() {
        let slabinfo = "slabinfo - version: 2.1\n# name <active_objs> ...\n\
            TCP 10 12 2560 12 8 : tunables 0 0 0 : slabdata 3 3 0\n\
            filp 64 64 232 16 1 : tunables 0 0 0 : slabdata 4 4 0\n\
            btrfs_inode 64 64 232 16 1 : tunables 0 0 0 : slabdata 900 900 0\n";
        assert_eq!(slab_bytes(slabinfo), Some((8 * 3 + 4) * PAGE_BYTES));
        assert_eq!(slab_bytes(""), None);
    }

    #[test]
    fn sockstat_names_its_numbers() {
        let sockstat = "sockets: used 5\nTCP: inuse 7 orphan 0 tw 1 alloc 9 mem 3\nUDP: inuse 0 mem 1\n";
        assert_eq!(tcp(sockstat, "inuse"), Some(7));
        assert_eq!(tcp(sockstat, "mem"), Some(3));
    }
}
