//! Things that were used lately, bounded by what they cost together.

use std::hash::Hash;

use hashlink::LinkedHashMap;
use parking_lot::Mutex;

/// Keeps the last used of its values, as many as the limit allows; the newest stays whatever it costs.
pub(crate) struct Lru<K, V> {
    limit: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    /// With what each costs, the last used at the back.
    values: LinkedHashMap<K, (V, usize)>,
    cost: usize,
}

impl<K: Eq + Hash, V> State<K, V> {
    fn take_oldest(&mut self) -> Option<(K, V)> {
        let (key, (value, cost)) = self.values.pop_front()?;
        self.cost -= cost;
        Some((key, value))
    }
}

/// What goes is dropped without the lock: that may close files.
impl<K: Eq + Hash, V: Clone> Lru<K, V> {
    pub(crate) fn new(limit: usize) -> Lru<K, V> {
        Lru { limit, state: Mutex::new(State { values: LinkedHashMap::new(), cost: 0 }) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.state.lock().values.to_back(key).map(|(value, _)| value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V, cost: usize) {
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        let replaced = state.values.insert(key, (value, cost));
        state.cost -= replaced.as_ref().map_or(0, |(_, cost)| *cost);
        state.cost += cost;
        while state.cost > self.limit && state.values.len() > 1 {
            dropped.extend(state.take_oldest());
        }
        drop(state);
    }

    /// Drops the value that was not used for the longest time; false if there is none.
    pub(crate) fn drop_oldest(&self) -> bool {
        let oldest = self.state.lock().take_oldest();
        oldest.is_some()
    }

    /// Keeps only values whose key passes.
    pub(crate) fn retain(&self, keep: impl Fn(&K) -> bool) {
        let mut state = self.state.lock();
        let all = std::mem::take(&mut state.values).into_iter();
        let (kept, dropped): (LinkedHashMap<_, _>, LinkedHashMap<_, _>) = all.partition(|(key, _)| keep(key));
        state.cost = kept.values().map(|(_, cost)| cost).sum();
        state.values = kept;
        drop(state);
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
