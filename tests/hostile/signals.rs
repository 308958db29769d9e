//! Signals that mean nothing to a node, while its clients talk.

use rustix::process::Signal;

use super::arena::withstands;
use crate::node::poll;

#[test]
fn no_stray_signal_disturbs_a_talk() {
    const STRAY: [Signal; 6] = [Signal::HUP, Signal::PIPE, Signal::USR1, Signal::USR2, Signal::CHILD, Signal::WINCH];
    withstands(&[], |node| {
        for signal in STRAY.into_iter().cycle().take(120) {
            node.signal(signal);
            poll(std::time::Duration::from_millis(2), || false);
        }
        // A stop that was not asked for, as a debugger or a frozen container makes it.
        for _ in 0..3 {
            node.signal(Signal::STOP);
            poll(std::time::Duration::from_millis(200), || false);
            node.signal(Signal::CONT);
            node.client().check();
        }
    });
}
