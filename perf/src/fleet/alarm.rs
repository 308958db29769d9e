//! A timer that epoll reports: load that is due at a microsecond cannot wait for a millisecond.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};

/// One timer of the kernel. Never read: it is registered edge-triggered, and setting it anew clears it.
pub(super) struct Alarm(OwnedFd);

impl Alarm {
    pub(super) fn new(registry: &Registry) -> io::Result<Alarm> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), Token(usize::MAX), Interest::READABLE)?;
        Ok(Alarm(timer))
    }

    pub(super) fn set(&self, at: Instant) -> io::Result<()> {
        // A zero would disarm the timer instead of ringing at once.
        let wait = at.saturating_duration_since(Instant::now()).as_nanos().max(1);
        let it_value = Timespec { tv_sec: (wait / 1_000_000_000) as i64, tv_nsec: (wait % 1_000_000_000) as i64 };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        Ok(())
    }
}
