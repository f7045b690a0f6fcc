//! Requests by id: queued, running, and recently finished.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use sm_batching::RequestId;

use super::ticket::{RequestStatus, StatusCell, Ticket};

/// Finished requests that are remembered.
const MAX_OVER: usize = 4096;

/// All requests that can be looked up.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    n_requests: u64,
    /// Ordered by id.
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: RequestId,
    ticket: Weak<Ticket>,
    status: Arc<StatusCell>,
}

impl Directory {
    /// Assigns the next id, counting from 0, and forgets the oldest finished requests.
    pub(crate) fn enter(&mut self, ticket: &Arc<Ticket>) -> RequestId {
        let id = RequestId(self.n_requests);
        self.n_requests += 1;
        self.entries.push_back(Entry { id, ticket: Arc::downgrade(ticket), status: ticket.status_cell() });
        if self.entries.len() > 2 * MAX_OVER {
            let n_over = self.entries.iter().filter(|entry| entry.status.get().is_over()).count();
            let mut n_forgotten = n_over.saturating_sub(MAX_OVER);
            self.entries.retain(|entry| {
                let is_forgotten = n_forgotten > 0 && entry.status.get().is_over();
                n_forgotten -= usize::from(is_forgotten);
                !is_forgotten
            });
        }
        id
    }

    fn find(&self, id: RequestId) -> Option<&Entry> {
        let index = self.entries.partition_point(|entry| entry.id < id);
        self.entries.get(index).filter(|entry| entry.id == id)
    }

    /// The status of a request, if it is remembered.
    pub(crate) fn status(&self, id: RequestId) -> Option<RequestStatus> {
        Some(self.find(id)?.status.get())
    }

    /// Cancels a request; `false` if it is finished or unknown.
    pub(crate) fn cancel(&self, id: RequestId) -> bool {
        let ticket = self.find(id).filter(|entry| !entry.status.get().is_over());
        ticket.and_then(|entry| entry.ticket.upgrade()).map(|ticket| ticket.cancel.cancel()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CancelToken;
    use crate::engine::ticket::{Responder, TicketRoom};

    const ROOM: TicketRoom = TicketRoom { n_choices: 1, max_new_tokens: 1, n_top: 0 };

    #[test]
    fn the_oldest_that_are_over_are_forgotten_and_no_others() {
        let mut directory = Directory::default();
        let running: Vec<Responder> = (0..10)
            .map(|_| {
                let ticket = Arc::new(Ticket::new(ROOM, CancelToken::new()));
                directory.enter(&ticket);
                Responder::new(ticket, Arc::default())
            })
            .collect();
        for _ in 0..3 * MAX_OVER {
            let ticket = Arc::new(Ticket::new(ROOM, CancelToken::new()));
            directory.enter(&ticket);
            Responder::new(ticket, Arc::default()).give(Ok(Vec::new()));
        }
        assert!(directory.entries.len() <= 2 * MAX_OVER + 10);
        assert_eq!(directory.status(RequestId(3)), Some(RequestStatus::Queued));
        assert_eq!(directory.status(RequestId(10)), None);
        let last = RequestId(3 * MAX_OVER as u64 + 9);
        assert_eq!(directory.status(last), Some(RequestStatus::Completed));
        assert!(directory.cancel(RequestId(3)) && !directory.cancel(last));
        assert!(running[3].ticket().cancel.is_cancelled());
    }
}
