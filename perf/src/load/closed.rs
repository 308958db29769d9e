//! Closed load: each flow keeps a number of messages in flight, and a message that is through makes room for the next.
//!
//! It finds out what a server can do and what a message costs it. Its latencies are those of a server at its limit; for the latency at a
//! given rate see [`super::open`].

use std::io;
use std::time::{Duration, Instant};

use super::ledger::Ledger;
use super::{Outcome, PATIENCE};
use crate::fleet::{Conversation, Fleet};
use crate::words::Message;

/// How long to press.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extent {
    /// So many messages, all measured.
    Messages(u64),
    /// So long, after a warm-up that is not measured.
    Time { warm_up: Duration, measured: Duration },
}

struct Pressure {
    ledger: Ledger,
    /// Messages that may still be sent.
    left: u64,
}

impl Conversation for Pressure {
    fn message(&mut self, fleet: &mut Fleet, link: usize, message: &Message<'_>, now: Instant) {
        if let Some(flow) = self.ledger.take(fleet, link, message, now) {
            self.send(fleet, flow, now);
        }
    }
}

impl Pressure {
    fn send(&mut self, fleet: &mut Fleet, flow: usize, now: Instant) {
        if self.left > 0 {
            self.left -= 1;
            self.ledger.send(fleet, flow, now);
        }
    }
}

/// Presses with `in_flight` messages per flow; `measuring` is called when the measured part begins and when it ends.
pub(crate) fn press(
    fleet: &mut Fleet,
    ledger: Ledger,
    in_flight: usize,
    extent: Extent,
    mut measuring: impl FnMut(bool),
) -> io::Result<Outcome> {
    let (left, warm_up, measured) = match extent {
        Extent::Messages(count) => (count, Duration::ZERO, Duration::MAX),
        Extent::Time { warm_up, measured } => (u64::MAX, warm_up, measured),
    };
    let mut pressure = Pressure { ledger, left };
    let begun = Instant::now();
    for _ in 0..in_flight {
        for flow in 0..pressure.ledger.flow_count() {
            pressure.send(fleet, flow, begun);
        }
    }
    until(fleet, &mut pressure, warm_up)?;
    pressure.ledger.clear_latencies();
    measuring(true);
    let (since, before) = (Instant::now(), pressure.ledger.settled());
    until(fleet, &mut pressure, measured)?;
    let (messages, elapsed) = (pressure.ledger.settled() - before, since.elapsed());
    measuring(false);
    let (delivery, ack) = pressure.ledger.take_latencies();
    pressure.left = 0;
    until(fleet, &mut pressure, Duration::MAX)?;
    Ok(Outcome { messages, elapsed, delivery, ack })
}

/// Turns for `time`, or until nothing is outstanding.
fn until(fleet: &mut Fleet, pressure: &mut Pressure, time: Duration) -> io::Result<()> {
    let begun = Instant::now();
    let (mut progress, mut settled) = (begun, pressure.ledger.settled());
    loop {
        let now = Instant::now();
        if fleet.fault().is_some() || pressure.ledger.outstanding() == 0 || now - begun >= time {
            return Ok(());
        }
        if pressure.ledger.settled() != settled {
            (progress, settled) = (now, pressure.ledger.settled());
        } else if now - progress > PATIENCE {
            fleet.fail(format!("{} messages were lost: nothing has come for {PATIENCE:?}", pressure.ledger.outstanding()));
            return Ok(());
        }
        fleet.turn(Duration::from_millis(20), pressure)?;
    }
}
