//! The engines, and how their processes are started.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine in one of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// What it is called.
    pub name: &'static str,
    /// The name of the setting.
    pub setting: &'static str,
    program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// A program of this package.
    Ours,
    /// A script of `benches/peers/`.
    Python(&'static str),
    /// The workspace `benches/peers/candle/`.
    Candle,
    /// None: this process reads the file, once.
    Read,
}

const fn peer(name: &'static str, setting: &'static str, program: Program) -> Engine {
    Engine { name, setting, program }
}

/// The names of the other engines.
pub const PEERS: [&str; 4] = ["llama.cpp", "candle", "openvino", "ctranslate2"];
/// This engine.
pub const OURS: Engine = peer("sm", "default", Program::Ours);
pub(super) const LLAMA: Engine = peer(PEERS[0], "default", Program::Python("llama_cpp_driver.py"));
pub(super) const LLAMA_NO_REPACK: Engine = Engine { setting: "no-repack", ..LLAMA };
pub(super) const LLAMA_NO_FLASH: Engine = Engine { setting: "no-flash", ..LLAMA };
pub(super) const OPENVINO: Engine = peer(PEERS[2], "default", Program::Python("openvino_driver.py"));
pub(super) const OPENVINO_F32: Engine = Engine { setting: "f32", ..OPENVINO };
pub(super) const CTRANSLATE2: Engine = peer(PEERS[3], "int8", Program::Python("ctranslate2_driver.py"));
pub(super) const CANDLE: Engine = peer(PEERS[1], "default", Program::Candle);
/// No engine, but what loading is measured by: reading the file and nothing else.
pub(super) const READ: Engine = peer("reading", "default", Program::Read);
/// The same into memory that the process has not had before, which holds all of it.
pub(super) const READ_INTO_MEMORY: Engine = Engine { setting: "into memory", ..READ };

/// The setting in which this engine keeps packed weights.
pub const PACKED: &str = "packed";

/// Where it keeps those of a model.
pub fn packed_dir(model: &Path) -> PathBuf {
    model.with_extension(PACKED)
}

impl Engine {
    /// The command that starts its process; `None` if it has none.
    pub(crate) fn command(&self) -> Option<Command> {
        let root = root();
        let command = match self.program {
            Program::Read => return None,
            Program::Ours => Command::new(sibling("driver")),
            Program::Python(script) => {
                let mut command = Command::new(root.join(".venv-peers/bin/python"));
                command.arg(root.join("benches/peers").join(script));
                // Threads of OpenMP that wait for work must not take the time of another engine.
                command.env("OMP_WAIT_POLICY", "passive").env("KMP_BLOCKTIME", "0");
                command
            }
            Program::Candle => Command::new(root.join("benches/peers/candle/target/release/candle-driver")),
        };
        Some(command)
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if self.setting == "default" { Ok(()) } else { write!(f, " {}", self.setting) }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A program that was built together with this one.
pub(crate) fn sibling(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    here.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
