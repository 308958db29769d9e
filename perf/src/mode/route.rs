//! `route`, `mixed`, `fan-in`, `cluster`: what a message costs, under closed load; they differ in who writes to whom.

use std::io;

use super::Run;
use crate::args::Mode;
use crate::load::closed::{Extent, press};
use crate::load::ledger::Ledger;

pub(super) fn run(run: &mut Run<'_>) -> io::Result<()> {
    let options = run.options;
    let (flows, talking): (Vec<(usize, usize)>, usize) = match options.mode {
        Mode::FanIn => ((1..=options.pairs).map(|sender| (sender, 0)).collect(), options.pairs + 1),
        // The ends of a pair are neighbours: with two nodes in turn, they are on different ones.
        _ => (both_ways(options.pairs), 2 * options.pairs),
    };
    let idle = if options.mode == Mode::Mixed { options.connections.last().copied().unwrap_or(0) } else { 0 };
    run.open(0..talking + idle)?;
    if idle > 0 && options.touch {
        run.touch(talking..talking + idle)?;
    }
    if run.fleet.fault().is_some() {
        return Ok(());
    }
    if idle > 0 {
        run.record.put("idle_connections", idle as u64);
    }
    measure(run, &flows)?;
    if run.fleet.fault().is_none() {
        run.leave(0..talking + idle)?;
    }
    Ok(())
}

/// Each end of each pair sends to the other.
pub(super) fn both_ways(pairs: usize) -> Vec<(usize, usize)> {
    (0..2 * pairs).map(|link| (link, link ^ 1)).collect()
}

fn measure(run: &mut Run<'_>, flows: &[(usize, usize)]) -> io::Result<()> {
    let options = run.options;
    let extent = match options.messages {
        Some(count) => Extent::Messages(count),
        None => Extent::Time { warm_up: options.warm_up, measured: options.measured },
    };
    run.record.put("pairs", options.pairs as u64);
    run.record.put("in_flight", options.in_flight as u64);
    run.record.put("size_bytes", options.size as u64);
    let ledger = Ledger::new(flows.iter().copied(), options.size);
    let (mut meter, mut spent) = (run.subject.meter(), None);
    let subject = &run.subject;
    let outcome = press(&mut run.fleet, ledger, options.in_flight, extent, |begins| match begins {
        true => meter = subject.meter(),
        false => spent = Some(subject.spent(&meter)),
    })?;
    run.record.put("messages", outcome.messages);
    run.record.number("messages_per_second", outcome.messages as f64 / outcome.elapsed.as_secs_f64());
    if let Some(spent) = spent {
        if run.subject.is_known() {
            run.record.number("server_cpu_us_per_message", spent.server.as_secs_f64() * 1e6 / outcome.messages.max(1) as f64);
        }
        run.put_tool(&spent);
    }
    run.record.latencies("delivery_us", &outcome.delivery);
    run.record.latencies("ack_us", &outcome.ack);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_each_pair_send() {
        assert_eq!(both_ways(2), [(0, 1), (1, 0), (2, 3), (3, 2)]);
    }
}
