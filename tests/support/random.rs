//! Dice for tests that are driven by a seed: the same seed throws the same, on every machine and with every version of every crate.

/// A generator of pseudo-random numbers (splitmix64). Good for choices, not for secrets.
pub(crate) struct Random(u64);

impl Random {
    /// The generator that `seed` stands for.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// True once in `times` throws.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`, which are some.
    pub(crate) fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len())]
    }
}

/// The seeds of a test: what `TEXTO_SEED` says, or `0..runs`.
pub(crate) fn seeds(runs: u64) -> std::ops::Range<u64> {
    match std::env::var("TEXTO_SEED") {
        Err(_) => 0..runs,
        Ok(seed) => {
            let seed = seed.parse().expect("TEXTO_SEED is a number");
            seed..seed + 1
        }
    }
}

/// Whether one seed was asked for.
pub(crate) fn is_replay() -> bool {
    std::env::var("TEXTO_SEED").is_ok()
}

/// Says which run it was when one fails.
pub(crate) struct Epitaph(pub(crate) u64);

impl Drop for Epitaph {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was run {0}; play it again with TEXTO_SEED={0}", self.0);
        }
    }
}
