//! A mass of connections that drop and return together, on a thread of its own with the least claim to a CPU.
//!
//! ```text
//!   the thread that talks ──Order──▶ the thread of the mass: obeys, and turns its fleet for ever
//!                         ◀─Report── once all have moved
//! ```

use std::io;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Run, touch};
use crate::fleet::{Fleet, Silence};

/// The least claim to a CPU beside others that Linux knows (setpriority(2)).
const NICENESS: i32 = 19;
/// The longest turn of an idle mass, and so how long an order may wait.
const TURN: Duration = Duration::from_millis(10);

enum Order {
    Storm,
    Leave,
}

/// That all have moved, or what went wrong.
type Report = Result<(), String>;

/// The mass, from outside.
pub(super) struct Mass {
    orders: Sender<Order>,
    reports: Receiver<Report>,
    is_moving: bool,
    fault: Option<String>,
    thread: JoinHandle<()>,
}

impl Mass {
    /// Opens `size` connections to where the run's own go, and touches them if the run is to.
    pub(super) fn gather(run: &mut Run<'_>, size: usize) -> io::Result<Mass> {
        let mut fleet = run.new_fleet()?;
        let touched = run.options.touch.then_some(run.options.size);
        let (pace, (orders, received), (report, reports)) = (run.options.connect_rate, channel(), channel());
        let thread = thread::Builder::new().name("mass".into()).spawn(move || {
            give_way();
            fleet.open(0..size, pace);
            let touching = settle(&mut fleet).and_then(|()| touched.map_or(Ok(()), |bytes| touch(&mut fleet, 0..size, bytes, |_| {})));
            let _gone = report.send(outcome(&fleet, touching));
            obey(&mut fleet, size, &received, &report);
        })?;
        let mut mass = Mass { orders, reports, is_moving: true, fault: None, thread };
        mass.settle(run, "opening")?;
        Ok(mass)
    }

    /// All drop and return; [`Mass::is_moving`] tells when they have.
    pub(super) fn storm(&mut self) {
        self.is_moving = self.orders.send(Order::Storm).is_ok();
    }

    /// Whether some are still on their way.
    pub(super) fn is_moving(&mut self) -> bool {
        if self.is_moving {
            let report = match self.reports.try_recv() {
                Err(TryRecvError::Empty) => return true,
                Ok(report) => report,
                Err(TryRecvError::Disconnected) => Err("the thread of the mass has ended".to_owned()),
            };
            self.is_moving = false;
            self.fault = report.err();
        }
        false
    }

    /// Turns the run's own fleet until all have moved.
    pub(super) fn settle(&mut self, run: &mut Run<'_>, what: &str) -> io::Result<()> {
        while self.is_moving() && run.fleet.fault().is_none() {
            run.fleet.turn(TURN, &mut Silence)?;
            run.progress.tell(|| format!("{what}: the mass"));
        }
        self.check(run);
        Ok(())
    }

    /// Makes what went wrong with the mass a fault of the run.
    pub(super) fn check(&mut self, run: &mut Run<'_>) {
        if let Some(fault) = self.fault.take() {
            run.fleet.fail(format!("the mass: {fault}"));
        }
    }

    /// All say goodbye.
    pub(super) fn leave(mut self, run: &mut Run<'_>) -> io::Result<()> {
        self.is_moving = self.orders.send(Order::Leave).is_ok();
        self.settle(run, "leaving")?;
        drop(self.orders);
        self.thread.join().map_err(|_| io::Error::other("the thread of the mass has panicked"))
    }
}

/// Lets the thread run only when nobody else wants the CPU (SCHED_IDLE, sched(7)): one that is merely nice is not put aside at once, and those
/// who stay would wait for it a millisecond.
fn give_way() {
    let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
    let given_way = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    if !given_way.is_ok_and(|status| status.success()) {
        // Refused, too: then the two threads share alike, and the lateness of the tool tells.
        let _refused = rustix::process::setpriority_process(None, NICENESS);
    }
}

/// Moves the fleet as it is told, and answers pings meanwhile; ends when nobody is left to tell it anything.
fn obey(fleet: &mut Fleet, size: usize, orders: &Receiver<Order>, report: &Sender<Report>) {
    loop {
        match orders.try_recv() {
            Ok(Order::Storm) => fleet.storm(0..size),
            Ok(Order::Leave) => fleet.leave(0..size),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => match fleet.turn(TURN, &mut Silence) {
                Ok(()) => continue,
                // Told with the next report.
                Err(error) => fleet.fail(error.to_string()),
            },
        }
        let settling = settle(fleet);
        if report.send(outcome(fleet, settling)).is_err() || fleet.fault().is_some() {
            return;
        }
    }
}

fn settle(fleet: &mut Fleet) -> io::Result<()> {
    while !fleet.is_settled() && fleet.fault().is_none() {
        fleet.turn(TURN, &mut Silence)?;
    }
    Ok(())
}

fn outcome(fleet: &Fleet, moving: io::Result<()>) -> Report {
    moving.map_err(|error| error.to_string())?;
    fleet.fault().map_or(Ok(()), |fault| Err(fault.to_owned()))
}
