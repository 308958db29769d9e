//! Watches the Sentinels of a group: on a machine that is busy enough they may think a master dead that is only slow, and replace it. That
//! is a fault like one that was planned, and has to be in the history.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::history::{Recorder, Scope, What};
use crate::node::eventually;
use crate::redis::sentinel::{SentinelGroup, master_port};
use crate::redis::wait_until;

/// Between two looks; much less than what the checker allows for before a fault.
const PAUSE: Duration = Duration::from_millis(50);

/// After the Sentinels have named another master, nodes may take as long to move there.
const MOVE_TIME: Duration = Duration::from_secs(2);

/// What it shares with its thread, which ends with it.
pub(crate) struct Lookout {
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// A failover is under way that is in the history already.
    is_expected: AtomicBool,
    is_over: AtomicBool,
}

impl Lookout {
    pub(crate) fn start(sentinels: Vec<u16>, recorder: Arc<Recorder>) -> Lookout {
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        let thread = thread::spawn(move || watch(&sentinels, &own, &recorder));
        Lookout { state, thread: Some(thread) }
    }

    /// From here on a failover is no surprise, or is one again.
    pub(crate) fn expect(&self, is_expected: bool) {
        self.state.is_expected.store(is_expected, Ordering::Release);
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Release);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_some_and(|ended| ended.is_ok()) || thread::panicking());
    }
}

fn watch(sentinels: &[u16], state: &State, recorder: &Recorder) {
    let look = || sentinels.iter().find_map(|&port| master_port(port));
    let mut known = look();
    while !state.is_over.load(Ordering::Acquire) {
        thread::sleep(PAUSE);
        let seen = look().or(known);
        let is_surprise = seen != known && !state.is_expected.load(Ordering::Acquire);
        known = seen;
        if is_surprise {
            recorder.note(What::Begins(Scope::Redis, "the Sentinels have made another server the master by themselves".to_owned()));
            thread::sleep(MOVE_TIME);
            recorder.note(What::Ends(Scope::Redis));
        }
    }
}

#[test]
fn a_failover_that_nobody_expected_is_noted_and_one_that_was_expected_is_not() {
    let recorder = Arc::new(Recorder::new());
    let group = SentinelGroup::start();
    let lookout = Lookout::start(group.sentinel_ports(), Arc::clone(&recorder));
    let fail_over = || {
        let old = group.master_port();
        group.fail_over();
        group.wait_for_other_master(old);
    };
    lookout.expect(true);
    fail_over();
    thread::sleep(4 * PAUSE);
    lookout.expect(false);
    assert_eq!(recorder.history().0, []);
    // The Sentinels see to the old master first.
    wait_until("another failover is possible", || group.try_fail_over());
    eventually("it is noted", || matches!(recorder.history().0.first().map(|event| &event.what), Some(What::Begins(Scope::Redis, _))));
    eventually("its end is noted", || matches!(recorder.history().0.get(1).map(|event| &event.what), Some(What::Ends(Scope::Redis))));
}
