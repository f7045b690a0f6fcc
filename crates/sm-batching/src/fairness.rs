//! Virtual token counters: of the keys that wait, the one that was served least is next ("Fairness in Serving Large
//! Language Models", OSDI 2024).

/// Idle keys that are remembered.
const MAX_IDLE: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Key {
    name: u64,
    /// Weighted tokens served.
    service: u64,
    /// Sequences that wait or run.
    n_active: usize,
}

/// What each key has been served.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    keys: Vec<Key>,
}

impl Fairness {
    /// Counts one more sequence of a key; gives the key's slot, valid while the key has sequences. A key that comes back
    /// cannot use what it did not ask for meanwhile: it is lifted to the least of the active ones.
    pub(crate) fn enter(&mut self, name: u64) -> usize {
        let least = self.keys.iter().filter(|key| key.n_active > 0).map(|key| key.service).min();
        let slot = match self.keys.iter().position(|key| key.name == name) {
            Some(slot) => slot,
            None => self.new_slot(name),
        };
        let key = &mut self.keys[slot];
        if key.n_active == 0 {
            key.service = key.service.max(least.unwrap_or(0));
        }
        key.n_active += 1;
        slot
    }

    /// One more sequence of a key that has some.
    pub(crate) fn enter_again(&mut self, slot: usize) {
        self.keys[slot].n_active += 1;
    }

    /// One sequence of a key has ended.
    pub(crate) fn leave(&mut self, slot: usize) {
        self.keys[slot].n_active -= 1;
    }

    /// Counts service for a key.
    pub(crate) fn charge(&mut self, slot: usize, service: u64) {
        let key = &mut self.keys[slot];
        key.service = key.service.saturating_add(service);
    }

    /// What a key was served.
    pub(crate) fn service(&self, slot: usize) -> u64 {
        self.keys[slot].service
    }

    /// Number of slots.
    pub(crate) fn n_slots(&self) -> usize {
        self.keys.len()
    }

    /// A slot of its own; where too many are idle, that of the idle key that was served least, for lifting it again would
    /// cost it least.
    fn new_slot(&mut self, name: u64) -> usize {
        let key = Key { name, service: 0, n_active: 0 };
        if self.keys.len() >= MAX_IDLE {
            let idle = self.keys.iter().enumerate().filter(|(_, key)| key.n_active == 0);
            if let Some((slot, _)) = idle.min_by_key(|(_, key)| key.service) {
                self.keys[slot] = key;
                return slot;
            }
        }
        self.keys.push(key);
        self.keys.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returning_key_is_lifted_to_the_least_of_the_active() {
        let mut fairness = Fairness::default();
        let (a, b) = (fairness.enter(1), fairness.enter(2));
        fairness.charge(a, 100);
        fairness.charge(b, 60);
        let c = fairness.enter(3);
        assert_eq!(fairness.service(c), 60);
        fairness.leave(b);
        fairness.charge(c, 1000);
        assert_eq!(fairness.enter(2), b);
        assert_eq!(fairness.service(b), 100, "the least of a and c");
        fairness.leave(a);
        fairness.leave(b);
        fairness.leave(c);
        fairness.enter(3);
        assert_eq!(fairness.service(c), 1060, "nobody to be lifted to, and nothing is forgotten");
    }

    #[test]
    fn idle_keys_do_not_pile_up() {
        let mut fairness = Fairness::default();
        let busy = fairness.enter(0);
        for name in 1..5000 {
            let slot = fairness.enter(name);
            fairness.leave(slot);
        }
        assert!(fairness.n_slots() <= MAX_IDLE);
        assert_eq!(fairness.enter(0), busy);
    }
}
