//! What goes wrong in a run, decided by its seed and by nothing else.

use std::fmt;

use super::random::Random;

/// Faults in one run. Each is waited out, so a run takes some three seconds per fault.
const ACTS: usize = 6;

/// Something that is done to the cluster; times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// `kill -9`, and started again after a while.
    KillRedis(u64),
    /// Stopped as an operator does, and started again at once.
    RestartRedis,
    /// SIGSTOP, and SIGCONT after a while.
    FreezeRedis(u64),
    /// The way to Redis is slow for a while, but not so slow that anything is given up. Loses nothing.
    DelayRedis(u64),
    /// Nothing passes between nodes and Redis for a while.
    HoldRedis(u64),
    /// All connections to Redis end.
    CutRedis,
    /// `kill -9`, and started again after a while.
    KillNode(usize, u64),
    /// SIGTERM, waited for, and started again.
    StopNode(usize),
    /// The master of a group is killed; another takes its place, and it comes back.
    KillMaster,
    /// The master of a group is stopped until another has taken its place, and for a while after that.
    FreezeMaster(u64),
    /// A planned failover.
    FailOver,
    /// A Sentinel is killed, and started again after a while. Loses nothing.
    KillSentinel(usize, u64),
    /// A node is killed while Redis stands still.
    KillNodeWhileRedisIsFrozen(usize, u64),
    /// What is no message, on the channels of clients. Loses nothing.
    Garbage(usize),
    /// Messages for clients that are not there, and for one that is. Loses nothing.
    Flood(usize),
}

/// A run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// A Sentinel group instead of one Redis.
    pub(crate) is_group: bool,
    /// Each after a time of calm.
    pub(crate) acts: Vec<(u64, Act)>,
}

impl Plan {
    /// The plan that `seed` stands for: all kinds of faults in some order, as many as fit. Every other one is for a group.
    pub(crate) fn new(seed: u64, nodes: usize) -> Plan {
        let mut dice = Random::new(seed);
        let is_group = seed % 2 == 1;
        let act = |kind, dice: &mut Random| if is_group { act_on_group(kind, nodes, dice) } else { act_on_one(kind, nodes, dice) };
        let mut kinds: Vec<usize> = (0..if is_group { GROUP_KINDS } else { KINDS }).collect();
        let acts = (0..ACTS).map(|_| {
            let kind = kinds.swap_remove(dice.below(kinds.len()));
            (600 + dice.below(600) as u64, act(kind, &mut dice))
        });
        Plan { seed, is_group, acts: acts.collect() }
    }
}

const KINDS: usize = 11;

fn act_on_one(kind: usize, nodes: usize, dice: &mut Random) -> Act {
    let time = 100 + dice.below(2000) as u64;
    match kind {
        0 => Act::KillRedis(time / 2),
        1 => Act::RestartRedis,
        2 => Act::FreezeRedis(time),
        3 => Act::DelayRedis(20 + time / 20),
        4 => Act::HoldRedis(time),
        5 => Act::CutRedis,
        6 => Act::KillNodeWhileRedisIsFrozen(dice.below(nodes), time),
        _ => act_on_any(kind - 7, nodes, dice),
    }
}

const GROUP_KINDS: usize = 8;

fn act_on_group(kind: usize, nodes: usize, dice: &mut Random) -> Act {
    match kind {
        0 => Act::KillMaster,
        1 => Act::FreezeMaster(dice.below(1000) as u64),
        2 => Act::FailOver,
        3 => Act::KillSentinel(dice.below(3), 500 + dice.below(1000) as u64),
        _ => act_on_any(kind - 4, nodes, dice),
    }
}

fn act_on_any(kind: usize, nodes: usize, dice: &mut Random) -> Act {
    match kind {
        0 => Act::KillNode(dice.below(nodes), dice.below(1000) as u64),
        1 => Act::StopNode(dice.below(nodes)),
        2 => Act::Garbage(200),
        _ => Act::Flood(20_000),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}{}:", self.seed, if self.is_group { ", a Sentinel group" } else { "" })?;
        self.acts.iter().try_for_each(|(calm, act)| write!(f, " {calm} ms, {act:?};"))
    }
}
