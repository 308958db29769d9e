//! `flood`: quiet clients that talk at a fixed rate, alone and then beside some who say as much as their sockets take.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::Run;
use super::route::both_ways;
use crate::load::flooder::{self, Flooded};
use crate::load::ledger::Ledger;
use crate::load::open::{Kept, Tide};

pub(super) fn run(run: &mut Run<'_>) -> io::Result<()> {
    let options = run.options;
    let quiet = 2 * options.pairs;
    run.open(0..quiet)?;
    let ledger = Ledger::new(both_ways(options.pairs).into_iter(), options.size);
    let mut tide = Tide::new(ledger, options.rate);
    if !options.warm_up.is_zero() {
        tide.run(&mut run.fleet, options.warm_up, |_| false)?;
    }
    let calm = tide.run(&mut run.fleet, options.measured, |_| false)?;
    let (beside, flooded) = beside_flood(run, &mut tide)?;

    run.record.put("pairs", options.pairs as u64);
    run.record.put("flooders", options.flooders as u64);
    run.record.put("size_bytes", options.size as u64);
    run.record.number("rate", options.rate);
    run.record.put("valid", beside.is_valid(options.rate, options.measured));
    run.record.number("flood_bytes_per_second", flooded.said as f64 / options.measured.as_secs_f64());
    run.record.number("flood_answer_bytes_per_second", flooded.heard as f64 / options.measured.as_secs_f64());
    run.record.put("flooders_cut_off", flooded.cut_off);
    run.record.number("quiet_p99_ratio", beside.outcome.delivery.at(0.99) / calm.outcome.delivery.at(0.99).max(1e-3));
    run.record.latencies("calm_delivery_us", &calm.outcome.delivery);
    run.record.latencies("flood_delivery_us", &beside.outcome.delivery);
    run.record.latencies("calm_tool_lateness_us", &calm.lateness);
    run.record.latencies("flood_tool_lateness_us", &beside.lateness);
    if run.fleet.fault().is_none() {
        run.leave(0..quiet)?;
    }
    Ok(())
}

/// The quiet ones again, while others flood the server.
fn beside_flood(run: &mut Run<'_>, tide: &mut Tide) -> io::Result<(Kept, Flooded)> {
    let options = run.options;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooders: Vec<_> = (0..options.flooders)
            .map(|number| {
                let target = &options.targets[number % options.targets.len()];
                let is_over = &is_over;
                scope.spawn(move || flooder::flood(target, options.size, number, is_over))
            })
            .collect();
        let kept = tide.run(&mut run.fleet, options.measured, |_| false);
        is_over.store(true, Ordering::Relaxed);
        let mut all = Flooded::default();
        for flooder in flooders {
            all.add(&flooder.join().expect("a flooder does not panic")?);
        }
        Ok((kept?, all))
    })
}
