//! What the clients import: a Python environment and a folder of node packages for most of them.
//!
//! A client `test_x` whose packages exclude those of others, or weigh a gigabyte, has a `requirements-x.txt` or `package-x.json`,
//! and an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::FOLDER;
use crate::Outcome;
use crate::spawn::{self, command, root, succeeds, target};

/// A place where clients find what they import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Environment {
    /// A virtual environment for the packages of a list.
    Python { list: String },
    /// A folder for the packages of a list.
    Node { list: String },
}

impl Environment {
    /// That of a client.
    pub(super) fn of(client: &Path) -> Self {
        let name = client.file_stem().unwrap_or_default().to_string_lossy().replace("test_", "");
        let list = |kind: &str, end: &str| {
            let own = format!("{kind}-{name}.{end}");
            if root().join(FOLDER).join(&own).exists() { own } else { format!("{kind}.{end}") }
        };
        match client.extension().is_some_and(|kind| kind == "py") {
            true => Self::Python { list: list("requirements", "txt") },
            false => Self::Node { list: list("package", "json") },
        }
    }

    /// Where it is.
    fn folder(&self) -> PathBuf {
        let (Self::Python { list } | Self::Node { list }) = self;
        target().join("clients").join(list.rsplit_once('.').map_or(list.as_str(), |(name, _)| name))
    }

    /// Installs what is missing.
    ///
    /// # Errors
    /// If a package cannot be had.
    pub(super) fn install(&self) -> Outcome {
        let folder = self.folder();
        match self {
            Self::Python { list } => {
                let python = folder.join("bin/python");
                if !python.exists() {
                    let place = folder.to_string_lossy();
                    spawn::run("python environment", &mut command("python3", &["-m", "venv", &place]))?;
                }
                let list = format!("{FOLDER}/{list}");
                let install = ["-m", "pip", "install", "--quiet", "-r", &list];
                let mut install = command(&python.to_string_lossy(), &install);
                spawn::run(&list, install.env("PIP_DISABLE_PIP_VERSION_CHECK", "1"))
            }
            Self::Node { list } => {
                if !succeeds(&mut command("npm", &["--version"])) {
                    let message =
                        "npm is missing; install Node.js 20 or later, or run the clients in Python alone";
                    return Err(message.to_owned());
                }
                copy(&root().join(FOLDER).join(list), &folder.join("package.json"))?;
                let install = ["install", "--silent", "--no-audit", "--no-fund"];
                spawn::run(list, command("npm", &install).current_dir(folder))
            }
        }
    }

    /// The command that runs a client.
    ///
    /// # Errors
    /// If its file cannot be copied to where node looks for packages: the folders above it.
    pub(super) fn run(&self, client: &Path) -> Result<Command, String> {
        let folder = self.folder();
        Ok(match self {
            Self::Python { .. } => {
                command(&folder.join("bin/python").to_string_lossy(), &[&client.to_string_lossy()])
            }
            Self::Node { .. } => {
                let copied = folder.join(client.file_name().unwrap_or_default());
                copy(client, &copied)?;
                command("node", &[&copied.to_string_lossy()])
            }
        })
    }
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let copied = to.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::copy(from, to));
    copied.map(drop).map_err(|error| format!("{}: {error}", from.display()))
}
