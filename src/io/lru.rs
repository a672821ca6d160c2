//! A cache of values that were used lately, bounded by what they cost together.

use std::hash::Hash;

use hashlink::LinkedHashMap;
use parking_lot::Mutex;

/// Keeps the most recently used values, as many as the limit allows; the newest stays whatever it costs.
pub(crate) struct Lru<K, V> {
    limit: usize,
    by_use: Mutex<ByUse<K, V>>,
}

struct ByUse<K, V> {
    /// Each value with its cost, the last used at the back.
    values: LinkedHashMap<K, (V, usize)>,
    cost: usize,
}

impl<K: Eq + Hash, V> ByUse<K, V> {
    fn take_oldest(&mut self) -> Option<(K, V)> {
        let (key, (value, cost)) = self.values.pop_front()?;
        self.cost -= cost;
        Some((key, value))
    }
}

/// Values are dropped after the lock is released, because that may close files.
impl<K: Eq + Hash, V: Clone> Lru<K, V> {
    pub(crate) fn new(limit: usize) -> Lru<K, V> {
        Lru { limit, by_use: Mutex::new(ByUse { values: LinkedHashMap::new(), cost: 0 }) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.by_use.lock().values.to_back(key).map(|(value, _)| value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, cost: usize) {
        let mut dropped = Vec::new();
        let mut by_use = self.by_use.lock();
        let replaced = by_use.values.insert(key, (value, cost));
        by_use.cost -= replaced.as_ref().map_or(0, |(_, cost)| *cost);
        by_use.cost += cost;
        while by_use.cost > self.limit && by_use.values.len() > 1 {
            dropped.extend(by_use.take_oldest());
        }
        drop(by_use);
    }

    /// Drops the least recently used value; returns false if there is none.
    pub(crate) fn drop_oldest(&self) -> bool {
        let oldest = self.by_use.lock().take_oldest();
        oldest.is_some()
    }

    /// Keeps only values whose key passes.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        let mut by_use = self.by_use.lock();
        let all = std::mem::take(&mut by_use.values).into_iter();
        let (kept, dropped): (LinkedHashMap<_, _>, LinkedHashMap<_, _>) = all.partition(|(key, _)| keep(key));
        by_use.cost = kept.values().map(|(_, cost)| cost).sum();
        by_use.values = kept;
        drop(by_use);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let lru = Lru::new(10);
        lru.insert('a', 1, 4);
        lru.insert('b', 2, 4);
        assert_eq!(lru.get(&'a'), Some(1));
        lru.insert('c', 3, 4);
        assert_eq!((lru.get(&'a'), lru.get(&'b'), lru.get(&'c')), (Some(1), None, Some(3)));
        lru.insert('d', 4, 100);
        assert_eq!((lru.get(&'c'), lru.get(&'d')), (None, Some(4)));
        lru.insert('e', 5, 3);
        lru.insert('d', 4, 3);
        assert!(lru.drop_oldest());
        assert_eq!((lru.get(&'d'), lru.get(&'e')), (Some(4), None));
        lru.retain(|key| *key != 'd');
        assert_eq!(lru.get(&'d'), None);
    }
}
