//! What every request passes on its way to a handler, outermost first.
//!
//! ```text
//! identify     gives it an id, measures it, and logs its end
//! envelop      writes the bodies of errors (error.rs)
//! authorize    finds its key, and applies the limits of that
//! read_body    reads its body, within bounds of size and time, and asks the content filter
//! recall       answers from memory what has been answered before, if that is wanted
//! ```

mod authorize;
mod body;
mod encoding;
mod identify;
mod recall;
mod watched;

pub(crate) use authorize::authorize;
pub(crate) use body::read_body;
pub(crate) use identify::identify;
