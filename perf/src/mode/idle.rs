//! `idle`: what a connection costs that says nothing.
//!
//! Memory is read at several numbers of connections and its slope taken, so that what a server holds anyway does not count.

use std::io;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::Run;
use crate::load::ledger::Ledger;
use crate::load::open::Tide;
use crate::measure::Memory;

/// Time that a server has to give memory back, once the last client has left.
const GIVING_BACK: Duration = Duration::from_secs(3);

pub(super) fn run(run: &mut Run<'_>) -> io::Result<()> {
    let at_start = run.quiet_memory()?;
    let steps = ramp(run)?;
    put_slopes(run, at_start, &steps);
    let count = run.fleet.open_count();
    if !run.options.hold.is_zero() {
        hold(run, count)?;
    }
    if run.options.active > 0.0 {
        active(run, count)?;
    }
    // Printed before they leave: leaving is where a small machine may run out of memory.
    run.record.print();
    run.leave(0..count)?;
    // A server may wait for quiet before it gives memory back, as Texto does for a second.
    thread::sleep(GIVING_BACK);
    let after = run.quiet_memory()?;
    run.record.put("user_bytes_after_leaving", after.user);
    Ok(())
}

fn ramp(run: &mut Run<'_>) -> io::Result<Vec<(usize, Memory)>> {
    let mut steps = Vec::new();
    let (mut open, mut cpu, mut wall) = (0, Duration::ZERO, Duration::ZERO);
    for &count in &run.options.connections {
        let meter = run.subject.meter();
        run.open(open..count)?;
        let spent = run.subject.spent(&meter);
        (cpu, wall) = (cpu + spent.server, wall + spent.wall);
        if run.options.touch {
            run.touch(open..count)?;
        }
        open = count;
        steps.push((count, run.quiet_memory()?));
        if run.fleet.fault().is_some() {
            break;
        }
    }
    run.record.put("connections", open as u64);
    run.record.number("connect_cpu_us_per_connection", cpu.as_secs_f64() * 1e6 / open as f64);
    run.record.number("connects_per_second", open as f64 / wall.as_secs_f64());
    Ok(steps)
}

fn put_slopes(run: &mut Run<'_>, at_start: Memory, steps: &[(usize, Memory)]) {
    let mut all = vec![(0, at_start)];
    all.extend(steps);
    let rows: Vec<_> =
        all.iter().map(|(count, memory)| json!({"connections": count, "user_bytes": memory.user, "kernel_bytes": memory.kernel})).collect();
    run.record.put("steps", rows);
    // Between the outermost numbers that were asked for; with one number only, from nothing.
    let (first, last) = if steps.len() > 1 { (all[1], all[steps.len()]) } else { (all[0], all[all.len() - 1]) };
    let per_connection = |from: u64, to: u64| (to as f64 - from as f64) / (last.0 - first.0).max(1) as f64;
    run.record.number("user_bytes_per_connection", per_connection(first.1.user, last.1.user));
    run.record.number("kernel_bytes_per_connection", per_connection(first.1.kernel, last.1.kernel));
    run.record.put("kernel_bytes_are", "both ends and their epoll entries");
}

fn hold(run: &mut Run<'_>, count: usize) -> io::Result<()> {
    let meter = run.subject.meter();
    run.hold(run.options.hold)?;
    let spent = run.subject.spent(&meter);
    run.record.number("held_seconds", spent.wall.as_secs_f64());
    run.record.number("held_cpu_us_per_connection_second", spent.server.as_secs_f64() * 1e6 / count as f64 / spent.wall.as_secs_f64());
    Ok(())
}

/// Some of the connections, evenly spread over all, send a message each second to the next of them.
fn active(run: &mut Run<'_>, count: usize) -> io::Result<()> {
    let senders = ((count as f64 * run.options.active) as usize).max(2).min(count);
    let link = |at: usize| at % senders * (count / senders);
    let ledger = Ledger::new((0..senders).map(|at| (link(at), link(at + 1))), run.options.size);
    let meter = run.subject.meter();
    let kept = Tide::new(ledger, senders as f64).run(&mut run.fleet, run.options.measured, |_| false)?;
    let spent = run.subject.spent(&meter);
    run.record.put("active_senders", senders as u64);
    run.record.put("active_messages_due", kept.due);
    run.record.put("active_messages", kept.outcome.messages);
    run.record.number("active_messages_per_second", kept.outcome.messages as f64 / spent.wall.as_secs_f64());
    run.record.number("active_cpu_us_per_message", spent.server.as_secs_f64() * 1e6 / kept.outcome.messages as f64);
    run.record.latencies("active_delivery_us", &kept.outcome.delivery);
    Ok(())
}
