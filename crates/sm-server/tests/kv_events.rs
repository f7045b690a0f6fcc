//! KV-cache events as a router receives them.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::HashMap;

use serde_json::Value;
use sm_runtime::{GenerationOptions, ModelRef, ModelSpec, Models, Prompt, Request};
use sm_server::{KvEvents, KvEventsConfig};
use zeromq::{DealerSocket, Socket, SocketRecv, SocketSend, SubSocket, ZmqMessage};

/// The sequence number and events of a message.
fn decode(frames: &[&[u8]]) -> (i64, Vec<Value>) {
    let [sequence, payload] = frames else { panic!("{} frames", frames.len()) };
    let sequence = i64::from_be_bytes((*sequence).try_into().unwrap());
    if payload.is_empty() {
        return (sequence, Vec::new());
    }
    let (_, events, _): (f64, Vec<Value>, u32) = rmp_serde::from_slice(payload).unwrap();
    (sequence, events)
}

/// A router's map from blocks to their predecessor and tokens.
#[derive(Debug, Default)]
struct Router(HashMap<u64, (Option<u64>, Vec<Value>)>);

impl Router {
    fn follow(&mut self, event: &Value) {
        let hashes = || event["block_hashes"].as_array().unwrap().iter().map(|hash| hash.as_u64().unwrap());
        match event["type"].as_str().unwrap() {
            "AllBlocksCleared" => self.0.clear(),
            "BlockRemoved" => hashes().for_each(|hash| assert!(self.0.remove(&hash).is_some())),
            "BlockStored" => {
                let size = event["block_size"].as_u64().unwrap() as usize;
                let tokens = event["token_ids"].as_array().unwrap().chunks(size);
                let mut parent = event["parent_block_hash"].as_u64();
                assert!(
                    parent.is_none_or(|parent| self.0.contains_key(&parent)),
                    "a child before its parent"
                );
                for (hash, tokens) in hashes().zip(tokens) {
                    self.0.insert(hash, (parent, tokens.to_vec()));
                    parent = Some(hash);
                }
            }
            other => panic!("{other}"),
        }
    }

    /// Tokens of the longest chain.
    fn longest(&self) -> Vec<u64> {
        let chain = |hash: u64| std::iter::successors(Some(hash), |hash| self.0[hash].0);
        let last = self.0.keys().copied().max_by_key(|hash| chain(*hash).count()).unwrap();
        let mut blocks: Vec<u64> = chain(last).collect();
        blocks.reverse();
        blocks.iter().flat_map(|hash| &self.0[hash].1).map(|token| token.as_u64().unwrap()).collect()
    }
}

/// What a router knows that asks for all messages, and the number of the next one.
async fn replayed(address: &str) -> (Router, i64) {
    let mut request = DealerSocket::new();
    request.connect(address).await.unwrap();
    let mut first = ZmqMessage::from(Vec::new());
    first.push_back(0u64.to_be_bytes().to_vec().into());
    request.send(first).await.unwrap();
    let mut router = Router::default();
    let mut next = 0;
    loop {
        let message = request.recv().await.unwrap();
        let frames: Vec<&[u8]> = message.iter().map(|frame| &frame[..]).collect();
        assert_eq!(frames[0], b"");
        let (sequence, events) = decode(&frames[1..]);
        if sequence == -1 {
            return (router, next);
        }
        assert_eq!(sequence, next);
        next += 1;
        events.iter().for_each(|event| router.follow(event));
    }
}

#[tokio::test]
async fn a_router_knows_what_the_cache_holds() {
    let config = KvEventsConfig::new("tcp://*:0").replay("tcp://*:0").topic("kv@pod@demo");
    let events = KvEvents::new(config);
    let models = Models::new(4 << 30);
    models.add("demo", ModelSpec::new(ModelRef::Demo).cache_observer(events.observer())).unwrap();
    let addresses = events.publish().await.unwrap();
    let [events, replay] = [0, 1].map(|index| addresses[index].replace("0.0.0.0", "127.0.0.1"));
    let mut subscriber = SubSocket::new();
    subscriber.connect(&events).await.unwrap();
    subscriber.subscribe("kv@").await.unwrap();

    // Subscriptions arrive some time after they are made; what was missed until then comes from the replay.
    let model = models.acquire("demo").unwrap().await.unwrap();
    let text = "Once upon a time there was a little dog who wanted to see the big wide world on the other side of the hill.";
    let prompt: Vec<_> =
        model.tokenizer().unwrap().encode(text, sm_runtime::model::tokenizer::EncodeOptions::PROMPT).unwrap();
    let generate = |n_tokens| {
        let options = GenerationOptions::new().max_new_tokens(n_tokens);
        model.stream(Request::new(Prompt::Tokens(prompt.clone()), options)).unwrap()
    };
    let mut stream = generate(40);
    while stream.next().await.is_some() {}
    let completion = stream.finish().unwrap().remove(0);

    let (router, next) = replayed(&replay).await;
    let computed: Vec<u64> =
        prompt.iter().chain(&completion.tokens).map(|token| u64::from(token.0)).collect();
    let stored = router.longest();
    assert!(
        stored.len() + 16 >= computed.len() - 1 && stored.len() % 16 == 0,
        "{} of {}",
        stored.len(),
        computed.len()
    );
    assert_eq!(stored, computed[..stored.len()]);

    // From now on the subscriber hears it.
    models.unload("demo", std::time::Duration::ZERO).unwrap();
    drop(models.acquire("demo").unwrap().await.unwrap());
    loop {
        let message = subscriber.recv().await.unwrap();
        let frames: Vec<&[u8]> = message.iter().map(|frame| &frame[..]).collect();
        assert_eq!(frames[0], b"kv@pod@demo");
        let (sequence, events) = decode(&frames[1..]);
        if sequence >= next && events.iter().any(|event| event["type"] == "AllBlocksCleared") {
            break;
        }
    }
}
