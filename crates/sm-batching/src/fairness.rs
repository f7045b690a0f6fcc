//! Fair scheduling of clients: virtual token counters ([Sheng et al., "Fairness in Serving Large Language
//! Models"](https://arxiv.org/abs/2401.00588), OSDI 2024).
//!
//! ```text
//! service(client) += prompt_weight · prompt tokens      when a request is admitted
//!                 += output_weight · generated tokens   after each step
//! next request: the client with the least service
//! ```
//!
//! A client that returns after a pause is lifted to the least service of the active ones. Otherwise it would accumulate
//! credit while idle and could then lock the others out until it caught up.
//!
//! For example, with weights 1 and 2: A had 100 prompt tokens computed and 10 generated, a service of 120; B, with 60 and
//! 20, has 100. The next free slot goes to B. C, a new client, starts at 100 too.

/// Maximum number of clients remembered. Active ones are never forgotten.
const MAX_CLIENTS: usize = 1024;

#[derive(Clone, Copy, Debug)]
struct Client {
    name: u64,
    /// Weighted tokens.
    service: u64,
    /// Sequences that are waiting or running.
    n_active: usize,
}

/// The service each client has received. Clients are addressed by slots, which stay valid while a client has sequences.
#[derive(Debug, Default)]
pub(crate) struct Fairness {
    clients: Vec<Client>,
}

impl Fairness {
    /// Counts one more sequence of a client, and returns the client's slot.
    pub(crate) fn enter(&mut self, name: u64) -> usize {
        let active = self.clients.iter().filter(|client| client.n_active > 0);
        let least = active.map(|client| client.service).min();
        let slot = match self.clients.iter().position(|client| client.name == name) {
            Some(slot) => slot,
            None => self.new_slot(name),
        };
        let client = &mut self.clients[slot];
        if client.n_active == 0 {
            client.service = client.service.max(least.unwrap_or(0));
        }
        client.n_active += 1;
        slot
    }

    /// Counts one more sequence of a client that is active.
    pub(crate) fn enter_again(&mut self, slot: usize) {
        self.clients[slot].n_active += 1;
    }

    /// Counts one sequence less.
    pub(crate) fn leave(&mut self, slot: usize) {
        self.clients[slot].n_active -= 1;
    }

    pub(crate) fn charge(&mut self, slot: usize, service: u64) {
        let client = &mut self.clients[slot];
        client.service = client.service.saturating_add(service);
    }

    pub(crate) fn service(&self, slot: usize) -> u64 {
        self.clients[slot].service
    }

    pub(crate) fn n_slots(&self) -> usize {
        self.clients.len()
    }

    /// A new slot. If there are too many, reuses that of the idle client with the least service, which loses the least: on
    /// its return, it would be lifted anyway.
    fn new_slot(&mut self, name: u64) -> usize {
        let client = Client { name, service: 0, n_active: 0 };
        if self.clients.len() >= MAX_CLIENTS {
            let idle = self.clients.iter().enumerate().filter(|(_, client)| client.n_active == 0);
            if let Some((slot, _)) = idle.min_by_key(|(_, client)| client.service) {
                self.clients[slot] = client;
                return slot;
            }
        }
        self.clients.push(client);
        self.clients.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returning_client_is_lifted_to_the_least_active_one() {
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
        assert_eq!(fairness.service(c), 1060, "no active client to be lifted to, and nothing is forgotten");
    }

    #[test]
    fn idle_clients_do_not_pile_up() {
        let mut fairness = Fairness::default();
        let busy = fairness.enter(0);
        for name in 1..5000 {
            let slot = fairness.enter(name);
            fairness.leave(slot);
        }
        assert!(fairness.n_slots() <= MAX_CLIENTS);
        assert_eq!(fairness.enter(0), busy);
    }
}
