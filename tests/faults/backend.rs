//! What is between the nodes: one Redis and the road to it, or a Sentinel group.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::proxy::Proxy;
use super::rig::NODES;
use crate::node::eventually;
use crate::redis::Redis;
use crate::redis::sentinel::SentinelGroup;

pub(crate) enum Backend {
    Alone { redis: Redis, proxy: Proxy },
    Group(SentinelGroup),
}

impl Backend {
    pub(crate) fn start(is_group: bool) -> Backend {
        if is_group {
            return Backend::Group(SentinelGroup::start());
        }
        let redis = Redis::start(&[]);
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], redis.port())));
        Backend::Alone { redis, proxy }
    }

    /// Where nodes find it.
    pub(crate) fn url(&self) -> String {
        match self {
            Backend::Alone { proxy, .. } => format!("redis://{}", proxy.address()),
            Backend::Group(group) => group.url(),
        }
    }

    /// The ports of the Sentinels, if there are any.
    pub(crate) fn sentinel_ports(&self) -> Option<Vec<u16>> {
        match self {
            Backend::Alone { .. } => None,
            Backend::Group(group) => Some(group.sentinel_ports()),
        }
    }

    /// The Redis that nodes publish at.
    pub(crate) fn master(&mut self) -> &mut Redis {
        match self {
            Backend::Alone { redis, .. } => redis,
            Backend::Group(group) => {
                let port = group.master_port();
                group.server_at(port)
            }
        }
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        match self {
            Backend::Alone { proxy, .. } => proxy,
            Backend::Group(_) => panic!("a plan for a group has no faults of the road"),
        }
    }

    fn group(&mut self) -> &mut SentinelGroup {
        match self {
            Backend::Alone { .. } => panic!("a plan for one Redis has no failover"),
            Backend::Group(group) => group,
        }
    }

    /// The master crashes, another takes its place, and the old one comes back as what it was.
    pub(crate) fn kill_master(&mut self) {
        let old = self.group().kill_master();
        let new = self.group().wait_for_other_master(old);
        self.group().server_at(old).spawn();
        self.wait_for_move(old, new);
    }

    /// An operator has another server take the master's place.
    pub(crate) fn fail_over(&mut self) {
        let old = self.group().master_port();
        // Sentinels that have just replaced a master are busy with the old one for a while.
        eventually("a failover is possible", || self.group().try_fail_over());
        let new = self.group().wait_for_other_master(old);
        self.wait_for_move(old, new);
    }

    /// The master stands still until another has taken its place, and goes on as if nothing had happened.
    pub(crate) fn freeze_master(&mut self, time: u64) {
        let old = self.group().master_port();
        self.master().pause();
        let new = self.group().wait_for_other_master(old);
        thread::sleep(Duration::from_millis(time));
        self.group().server_at(old).resume();
        self.wait_for_move(old, new);
    }

    /// A Sentinel crashes, and comes back. The other two are enough, so nothing gets lost.
    pub(crate) fn kill_sentinel(&mut self, number: usize, time: u64) {
        self.group().sentinel(number).kill();
        thread::sleep(Duration::from_millis(time));
        self.group().sentinel(number).spawn();
    }

    /// Waits until all nodes listen to the new master, and none to the old one. A message that passes while some of them are still to
    /// move would prove nothing about what comes after it.
    fn wait_for_move(&mut self, old: u16, new: u16) {
        let mut listeners = |port| self.group().server_at(port).command::<usize>(&["PUBSUB", "NUMPAT"]);
        eventually("all nodes have moved to the new master", || (listeners(old), listeners(new)) == (0, NODES));
    }
}
