//! The lines typed into chats, saved as they are typed: a terminal that is closed loses none, and of two chats at once neither
//! overwrites the other's.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The first line of the file, by which the line editor knows that lines are escaped.
const HEADER: &str = "#V2\n";
/// Lines that are kept.
pub(super) const MAX_LINES: usize = 1000;

/// A history file.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    last: String,
}

impl History {
    /// The history in a file, which is cut to the last lines if it has become long.
    pub(super) fn open(path: PathBuf) -> Self {
        // A history that cannot be read is not there.
        let _ = trim(&path);
        Self { path, last: String::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line, unless it repeats the last one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        if line.trim().is_empty() || line == self.last {
            return Ok(());
        }
        line.clone_into(&mut self.last);
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)?;
        }
        let mut file = options().append(true).create(true).open(&self.path)?;
        file.lock()?;
        let header = if file.metadata()?.len() == 0 { HEADER } else { "" };
        let escaped = line.replace('\\', "\\\\").replace('\n', "\\n");
        // One write, so that it is there as a whole or not at all.
        file.write_all(format!("{header}{escaped}\n").as_bytes())
    }
}

/// Cuts a file of more than twice the lines that are kept.
fn trim(path: &Path) -> io::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    file.lock()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let lines: Vec<&str> = text.lines().skip(1).collect();
    if !text.starts_with(HEADER) || lines.len() <= 2 * MAX_LINES {
        return Ok(());
    }
    let kept = lines[lines.len() - MAX_LINES..].join("\n");
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{HEADER}{kept}\n").as_bytes())
}

/// What people type is nobody else's business.
#[cfg(unix)]
fn options() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn options() -> OpenOptions {
    OpenOptions::new()
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_chats_at_once_keep_all_lines_and_a_long_file_is_cut() {
        let directory = env::temp_dir().join(format!("sm-chat-history-{}", std::process::id()));
        let path = directory.join("smallmind/chat_history");
        let mut chats = [(); 2].map(|()| History::open(path.clone()));
        for (chat, line) in [(0, "a\nb\\c"), (1, "d"), (0, "a\nb\\c"), (0, " ")] {
            chats[chat].append(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "#V2\na\\nb\\\\c\nd\n");
        for number in 0..2 * MAX_LINES {
            chats[1].append(&number.to_string()).unwrap();
        }
        History::open(path.clone());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            (text.lines().next(), text.lines().nth(1), text.lines().count()),
            (Some("#V2"), Some("1000"), 1 + MAX_LINES)
        );
        fs::remove_dir_all(directory).unwrap();
    }
}
