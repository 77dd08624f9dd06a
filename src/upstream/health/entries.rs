//! What is remembered of each model and kind of route: a bounded number, of which the least recently used go first. Pure:
//! the time is a parameter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};

use tokio::time::Instant;

use super::HealthSettings;
use super::breaker::Breaker;
use super::budget::RetryBudget;

/// How many are remembered. More models than this are not in use at one upstream; names that clients make up are.
const MOST: usize = 512;

/// Stands for a model and a kind of route. A name of any length takes as little room as any other, and no name is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64);

/// What is remembered of one.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) breaker: Breaker,
    pub(super) budget: RetryBudget,
    last_used: u64,
}

#[derive(Debug)]
pub(super) struct Entries {
    settings: HealthSettings,
    hasher: RandomState,
    known: HashMap<Key, Entry>,
    /// Counts the uses of entries.
    uses: u64,
}

impl Entries {
    pub(super) fn new(settings: HealthSettings) -> Self {
        Self { settings, hasher: RandomState::new(), known: HashMap::new(), uses: 0 }
    }

    pub(super) fn key(&self, of: impl Hash) -> Key {
        Key(self.hasher.hash_one(of))
    }

    /// What is remembered, if anything.
    pub(super) fn get(&mut self, key: Key) -> Option<&mut Entry> {
        self.uses += 1;
        let entry = self.known.get_mut(&key)?;
        entry.last_used = self.uses;
        Some(entry)
    }

    /// What is remembered, from here on if not before.
    pub(super) fn remember(&mut self, key: Key, now: Instant) -> &mut Entry {
        self.uses += 1;
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            self.forget_one();
        }
        let settings = &self.settings;
        let entry = self.known.entry(key).or_insert_with(|| Entry {
            breaker: Breaker::new(settings.breaker, now),
            budget: RetryBudget::new(settings.retry_budget_percent, settings.retry_budget_floor, now),
            last_used: 0,
        });
        entry.last_used = self.uses;
        entry
    }

    /// An open breaker is the last to be forgotten: its model would be called again.
    fn forget_one(&mut self) {
        let oldest = self.known.iter().min_by_key(|(_, entry)| (entry.breaker.is_open(), entry.last_used));
        if let Some((&key, _)) = oldest {
            self.known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::breaker::{BreakerSettings, Permit, Verdict};
    use super::*;

    #[test]
    fn names_that_clients_make_up_take_bounded_room_and_push_no_outage_out() {
        let now = Instant::now();
        let breaker =
            BreakerSettings { min_attempts: 1, open_for: Duration::from_secs(5), ..BreakerSettings::default() };
        let mut entries = Entries::new(HealthSettings { breaker, retry_budget_percent: 20, retry_budget_floor: 10 });
        let down = entries.key(("chat", "down"));
        entries.remember(down, now).breaker.tell(Permit::ORDINARY, Verdict::Down, now);
        let used = entries.key(("chat", "used"));
        entries.remember(used, now);
        for name in 0..3 * MOST {
            let key = entries.key(("chat", name.to_string()));
            entries.remember(key, now);
            assert!(entries.get(used).is_some());
        }
        assert_eq!(entries.known.len(), MOST);
        assert!(entries.get(down).unwrap().breaker.is_open());
    }

    #[test]
    fn a_model_and_a_route_are_told_apart() {
        let entries = Entries::new(HealthSettings::default());
        let keys = [("chat", "a"), ("chat", "b"), ("embeddings", "a"), ("chata", "")].map(|of| entries.key(of));
        assert_eq!(keys.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert_eq!(entries.key(("chat", "a")), keys[0]);
    }
}
