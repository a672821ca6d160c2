//! Things that were used lately, bounded by what they cost together.

use parking_lot::Mutex;
use std::collections::VecDeque;

/// Keeps the last used of its values, as many as the limit allows; the newest stays whatever it costs.
pub struct Lru<K, V> {
    limit: usize,
    state: Mutex<State<K, V>>,
}

struct State<K, V> {
    /// Key, value and cost, the last used at the back.
    values: VecDeque<(K, V, usize)>,
    cost: usize,
}

impl<K: PartialEq, V: Clone> Lru<K, V> {
    pub fn new(limit: usize) -> Lru<K, V> {
        Lru { limit, state: Mutex::new(State { values: VecDeque::new(), cost: 0 }) }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let mut state = self.state.lock();
        let at = state.values.iter().rposition(|(k, ..)| k == key)?;
        let found = state.values.remove(at)?;
        let value = found.1.clone();
        state.values.push_back(found);
        Some(value)
    }

    pub fn insert(&self, key: K, value: V, cost: usize) {
        let mut dropped = Vec::new();
        let mut state = self.state.lock();
        if let Some(at) = state.values.iter().position(|(k, ..)| *k == key)
            && let Some(old) = state.values.remove(at)
        {
            state.cost -= old.2;
            dropped.push(old);
        }
        state.cost += cost;
        state.values.push_back((key, value, cost));
        while state.cost > self.limit && state.values.len() > 1 {
            if let Some(oldest) = state.values.pop_front() {
                state.cost -= oldest.2;
                dropped.push(oldest);
            }
        }
        // What goes is dropped without the lock: that may close files.
        drop(state);
    }

    /// Drops the value that was not used for the longest time; false if there is none.
    pub fn drop_oldest(&self) -> bool {
        let mut state = self.state.lock();
        let oldest = state.values.pop_front();
        if let Some((.., cost)) = &oldest {
            state.cost -= cost;
        }
        drop(state);
        oldest.is_some()
    }

    /// Keeps only values whose key passes.
    pub fn retain(&self, keep: impl Fn(&K) -> bool) {
        let mut state = self.state.lock();
        let (kept, dropped): (VecDeque<_>, VecDeque<_>) =
            state.values.drain(..).partition(|(key, ..)| keep(key));
        state.cost = kept.iter().map(|(.., cost)| cost).sum();
        state.values = kept;
        // As above.
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
