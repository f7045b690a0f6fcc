//! Bodies and answers of `/generate` and `/solve/*`, the endpoints that SmallMind's original documents describe.
//!
//! Two documents describe `/generate` with different fields; what is read and written here is the superset. Field names may be
//! written in camel case.

mod answer;
mod body;
mod extract;

pub use answer::{Answer, NdjsonLine};
pub use body::{Call, Task, read};
pub use extract::{last_code_block, math_answer};
