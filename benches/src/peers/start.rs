//! How soon the program shows something.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::engines::sibling;

/// Milliseconds from starting `sm generate` on the model that comes with it to the first byte of its text, `reps` times
/// after a warm-up.
///
/// # Errors
/// A sentence, if the program is missing or writes nothing.
pub fn first_token(reps: usize) -> Result<Vec<f64>, String> {
    let program = sibling("sm");
    let once = || {
        let start = Instant::now();
        let mut command = Command::new(&program);
        // Long enough that it is still generating when the first byte comes.
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
    };
    once()?;
    (0..reps).map(|_| once()).collect()
}
