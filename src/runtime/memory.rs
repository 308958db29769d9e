//! The limit on the memory of the process: looked at in one place, as connections come, and no more often than twice a second.
//!
//! Nothing is refused to those who are there, and what they need is bounded by other settings. Who comes while memory is short is told so,
//! before the kernel ends the process for all.

use std::sync::atomic::{AtomicU64, Ordering};

use super::process;
use crate::hub::{Gate, Moment};
use crate::limits::MEMORY_LOOK_MS;

/// Looks at the memory of the process now and then.
#[derive(Debug)]
pub struct MemoryWatch {
    bytes_max: u64,
    /// When it looks next, in milliseconds of the node's time.
    due: AtomicU64,
}

impl MemoryWatch {
    /// A watch that finds memory short above `bytes_max`.
    pub fn new(bytes_max: u64) -> MemoryWatch {
        MemoryWatch { bytes_max, due: AtomicU64::new(0) }
    }

    /// Looks, if it is time to, and tells the gate.
    pub fn look(&self, now: Moment, gate: &Gate) {
        let (now, next) = (now.as_millis(), now.as_millis() + MEMORY_LOOK_MS);
        let is_mine = self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| (due <= now).then_some(next)).is_ok();
        // A system that does not tell has no limit; the start has said so.
        if is_mine && let Some(memory) = process::memory() {
            gate.set_memory_short(memory.resident > self.bytes_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{GateSettings, Moment};

    #[test]
    fn memory_is_looked_at_now_and_then() {
        let gate = Gate::new(GateSettings::default());
        let (short, ample) = (MemoryWatch::new(1), MemoryWatch::new(u64::MAX));
        let at = Moment::from_millis;
        short.look(at(0), &gate);
        assert!(gate.is_memory_short());
        ample.look(at(0), &gate);
        assert!(!gate.is_memory_short());
        short.look(at(MEMORY_LOOK_MS - 1), &gate);
        assert!(!gate.is_memory_short(), "it is not time yet");
        short.look(at(MEMORY_LOOK_MS), &gate);
        assert!(gate.is_memory_short());
    }
}
