//! From a client's id to its slot, for a few bytes per client.
//!
//! The table holds slot numbers only; the id itself is read out of the slot. It is an extendible hash table: the first bits of an id's hash
//! choose a segment of 512 entries, and a full segment is split into two without touching the others. So the table grows and
//! shrinks in steps of some ten microseconds, at any size, and no insert ever waits for a million others to move.
//!
//! ```text
//!   hash  = 0110 1…            roots (2^depth)        segments
//!           ^^^ depth = 3      000 ─┐
//!                              001 ─┴──────────────▶ depth 2   [ entry, entry, free, … ]
//!                              010 ────────────────▶ depth 3
//!                              011 ────────────────▶ depth 3   ◀── here
//!   entry = 24 bits of slot, 8 bits of hash: nearly every probe of another client's entry ends without a look at its slot
//! ```
//!
//! Ids are drawn at random by this node, so bits of them are a hash already, and nobody can choose ids that collide.
//!
//! Invariants: a segment of depth `d` is the target of exactly `2^(depth - d)` neighbouring roots; within a segment, entries stand in
//! linear probing order without gaps.

use slab::Slab;

use crate::limits::{CONNECTIONS_PER_LOOP_MAX, SEGMENT_ENTRIES, SEGMENT_ENTRIES_MAX, SEGMENT_ENTRIES_MERGED};

/// An entry: slot in the low 24 bits, part of the hash in the high 8. All ones is free, so the last slot number is never used.
type Entry = u32;
const FREE: Entry = u32::MAX;
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
const _: () = assert!(CONNECTIONS_PER_LOOP_MAX <= SLOT_MASK as usize);

/// Hash to slot number, for values that the slots can tell apart.
pub struct Directory {
    roots: Vec<u32>,
    depth: u32,
    segments: Slab<Segment>,
    len: usize,
}

struct Segment {
    entries: Box<[Entry; SEGMENT_ENTRIES]>,
    len: usize,
    depth: u32,
}

fn entry(hash: u32, slot: u32) -> Entry {
    debug_assert!(slot < SLOT_MASK);
    hash << SLOT_BITS | slot
}

/// Where probing for `hash` begins: bits that are neither the first ones, which choose the segment, nor the last, which stand in the entry.
fn home(hash: u32) -> usize {
    (hash >> 8) as usize % SEGMENT_ENTRIES
}

impl Default for Directory {
    fn default() -> Directory {
        let mut segments = Slab::new();
        let first = segments.insert(Segment::new(0));
        Directory { roots: vec![first as u32], depth: 0, segments, len: 0 }
    }
}

impl Directory {
    /// How many slots are listed.
    pub fn count(&self) -> usize {
        self.len
    }

    /// The slot listed under `hash` that `is_it`.
    pub fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let entries = &self.segments[self.root(hash)].entries;
        let mut at = home(hash);
        // A segment always has a free entry, so this ends.
        while entries[at] != FREE {
            let slot = entries[at] & SLOT_MASK;
            if entries[at] == entry(hash, slot) && is_it(slot) {
                return Some(slot);
            }
            at = (at + 1) % SEGMENT_ENTRIES;
        }
        None
    }

    /// Lists `slot` under `hash`; `hash_of` tells the hashes of the other slots, should they have to move.
    pub fn insert(&mut self, hash: u32, slot: u32, hash_of: impl Fn(u32) -> u32) {
        while self.segments[self.root(hash)].len >= SEGMENT_ENTRIES_MAX {
            self.split(hash, &hash_of);
        }
        let root = self.root(hash);
        self.segments[root].insert(hash, slot);
        self.len += 1;
    }

    /// Takes `slot` off the list.
    pub fn remove(&mut self, hash: u32, slot: u32, hash_of: impl Fn(u32) -> u32) {
        let root = self.root(hash);
        self.segments[root].remove(hash, slot, &hash_of);
        self.len -= 1;
        self.merge(hash, &hash_of);
    }

    fn root_index(&self, hash: u32) -> usize {
        // A shift by all 32 bits would be an overflow, hence the detour over 64.
        (u64::from(hash) >> (32 - self.depth)) as usize
    }

    fn root(&self, hash: u32) -> usize {
        self.roots[self.root_index(hash)] as usize
    }

    /// The roots that lead to a segment of `depth` for `hash`.
    fn roots_of(&self, hash: u32, depth: u32) -> std::ops::Range<usize> {
        let shared = self.depth - depth;
        let first = self.root_index(hash) >> shared << shared;
        first..first + (1 << shared)
    }

    /// Makes two segments of the one for `hash`.
    fn split(&mut self, hash: u32, hash_of: &impl Fn(u32) -> u32) {
        let old = self.root(hash);
        if self.segments[old].depth == self.depth {
            self.roots = self.roots.iter().flat_map(|&root| [root, root]).collect();
            self.depth += 1;
        }
        let depth = self.segments[old].depth + 1;
        let slots = self.segments[old].clear(depth);
        let new = self.segments.insert(Segment::new(depth));
        let roots = self.roots_of(hash, depth - 1);
        self.roots[roots.start + roots.len() / 2..roots.end].fill(new as u32);
        for slot in slots {
            let hash = hash_of(slot);
            let root = self.root(hash);
            self.segments[root].insert(hash, slot);
        }
    }

    /// Makes one segment of the one for `hash` and its neighbour, as long as both are nearly empty.
    fn merge(&mut self, hash: u32, hash_of: &impl Fn(u32) -> u32) {
        loop {
            let kept = self.root(hash);
            let depth = self.segments[kept].depth;
            if depth == 0 {
                return;
            }
            let neighbour = self.root(hash ^ 1 << (32 - depth));
            let together = self.segments[kept].len + self.segments[neighbour].len;
            if self.segments[neighbour].depth != depth || together > SEGMENT_ENTRIES_MERGED {
                return;
            }
            let roots = self.roots_of(hash, depth - 1);
            self.roots[roots].fill(kept as u32);
            self.segments[kept].depth = depth - 1;
            for slot in self.segments.remove(neighbour).slots() {
                self.segments[kept].insert(hash_of(slot), slot);
            }
        }
    }

    /// Gives back what the roots and the list of segments hold beyond need. Cheap: both are small, 16 KiB for a million clients.
    pub fn shrink(&mut self) {
        let deepest = self.segments.iter().map(|(_, segment)| segment.depth).max().unwrap_or(0);
        if deepest < self.depth {
            let step = 1 << (self.depth - deepest);
            self.roots = self.roots.iter().copied().step_by(step).collect();
            self.depth = deepest;
        }
        self.segments.shrink_to_fit();
    }

    /// Panics if an invariant of the table does not hold.
    pub fn check_invariants(&self, hash_of: impl Fn(u32) -> u32) {
        assert_eq!(self.roots.len(), 1 << self.depth);
        let total: usize = self.segments.iter().map(|(_, segment)| segment.len).sum();
        assert_eq!(total, self.len);
        for (key, segment) in &self.segments {
            assert!(segment.len <= SEGMENT_ENTRIES_MAX && segment.depth <= self.depth);
            assert_eq!(segment.slots().len(), segment.len);
            let roots = self.roots.iter().filter(|&&root| root as usize == key).count();
            assert_eq!(roots, 1 << (self.depth - segment.depth));
            for slot in segment.slots() {
                assert_eq!(self.find(hash_of(slot), |found| found == slot), Some(slot));
            }
        }
    }
}

impl Segment {
    fn new(depth: u32) -> Segment {
        Segment { entries: Box::new([FREE; SEGMENT_ENTRIES]), len: 0, depth }
    }

    /// Every place, beginning with the one for `hash`.
    fn probe(&self, hash: u32) -> impl Iterator<Item = usize> {
        (home(hash)..SEGMENT_ENTRIES).chain(0..home(hash))
    }

    fn insert(&mut self, hash: u32, slot: u32) {
        let at = self.probe(hash).find(|&at| self.entries[at] == FREE).expect("a segment is never filled to the last entry");
        self.entries[at] = entry(hash, slot);
        self.len += 1;
    }

    /// Frees the entry, and moves those behind it that would no longer be found.
    fn remove(&mut self, hash: u32, slot: u32, hash_of: &impl Fn(u32) -> u32) {
        let mut gap = self.probe(hash).find(|&at| self.entries[at] == entry(hash, slot)).expect("what is removed was listed");
        let mut at = gap;
        loop {
            at = (at + 1) % SEGMENT_ENTRIES;
            if self.entries[at] == FREE {
                break;
            }
            let wanted = home(hash_of(self.entries[at] & SLOT_MASK));
            // The entry may move to the gap unless its own place lies between the gap and where it stands.
            let distance = |from: usize| (at + SEGMENT_ENTRIES - from) % SEGMENT_ENTRIES;
            if distance(wanted) >= distance(gap) {
                self.entries[gap] = self.entries[at];
                gap = at;
            }
        }
        self.entries[gap] = FREE;
        self.len -= 1;
    }

    fn slots(&self) -> Vec<u32> {
        self.entries.iter().filter(|&&found| found != FREE).map(|found| found & SLOT_MASK).collect()
    }

    /// Empties the segment, which from now on is of `depth`.
    fn clear(&mut self, depth: u32) -> Vec<u32> {
        let slots = self.slots();
        self.entries.fill(FREE);
        self.len = 0;
        self.depth = depth;
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that scatters, and one where many collide.
    fn scattered(slot: u32) -> u32 {
        slot.wrapping_mul(0x9e37_79b9).rotate_left(13).wrapping_mul(0x85eb_ca6b)
    }

    fn check(hash_of: impl Fn(u32) -> u32 + Copy, count: u32) {
        let mut directory = Directory::default();
        let find = |directory: &Directory, slot| directory.find(hash_of(slot), |found| found == slot);
        for slot in 0..count {
            assert_eq!(find(&directory, slot), None);
            directory.insert(hash_of(slot), slot, hash_of);
            assert_eq!(find(&directory, slot), Some(slot));
        }
        directory.check_invariants(hash_of);
        for slot in (0..count).filter(|slot| slot % 3 != 0) {
            directory.remove(hash_of(slot), slot, hash_of);
            assert_eq!(find(&directory, slot), None);
        }
        directory.check_invariants(hash_of);
        for slot in (0..count).filter(|slot| slot % 3 == 0) {
            assert_eq!(find(&directory, slot), Some(slot));
            directory.remove(hash_of(slot), slot, hash_of);
        }
        directory.shrink();
        directory.check_invariants(hash_of);
        assert_eq!((directory.count(), directory.segments.len(), directory.depth), (0, 1, 0), "an empty table is small again");
    }

    #[test]
    fn what_is_listed_is_found_until_it_is_removed() {
        for count in [1, 10, 448, 449, 1000, 20_000] {
            check(scattered, count);
        }
    }

    #[test]
    fn colliding_places_wrap_around_the_end_of_a_segment() {
        check(|slot| scattered(slot) | 0x0001_ff00, 2000);
        check(|slot| scattered(slot) & 0xff00_00ff | 0x0001_f000, 2000);
    }

    #[test]
    fn two_clients_with_one_hash_are_told_apart_by_their_slots() {
        let hash_of = |_| 0xdead_beef;
        let mut directory = Directory::default();
        for slot in 0..100 {
            directory.insert(hash_of(slot), slot, hash_of);
        }
        for slot in 0..100 {
            assert_eq!(directory.find(0xdead_beef, |found| found == slot), Some(slot));
        }
        assert_eq!(directory.find(0xdead_beef, |_| false), None);
    }

    #[test]
    fn a_client_costs_less_than_ten_bytes() {
        assert_eq!(size_of::<Entry>(), 4);
        let mut directory = Directory::default();
        for slot in 0..200_000 {
            directory.insert(scattered(slot), slot, scattered);
            let segment_bytes = size_of::<[Entry; SEGMENT_ENTRIES]>() + size_of::<Segment>();
            let bytes = directory.segments.len() * segment_bytes + size_of_val(&directory.roots[..]);
            assert!(slot < 10_000 || bytes < 10 * (slot as usize + 1), "{bytes} bytes for {slot}");
        }
    }
}
