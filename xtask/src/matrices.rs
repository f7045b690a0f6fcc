//! `cargo xtask matrices`: the tests of the GPU backend on a Mesa whose Vulkan in software has cooperative matrices, which is newer than
//! what many systems have.
//!
//! A Debian in `target/matrices` has it. The tests are built here, and run there.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::Outcome;
use crate::spawn::{self, cargo, command, output, root, target};
use crate::tests_command::FEATURES;

const RELEASE: &str = "trixie";
/// What the Debian adds to its smallest installation, from its backports.
const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];

/// Tests, the crates in whose folders they run, and which of them.
const TESTS: [(&str, &str, &str); 3] = [
    ("gpu", "sm-kernels", ""),
    ("gpu_models", "sm-model", ""),
    ("promises", "sm-runtime", "schedules_on_a_gpu"),
];

/// Runs the tests.
pub(crate) fn run(args: &[String]) -> Outcome {
    if !args.is_empty() {
        return Err("takes no arguments".to_owned());
    }
    let debian = target().join("matrices");
    // The last thing that an installation makes.
    if !debian.join("installed").exists() {
        install(&debian)?;
    }
    let programs = build()?;
    for (test, package, filter) in TESTS {
        let program = programs
            .iter()
            .find(|(name, _)| name == test)
            .ok_or_else(|| format!("cargo built no test {test}"))?;
        run_in(&debian, &root().join("crates").join(package), &program.1, filter, test)?;
    }
    Ok(())
}

/// Installs a Debian, from where this system has its packages.
fn install(debian: &Path) -> Outcome {
    if debian.exists() {
        std::fs::remove_dir_all(debian).map_err(|error| format!("{}: {error}", debian.display()))?;
    }
    let mirror = mirror()?;
    let mut bootstrap = command("debootstrap", &["--variant=minbase", RELEASE]);
    spawn::run("debootstrap", bootstrap.arg(debian).arg(&mirror))
        .map_err(|error| format!("{error}: it needs root and Debian's package debootstrap"))?;
    let backports = format!("{RELEASE}-backports");
    let sources = debian.join("etc/apt/sources.list.d/backports.list");
    std::fs::write(&sources, format!("deb {mirror} {backports} main\n"))
        .map_err(|error| format!("{}: {error}", sources.display()))?;
    spawn::run("package lists", command("chroot", &[]).arg(debian).args(["apt-get", "update", "-qq"]))?;
    let mut packages = command("chroot", &[]);
    packages.arg(debian).args([
        "apt-get",
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "-t",
        &backports,
    ]);
    spawn::run("Mesa", packages.args(PACKAGES))?;
    std::fs::write(debian.join("installed"), "").map_err(|error| error.to_string())
}

/// Where this system has Debian's packages from.
fn mirror() -> Result<String, String> {
    let format = ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"];
    let found = output(&mut command("apt-get", &format))?;
    found.lines().next().map(str::to_owned).ok_or_else(|| "apt-get knows no Debian".to_owned())
}

/// Builds the tests. Returns their names and programs.
fn build() -> Result<Vec<(String, PathBuf)>, String> {
    // As `cargo xtask test` builds them.
    let mut build = cargo(&["test", "--workspace", "--locked", "--no-run", "--features", FEATURES]);
    build.args(["--message-format", "json-render-diagnostics"]);
    TESTS.iter().for_each(|(test, ..)| _ = build.args(["--test", test]));
    let built = output(&mut build)?;
    let program = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let name = message["target"]["name"].as_str()?;
        Some((name.to_owned(), PathBuf::from(message["executable"].as_str()?)))
    };
    Ok(built.lines().filter_map(program).collect())
}

/// Runs a program of this system in another, which sees the repository and what was built where they are here.
fn run_in(debian: &Path, folder: &Path, program: &Path, filter: &str, title: &str) -> Outcome {
    const SCRIPT: &str = r#"
set -e
for seen in /proc /dev "$2" "$3"; do mkdir -p "$1$seen"; mount --bind "$seen" "$1$seen"; done
exec chroot "$1" /bin/sh -c 'cd "$1" && export VK_ICD_FILENAMES=$(echo /usr/share/vulkan/icd.d/lvp_icd*.json) && exec "$2" $3' \
  sh "$4" "$5" "$6"
"#;
    // What is mounted goes with the process.
    let mut inside = command("unshare", &["--mount", "sh", "-c", SCRIPT, "sh"]);
    inside.arg(debian).arg(root()).arg(target()).arg(folder).arg(program).arg(filter);
    inside.envs([("GPU_TESTS", "require"), ("XDG_RUNTIME_DIR", "/tmp"), ("SM_CACHE_DIR", "/var/cache")]);
    spawn::run(title, &mut inside)
}
