//! Models from the Hugging Face hub, in the cache that Python's `huggingface_hub` uses.
//!
//! A name like `Qwen/Qwen3-0.6B-GGUF:Q8_0` becomes a path. [`Hub::find`] looks into the cache and never connects to
//! anything; [`Hub::plan`] and [`Hub::pull`] fetch what is missing. A file stands under its name once it is whole and has the
//! checksum that the hub names, so whatever ends a download, the next one goes on where it ended and no program loads half a
//! file. Two processes, one of which may be Python, that want the same file fetch it once.
//!
//! ```no_run
//! use sm_hub::{Hub, HubRef, HubSettings};
//!
//! let hub = Hub::new(HubSettings::from_env()?);
//! let name: HubRef = "Qwen/Qwen3-0.6B-GGUF:Q8_0".parse()?;
//! let model = match hub.find(&name) {
//!     Ok(model) => model,
//!     Err(_) => hub.pull(&hub.plan(&name)?, &mut |progress| println!("{} bytes", progress.done_bytes))?,
//! };
//! println!("{}", model.path.display());
//! # Ok::<(), sm_hub::HubError>(())
//! ```
//!
//! Settings are those of `huggingface_hub`: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, proxies.
//! The token goes to the hub alone, not to the hosts that the hub redirects to. TLS is rustls without any C; `http/tls.rs`
//! says why, and where it works.

mod cache;
mod cancel;
mod digest;
mod download;
mod error;
mod http;
mod hub;
mod names;
mod reference;
mod repository;
mod selection;
mod settings;

pub use cache::models::{CacheContents, CachedModel};
pub use cache::removal::Removed;
pub use cancel::Cancel;
pub use error::HubError;
pub use http::tls::{config as tls_config, crypto_provider};
pub use hub::{Hub, Plan, Progress};
pub use reference::HubRef;
pub use settings::{HubSettings, Proxies, Token};
