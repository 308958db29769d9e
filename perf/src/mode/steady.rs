//! `rate`: how long a message takes at a given rate, counted from the moment when it was due.

use std::io;

use super::Run;
use super::route::both_ways;
use crate::load::ledger::Ledger;
use crate::load::open::Tide;
use crate::measure::Spent;

/// Later than this at p99, the tool itself was not on time, in microseconds.
const LATENESS_MAX: f64 = 1_000.0;

pub(super) fn run(run: &mut Run<'_>) -> io::Result<()> {
    let options = run.options;
    run.open(0..2 * options.pairs)?;
    if run.fleet.fault().is_some() {
        return Ok(());
    }
    let ledger = Ledger::new(both_ways(options.pairs).into_iter(), options.size);
    let mut tide = Tide::new(ledger, options.rate);
    if !options.warm_up.is_zero() {
        tide.run(&mut run.fleet, options.warm_up, |_| false)?;
    }
    let meter = run.subject.meter();
    let kept = tide.run(&mut run.fleet, options.measured, |_| false)?;
    let spent = run.subject.spent(&meter);

    run.record.put("pairs", options.pairs as u64);
    run.record.put("size_bytes", options.size as u64);
    run.record.number("rate", options.rate);
    run.record.put("messages", kept.outcome.messages);
    run.record.number("messages_per_second", kept.outcome.messages as f64 / spent.wall.as_secs_f64());
    run.record.put("valid", kept.is_valid(options.rate, spent.wall));
    if run.subject.is_known() {
        run.record.number("server_cpu_us_per_message", spent.server.as_secs_f64() * 1e6 / kept.outcome.messages.max(1) as f64);
    }
    run.put_tool(&spent);
    if kept.lateness.at(0.99) > LATENESS_MAX && spent.tool_share() <= Spent::TOOL_SHARE_MAX {
        run.record.put("saturated", "the load tool: it wrote more than a millisecond late at p99");
    }
    run.record.latencies("delivery_us", &kept.outcome.delivery);
    run.record.latencies("ack_us", &kept.outcome.ack);
    run.record.latencies("tool_lateness_us", &kept.lateness);
    if run.fleet.fault().is_none() {
        run.leave(0..2 * options.pairs)?;
    }
    Ok(())
}
