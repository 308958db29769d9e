//! One file per question; what they share is a [`Run`]: a fleet, the server it is aimed at, and the record of what came out.

mod flood;
mod idle;
mod mass;
mod route;
mod steady;
mod storm;

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::args::{Mode, Options};
use crate::fleet::{Fleet, Silence};
use crate::load::closed::{Extent, press};
use crate::load::ledger::Ledger;
use crate::measure::{Memory, Spent, Subject};
use crate::progress::Progress;
use crate::record::Record;

/// Connections that exchange their one message at a time, when every idle one is touched.
const TOUCHED_AT_ONCE: usize = 1_000;
/// Memory is quiet when it has moved less than this, in bytes.
const QUIET_BYTES: u64 = 64 * 1024;
const QUIET_STEP: Duration = Duration::from_millis(300);
/// Steps in a row without a move: longer than a second, after which servers tidy up.
const QUIET_STEPS: usize = 5;
const QUIET_STEPS_MAX: usize = 50;

/// A run under way.
struct Run<'a> {
    options: &'a Options,
    fleet: Fleet,
    deadline: Instant,
    subject: Subject,
    progress: Progress,
    record: Record,
}

/// Runs one mode; the record tells of a failure too.
pub(crate) fn run(options: &Options) -> Result<Record, String> {
    let mut run = Run::new(options).map_err(|error| error.to_string())?;
    let outcome = match options.mode {
        Mode::Idle => idle::run(&mut run),
        Mode::Route | Mode::Mixed | Mode::FanIn | Mode::Cluster => route::run(&mut run),
        Mode::Rate => steady::run(&mut run),
        Mode::Storm => storm::run(&mut run),
        Mode::Flood => flood::run(&mut run),
    };
    run.progress.end();
    if let Err(error) = outcome {
        run.fleet.fail(error.to_string());
    }
    if let Some(fault) = run.fleet.fault() {
        run.record.put("failed", fault);
    }
    run.record.print();
    Ok(run.record)
}

impl<'a> Run<'a> {
    fn new(options: &'a Options) -> io::Result<Run<'a>> {
        let subject = Subject::find(&options.pids, options.targets.iter().map(|target| target.address));
        let mut record = Record::default();
        record.put("mode", options.mode.name());
        record.put("label", options.label.as_str());
        let deadline = Instant::now() + options.limit;
        let fleet = new_fleet(options, deadline)?;
        Ok(Run { options, fleet, deadline, subject, progress: Progress::new(), record })
    }

    /// One more fleet without connections, aimed where the first one is.
    fn new_fleet(&self) -> io::Result<Fleet> {
        new_fleet(self.options, self.deadline)
    }

    /// Opens connections at the usual pace and waits until all are greeted.
    fn open(&mut self, range: Range<usize>) -> io::Result<()> {
        self.fleet.open(range, self.options.connect_rate);
        self.settle("opening")
    }

    /// All connections say goodbye.
    fn leave(&mut self, range: Range<usize>) -> io::Result<()> {
        self.fleet.leave(range);
        self.settle("leaving")
    }

    fn settle(&mut self, what: &str) -> io::Result<()> {
        while !self.fleet.is_settled() && self.fleet.fault().is_none() {
            self.fleet.turn(Duration::from_millis(50), &mut Silence)?;
            let open = self.fleet.open_count();
            self.progress.tell(|| format!("{what}: {open} connections"));
        }
        Ok(())
    }

    /// Each connection of the range sends one message to the next, and gets one.
    fn touch(&mut self, range: Range<usize>) -> io::Result<()> {
        touch(&mut self.fleet, range, self.options.size, |end| self.progress.tell(|| format!("touched: {end} connections")))
    }

    /// Turns for some time with nothing to say.
    fn hold(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until && self.fleet.fault().is_none() {
            let left = until.saturating_duration_since(Instant::now());
            self.fleet.turn(left.min(Duration::from_millis(200)), &mut Silence)?;
            self.progress.tell(|| format!("holding: {} s left", left.as_secs()));
        }
        Ok(())
    }

    /// Memory once it no longer moves: servers give some back a while after a burst, mostly a second.
    fn quiet_memory(&mut self) -> io::Result<Memory> {
        let (mut before, mut quiet_steps) = (self.subject.memory(), 0);
        for _ in 0..QUIET_STEPS_MAX {
            self.hold(QUIET_STEP)?;
            let now = self.subject.memory();
            let moved = now.user.abs_diff(before.user).max(now.kernel.abs_diff(before.kernel));
            before = now;
            quiet_steps = if moved < QUIET_BYTES { quiet_steps + 1 } else { 0 };
            if quiet_steps == QUIET_STEPS {
                break;
            }
        }
        Ok(before)
    }

    /// What the tool took, and whether it was the one that could not go faster.
    fn put_tool(&mut self, spent: &Spent) {
        self.record.number("tool_cpu_share", spent.tool_share());
        if self.subject.is_known() {
            self.record.number("server_cpu_share", spent.server_share());
        }
        if spent.tool_share() > Spent::TOOL_SHARE_MAX {
            self.record.put("saturated", "the load tool: messages per second are its limit, not that of the server");
        }
    }
}

fn new_fleet(options: &Options, deadline: Instant) -> io::Result<Fleet> {
    let mut targets = Vec::new();
    for target in &options.targets {
        targets.extend(target.stretched(options.spread).map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?);
    }
    Fleet::new(targets, options.sources, deadline)
}

/// Each connection of the range sends one text of `size` bytes to the next, and gets one; `tell` hears how many have.
fn touch(fleet: &mut Fleet, range: Range<usize>, size: usize, mut tell: impl FnMut(usize)) -> io::Result<()> {
    for start in range.clone().step_by(TOUCHED_AT_ONCE) {
        let end = range.end.min(start + TOUCHED_AT_ONCE);
        let ring = (start..end).map(|link| (link, if link + 1 < end { link + 1 } else { start }));
        let count = (end - start) as u64;
        press(fleet, Ledger::new(ring, size), 1, Extent::Messages(count), |_| {})?;
        tell(end);
    }
    Ok(())
}
