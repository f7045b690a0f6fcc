//! Messages for subscribers that missed them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use zeromq::{RouterSocket, Socket, SocketRecv, SocketSend, ZmqError, ZmqMessage};

/// The last messages. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct History(Arc<Mutex<Messages>>);

#[derive(Debug)]
struct Messages {
    payloads: VecDeque<Bytes>,
    /// The sequence number of the next message.
    next: u64,
    max: usize,
}

impl History {
    pub(super) fn new(max: usize) -> Self {
        Self(Arc::new(Mutex::new(Messages { payloads: VecDeque::new(), next: 0, max })))
    }

    /// Keeps a payload, and gives its sequence number.
    pub(super) fn push(&self, payload: Bytes) -> u64 {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        messages.payloads.push_back(payload);
        if messages.payloads.len() > messages.max {
            messages.payloads.pop_front();
        }
        messages.next += 1;
        messages.next - 1
    }

    /// The messages from a sequence number on, as far as they are kept.
    fn since(&self, first: u64) -> Vec<(u64, Bytes)> {
        let messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = messages.next - messages.payloads.len() as u64;
        (oldest..).zip(messages.payloads.iter().cloned()).filter(|(sequence, _)| *sequence >= first).collect()
    }
}

/// The socket that answers with missed messages.
pub(super) struct Replay {
    socket: RouterSocket,
    history: History,
}

impl Replay {
    /// Listens; returns the address as well.
    pub(super) async fn bind(endpoint: &str, history: History) -> Result<(Self, String), ZmqError> {
        let mut socket = RouterSocket::new();
        let address = socket.bind(endpoint).await?.to_string();
        Ok((Self { socket, history }, address))
    }

    /// Answers for ever.
    pub(super) async fn run(mut self) {
        loop {
            let answered = match self.socket.recv().await {
                Ok(request) => self.answer(&request).await,
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                tracing::warn!(%error, "KV events were not replayed");
            }
        }
    }

    /// The request is the caller's identity, an empty frame and a sequence number.
    async fn answer(&mut self, request: &ZmqMessage) -> Result<(), ZmqError> {
        let [caller, delimiter, first] = &request.iter().collect::<Vec<_>>()[..] else {
            return Ok(());
        };
        let Ok(first) = first[..].try_into().map(u64::from_be_bytes) else {
            return Ok(());
        };
        let end = (u64::MAX, Bytes::new());
        for (sequence, payload) in self.history.since(first).into_iter().chain([end]) {
            let mut message = ZmqMessage::from((*caller).clone());
            message.push_back((*delimiter).clone());
            message.push_back(sequence.to_be_bytes().to_vec().into());
            message.push_back(payload);
            self.socket.send(message).await?;
        }
        Ok(())
    }
}
