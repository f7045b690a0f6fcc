//! Every error says what a caller can do about it.

use sm_batching::QueueLimit;
use sm_cache::{ByteSize, Resource, SessionId};

use super::*;

fn limit_of_queue(resource: QueueLimit) -> Error {
    BatchingError::ResourceLimit { resource, limit: 2, actual: 3 }.into()
}

fn limit_of_cache(resource: Resource) -> Error {
    CacheError::ResourceLimit { resource, limit: 2, actual: 3 }.into()
}

#[test]
fn every_error_has_the_kind_that_its_caller_acts_on() {
    let memory = |bound| {
        let what = "weights".to_owned();
        Error::from(LoadError::InsufficientMemory { what, needed: ByteSize(2), limit: ByteSize(1), bound })
    };
    let io = || std::io::Error::other("no");
    for (error, kind) in [
        (Error::validation("top_p", "2 is out of range"), ErrorKind::InvalidRequest),
        (sm_cache::BlankSessionId.into(), ErrorKind::InvalidRequest),
        (BatchingError::EmptyPrompt.into(), ErrorKind::InvalidRequest),
        (LoadError::NoDemoModel.into(), ErrorKind::InvalidRequest),
        (Error::limit(LimitedResource::Context, 64, 65), ErrorKind::Limit),
        (limit_of_queue(QueueLimit::BatchTokens), ErrorKind::Limit),
        (limit_of_cache(Resource::SessionTokens), ErrorKind::Limit),
        (memory(MemoryBound::Configured), ErrorKind::Limit),
        (limit_of_queue(QueueLimit::Requests), ErrorKind::Overloaded),
        (limit_of_queue(QueueLimit::Tokens), ErrorKind::Overloaded),
        (limit_of_cache(Resource::Sessions), ErrorKind::Overloaded),
        (CacheError::SessionBusy { session: SessionId::new_id() }.into(), ErrorKind::Overloaded),
        (Error::ShutDown, ErrorKind::Overloaded),
        (Error::Cancelled, ErrorKind::Cancelled),
        (Error::InvalidLogits { value: f32::NAN, token: 1, position: 2 }, ErrorKind::Model),
        (LoadError::DraftVocabulary { draft: 1, target: 2, token: None }.into(), ErrorKind::Model),
        (ExecError::OutOfTurn.into(), ErrorKind::Device),
        (memory(MemoryBound::Available), ErrorKind::Device),
        (KvDiskError::io("open", "a".as_ref())(io()).into(), ErrorKind::Device),
        (Error::EngineThread, ErrorKind::Internal),
        (LoadError::Panicked.into(), ErrorKind::Internal),
    ] {
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[test]
fn a_limit_is_named_with_its_numbers_and_the_remedy_whoever_checks_it() {
    for (error, message) in [
        (
            Error::limit(LimitedResource::Context, 64, 65),
            "context is 64 but the request needs at least 65; shorten the prompt or load the model with a longer context",
        ),
        (
            limit_of_queue(QueueLimit::Requests),
            "max_queued_requests is 2 but the request needs at least 3; retry later or raise the limit",
        ),
        (
            limit_of_cache(Resource::Sessions),
            "max_sessions is 2 but the request needs at least 3; retry when a session is idle or raise max_sessions",
        ),
    ] {
        assert_eq!(error.to_string(), message);
    }
}
