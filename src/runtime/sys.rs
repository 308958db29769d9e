//! The few things asked of the system that have no safe wrapper, or belong together with those. All `unsafe` code of Texto is here.

use std::fs::File;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files: what was found, and what is in force now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileLimit {
    /// The soft limit that the process was started with.
    pub soft: u64,
    /// The hard limit, to which the soft one has been raised.
    pub hard: u64,
}

/// Raises the soft limit of open files to the hard one: the usual soft limit of 1,024 is there for programs that use select(2).
pub fn raise_file_limit() -> FileLimit {
    let found = getrlimit(Resource::Nofile);
    let hard = found.maximum.unwrap_or(u64::MAX);
    let soft = found.current.unwrap_or(u64::MAX);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: found.maximum, maximum: found.maximum });
    FileLimit { soft, hard: if raised.is_ok() { hard } else { soft } }
}

/// Makes the kernel's table of descriptors large enough for `count` of them at once.
///
/// It doubles as it fills, and each time a process with several threads waits for all cores to notice, tens of milliseconds. Best effort.
pub fn reserve_descriptors(count: u64) -> io::Result<()> {
    let Some(highest) = count.checked_sub(1).and_then(|highest| i32::try_from(highest).ok()) else { return Ok(()) };
    let any = File::open("/dev/null")?;
    rustix::io::fcntl_dupfd_cloexec(&any, highest).map(drop)?;
    Ok(())
}

/// Gives free memory back to the system. Takes milliseconds, so it is for the quiet after a storm.
pub fn trim_heap() {
    // SAFETY: malloc_trim takes the allocator's own locks and touches free memory only.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc's call has no safe wrapper")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Makes the allocator give every block of 128 KiB or more a mapping of its own, for good.
///
/// By default glibc raises that threshold as such blocks are freed, up to 32 MiB; the slab of connections would then grow by copying within
/// the heap, where its old places stay behind as holes. A block with its own mapping is moved by the kernel without a copy.
pub fn map_large_blocks() {
    // SAFETY: mallopt only sets a parameter of the allocator, before other threads run.
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "glibc's call has no safe wrapper")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_follows_the_hard_one() {
        let limit = raise_file_limit();
        assert_eq!(raise_file_limit(), FileLimit { soft: limit.hard, hard: limit.hard });
    }

    #[test]
    fn descriptors_are_reserved_within_the_limit_only() {
        let limit = raise_file_limit();
        assert!(reserve_descriptors(limit.hard.min(1000)).is_ok());
        assert!(reserve_descriptors(0).is_ok());
        assert!(reserve_descriptors(limit.hard + 1).is_err() || limit.hard > i32::MAX as u64);
    }
}
