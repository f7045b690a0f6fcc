//! What a caller can do about an error.

/// What a caller can do about an [`Error`](crate::Error).
///
/// ```
/// use sm_runtime::{Error, ErrorKind};
///
/// fn http_status(error: &Error) -> u16 {
///     match error.kind() {
///         ErrorKind::InvalidRequest => 400,
///         ErrorKind::Limit => 413,
///         ErrorKind::Overloaded => 503,
///         ErrorKind::Timeout => 504,
///         ErrorKind::Cancelled => 499,
///         _ => 500,
///     }
/// }
///
/// assert_eq!(http_status(&Error::NoTokenizer), 400);
/// assert_eq!(http_status(&Error::ShutDown), 503);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request or configuration is invalid. Change it.
    InvalidRequest,
    /// The request exceeds a limit regardless of load. Shorten it or raise the limit.
    Limit,
    /// The engine cannot serve the request now. Retry later, or on another engine.
    Overloaded,
    /// The request's time limit passed. The error contains the output so far.
    Timeout,
    /// The request was cancelled.
    Cancelled,
    /// The model is at fault: unusable files or unusable results.
    Model,
    /// The machine is at fault: backend, memory or file system.
    Device,
    /// The program is at fault: this library or a callback.
    Internal,
}
