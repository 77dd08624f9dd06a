//! Chance that replays: the same seed gives the same throws.

use openai_backend::domain::ids::{Ids as _, SystemIds};

pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in this environment variable, else another one every time. A failing test shows it.
    pub fn seed_from(variable: &str) -> u64 {
        let given = std::env::var(variable).ok();
        let seed = given.map_or_else(Self::fresh_seed, |text| text.parse().expect("the seed is a number"));
        eprintln!("replay with {variable}={seed}");
        seed
    }

    /// Another one every time.
    pub fn fresh_seed() -> u64 {
        u64::from_be_bytes(*SystemIds.secret().first_chunk().unwrap())
    }

    /// Less than `below`.
    pub fn throw(&mut self, below: u64) -> u64 {
        // SplitMix64: a step, then a mix of its bits.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}
