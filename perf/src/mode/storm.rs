//! `storm`: every connection drops and returns at once, as after a network has gone away; and what those notice who stayed.
//!
//! The mass lives on a thread of its own, which gives way to the one that talks: otherwise the tool itself would be late for those who stay
//! while it drops and connects, and their latency would be the tool's.

use std::io;
use std::time::Duration;

use super::Run;
use super::mass::Mass;
use super::route::both_ways;
use crate::load::ledger::Ledger;
use crate::load::open::{Kept, Tide};
use crate::record::Latencies;

pub(super) fn run(run: &mut Run<'_>) -> io::Result<()> {
    let options = run.options;
    let staying = 2 * options.pairs;
    let size = options.connections.last().copied().unwrap_or(0);
    run.open(0..staying)?;
    let mut mass = Mass::gather(run, size)?;
    let before = run.quiet_memory()?;
    let ledger = Ledger::new(both_ways(options.pairs).into_iter(), options.size);
    let mut tide = (options.pairs > 0).then(|| Tide::new(ledger, options.rate));
    let calm = calm(run, tide.as_mut())?;

    let mut storms =
        Storms { share: 0.0, cpu: Duration::ZERO, wall: Duration::ZERO, delivery: Latencies::new(), lateness: Latencies::new() };
    storms.share = calm.as_ref().map_or(0.0, |(_, share)| *share);
    for _ in 0..options.cycles {
        if run.fleet.fault().is_none() {
            storms.rage(run, tide.as_mut(), &mut mass)?;
        }
    }
    let after = run.quiet_memory()?;

    let connections = (size * options.cycles) as f64;
    run.record.put("connections", size as u64);
    run.record.put("cycles", options.cycles as u64);
    run.record.put("pairs", options.pairs as u64);
    run.record.number("connects_per_second", connections / storms.wall.as_secs_f64());
    run.record.number("server_cpu_us_per_connection", storms.cpu.as_secs_f64() * 1e6 / connections);
    run.record.put("user_bytes_before", before.user);
    run.record.put("user_bytes_after", after.user);
    run.record.number("user_bytes_ratio", after.user as f64 / before.user.max(1) as f64);
    if let Some((calm, _)) = calm {
        run.record.number("stayed_p99_ratio", storms.delivery.at(0.99) / calm.outcome.delivery.at(0.99).max(1e-3));
        run.record.latencies("calm_delivery_us", &calm.outcome.delivery);
        run.record.latencies("storm_delivery_us", &storms.delivery);
        run.record.latencies("calm_tool_lateness_us", &calm.lateness);
        run.record.latencies("storm_tool_lateness_us", &storms.lateness);
    }
    run.record.print();
    if run.fleet.fault().is_none() {
        mass.leave(run)?;
        run.leave(0..staying)?;
    }
    Ok(())
}

/// Those who stay, without a storm: their latencies, and the share of a CPU that they take.
fn calm(run: &mut Run<'_>, tide: Option<&mut Tide>) -> io::Result<Option<(Kept, f64)>> {
    let Some(tide) = tide else { return Ok(None) };
    let meter = run.subject.meter();
    let kept = tide.run(&mut run.fleet, run.options.measured, |_| false)?;
    Ok(Some((kept, run.subject.spent(&meter).server_share())))
}

/// What the storms came to, all together.
struct Storms {
    /// Of a CPU, for those who stay; it is not the storm's.
    share: f64,
    cpu: Duration,
    wall: Duration,
    delivery: Latencies,
    /// How late the tool was, busy with the storm itself.
    lateness: Latencies,
}

impl Storms {
    fn rage(&mut self, run: &mut Run<'_>, tide: Option<&mut Tide>, mass: &mut Mass) -> io::Result<()> {
        let meter = run.subject.meter();
        mass.storm();
        match tide {
            Some(tide) => {
                let kept = tide.run(&mut run.fleet, Duration::ZERO, |_| mass.is_moving())?;
                self.delivery.add(&kept.outcome.delivery);
                self.lateness.add(&kept.lateness);
            }
            None => mass.settle(run, "storm")?,
        }
        let spent = run.subject.spent(&meter);
        mass.check(run);
        self.wall += spent.wall;
        self.cpu += spent.server.saturating_sub(spent.wall.mul_f64(self.share));
        Ok(())
    }
}
