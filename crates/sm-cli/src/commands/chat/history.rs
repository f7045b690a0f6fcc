//! The location of the chat history.

use std::env;
use std::path::PathBuf;

/// The history file in the user's state directory; `None` if the system has no such directory.
pub(super) fn path() -> Option<PathBuf> {
    let state = if cfg!(windows) {
        variable("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        variable("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")))
    };
    state.map(|state| state.join("smallmind/chat_history"))
}

/// The absolute path in an environment variable.
fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}
