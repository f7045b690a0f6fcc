//! Time from process start to first text.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Milliseconds from starting `sm generate` with its built-in model to the first byte of text: `reps` times for each of
/// `programs`, interleaved, after a warm-up.
///
/// # Errors
/// A message, if a program is missing or writes nothing.
pub fn first_token(programs: &[PathBuf], reps: usize) -> Result<Vec<Vec<f64>>, String> {
    let mut times = vec![Vec::new(); programs.len()];
    for turn in 0..=reps {
        for (program, times) in programs.iter().zip(&mut times) {
            let time = once(program)?;
            if turn > 0 {
                times.push(time);
            }
        }
    }
    Ok(times)
}

fn once(program: &Path) -> Result<f64, String> {
    let start = Instant::now();
    let mut command = Command::new(program);
    // Long enough that it is still generating when the first byte arrives.
    let mut process = command
        .args(["generate", "Once upon a time", "-n", "64"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("{}: {e}; cargo xtask bench builds it", program.display()))?;
    let read = process.stdout.as_mut().map(|stdout| stdout.read_exact(&mut [0]));
    let elapsed = start.elapsed();
    let _ = process.kill();
    let _ = process.wait();
    match read {
        Some(Ok(())) => Ok(elapsed.as_secs_f64() * 1e3),
        _ => Err(format!("{} wrote no text", program.display())),
    }
}
