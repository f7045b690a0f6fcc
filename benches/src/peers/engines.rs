//! The engines and their commands.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An engine with one of its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Its name.
    pub name: &'static str,
    /// The name of the setting.
    pub setting: &'static str,
    program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// The program `driver` of this package.
    Ours,
    /// The program `driver` of another build.
    Baseline,
    /// A script of `benches/peers/`.
    Python(&'static str),
    /// The workspace `benches/peers/candle/`.
    Candle,
    /// No program: this process reads the file once.
    Read,
}

const fn peer(name: &'static str, setting: &'static str, program: Program) -> Engine {
    Engine { name, setting, program }
}

/// The names of the other engines.
pub const PEERS: [&str; 4] = ["llama.cpp", "candle", "openvino", "ctranslate2"];
/// This engine.
pub const OURS: Engine = peer("sm", "default", Program::Ours);
/// Another build of it.
pub const BASELINE: Engine = peer("baseline", "default", Program::Baseline);
pub(super) const LLAMA: Engine = peer(PEERS[0], "default", Program::Python("llama_cpp_driver.py"));
pub(super) const LLAMA_NO_REPACK: Engine = Engine { setting: "no-repack", ..LLAMA };
pub(super) const LLAMA_NO_FLASH: Engine = Engine { setting: "no-flash", ..LLAMA };
pub(super) const OPENVINO: Engine = peer(PEERS[2], "default", Program::Python("openvino_driver.py"));
pub(super) const OPENVINO_F32: Engine = Engine { setting: "f32", ..OPENVINO };
pub(super) const CTRANSLATE2: Engine = peer(PEERS[3], "int8", Program::Python("ctranslate2_driver.py"));
pub(super) const CANDLE: Engine = peer(PEERS[1], "default", Program::Candle);
/// The reference for loading: just reading the file.
pub(super) const READ: Engine = peer("reading", "default", Program::Read);
/// The same, into fresh memory for the whole file.
pub(super) const READ_INTO_MEMORY: Engine = Engine { setting: "into memory", ..READ };

/// The setting in which this engine saves packed weights.
pub const PACKED: &str = "packed";

/// The folder of a model's packed weights.
pub fn packed_dir(model: &Path) -> PathBuf {
    model.with_extension(PACKED)
}

impl Engine {
    /// Whether this is a build of this engine.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.program, Program::Ours | Program::Baseline)
    }

    /// The command of its process; `None` if it has none. `baseline` is the folder with the other build's programs.
    pub(crate) fn command(&self, baseline: Option<&Path>) -> Option<Command> {
        let root = root();
        let command = match self.program {
            Program::Read => return None,
            Program::Ours => Command::new(sibling("driver")),
            Program::Baseline => Command::new(program(baseline?, "driver")),
            Program::Python(script) => {
                let mut command = Command::new(root.join(".venv-peers/bin/python"));
                command.arg(root.join("benches/peers").join(script));
                // Idle OpenMP threads must not spin while another engine is measured.
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

/// A program in the same folder as this one.
pub fn sibling(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap_or_default();
    program(here.parent().unwrap_or(&here), name)
}

/// A program in a folder.
pub fn program(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}
