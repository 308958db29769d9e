//! The directory at several sizes: clients are looked for in no order, as messages name them, so a large one is mostly waiting for memory.
//!
//! A `HashMap` by the same ids stands beside it. It holds the id a second time, and it grows by moving everyone at once (`growth.rs`).

use std::cell::RefCell;
use std::collections::HashMap;

use divan::{Bencher, black_box};
use texto::hub::Directory;
use texto::wire::id::{IdSource, Serial};

use crate::support::scattered;

const COUNTS: [u32; 3] = [1_000, 100_000, 1_000_000];

/// Few enough that the smallest table keeps about its size while as many have been taken out or added.
const SAMPLE_SIZE: u32 = 50;

/// As much room as a connection has, so that looking at another client is another cache line.
#[repr(align(32))]
struct Slot(Serial);

/// The slots of `count` clients; the hub reads ids out of its own in the same way.
fn slots(count: u32) -> Vec<Slot> {
    let mut ids = IdSource::seeded(1);
    (0..count).map(|_| Slot(ids.serial())).collect()
}

fn directory(slots: &[Slot]) -> Directory {
    let mut directory = Directory::default();
    for slot in 0..slots.len() as u32 {
        directory.insert(hash_of(slots, slot), slot, |slot| hash_of(slots, slot));
    }
    directory
}

fn map(slots: &[Slot]) -> HashMap<Serial, u32> {
    slots.iter().zip(0..).map(|(slot, number)| (slot.0, number)).collect()
}

/// The numbers of the slots in no order, over and over.
fn numbers(slots: &[Slot]) -> impl Iterator<Item = u32> {
    scattered(slots.len()).map(|slot| slot as u32)
}

fn hash_of(slots: &[Slot], slot: u32) -> u32 {
    slots[slot as usize].0.hash()
}

/// The ids to look for. They come with the messages, so they lie next to each other and not in the slots.
fn wanted(slots: &[Slot]) -> impl Iterator<Item = Serial> {
    let ids: Vec<Serial> = scattered(slots.len()).take(slots.len()).map(|slot| slots[slot].0).collect();
    (0..ids.len()).cycle().map(move |at| ids[at])
}

#[divan::bench(args = COUNTS)]
fn texto_find(bencher: Bencher<'_, '_>, count: u32) {
    let slots = slots(count);
    let (directory, mut wanted) = (directory(&slots), wanted(&slots));
    bencher.bench_local(|| {
        let serial = wanted.next().expect("it never ends");
        directory.find(serial.hash(), |slot| slots[slot as usize].0 == serial).expect("it is listed")
    });
}

#[divan::bench(args = COUNTS)]
fn hash_map_find(bencher: Bencher<'_, '_>, count: u32) {
    let slots = slots(count);
    let (map, mut wanted) = (map(&slots), wanted(&slots));
    bencher.bench_local(|| *map.get(&wanted.next().expect("it never ends")).expect("it is listed"));
}

/// What is put back has just been taken out, so its memory is near: this is the work of an insert without the wait.
#[divan::bench(args = COUNTS, sample_size = SAMPLE_SIZE)]
fn texto_insert(bencher: Bencher<'_, '_>, count: u32) {
    let slots = slots(count);
    let (directory, mut numbers) = (RefCell::new(directory(&slots)), numbers(&slots));
    let hash_of = |slot| hash_of(&slots, slot);
    let take_out = || {
        let slot = numbers.next().expect("it never ends");
        directory.borrow_mut().remove(hash_of(slot), slot, hash_of);
        slot
    };
    let put_back = |slot| directory.borrow_mut().insert(hash_of(slot), black_box(slot), hash_of);
    bencher.with_inputs(take_out).bench_local_values(put_back);
}

#[divan::bench(args = COUNTS, sample_size = SAMPLE_SIZE)]
fn texto_remove(bencher: Bencher<'_, '_>, count: u32) {
    let slots = slots(count);
    let (directory, mut numbers) = (RefCell::new(directory(&slots)), numbers(&slots));
    let hash_of = |slot| hash_of(&slots, slot);
    // The slots that the sample before has taken out come back, and others are to be taken out in their place.
    let absent = RefCell::new(Vec::new());
    let choose = || {
        if let Some(slot) = absent.borrow_mut().pop() {
            directory.borrow_mut().insert(hash_of(slot), slot, hash_of);
        }
        numbers.next().expect("it never ends")
    };
    let take_out = |slot| {
        directory.borrow_mut().remove(hash_of(slot), black_box(slot), hash_of);
        absent.borrow_mut().push(slot);
    };
    bencher.with_inputs(choose).bench_local_values(take_out);
}
