//! The disk tier: later runs find what earlier ones computed, whatever became of them, and write the same text.

use crate::run::{Scratch, sm};

const STORY: &str = "Once upon a time, there was a little girl named Lily. Lily lived in a small village near a forest, \
                     and every day she walked along the river to see what had changed since the day before. ";

fn generate<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["generate", STORY, "-n", "20", "--seed", "3", "-t", "1"], rest].concat()
}

/// The numbers behind `kv disk:` on standard error: stored, read, written, dropped, damaged.
fn counts(stderr: &str) -> Vec<u64> {
    let line =
        stderr.lines().find(|line| line.starts_with("kv disk: ")).unwrap_or_else(|| panic!("{stderr}"));
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn a_second_run_reads_what_the_first_computed() {
    let scratch = Scratch::new("kv-disk");
    let dir = scratch.path("cache");
    let plain = sm(&generate(&[])).success();
    let run = |rest: &[&str]| sm(&generate(&[&["--kv-disk", &dir], rest].concat()));
    let first = run(&[]);
    // What the cache held is written when the engine shuts down, and counted.
    let [stored, read, written, ..] = counts(&first.stderr)[..] else { panic!("{}", first.stderr) };
    assert!(stored > 0 && read == 0 && written == stored, "{}", first.stderr);
    assert_eq!(first.success(), plain);
    let second = run(&["--kv-disk-bytes", "10M"]);
    let [stored, read, _, dropped, damaged] = counts(&second.stderr)[..] else { panic!("{}", second.stderr) };
    assert!(stored >= read && read >= 2 && (dropped, damaged) == (0, 0), "{}", second.stderr);
    assert_eq!(second.success(), plain);
    for rest in [&["--kv-type", "f32"][..], &["-m", "demo-draft"], &["--isa", "scalar"]] {
        let other = run(rest);
        assert_eq!(counts(&other.stderr)[1], 0, "{rest:?}: {}", other.stderr);
        other.success();
    }
}

#[test]
fn impossible_options_are_refused() {
    let scratch = Scratch::new("kv-disk-refused");
    let dir = scratch.path("cache");
    let with = |rest: &[&str]| sm(&generate(rest));
    let small = with(&["--kv-disk", &dir, "--kv-disk-bytes", "1K"]).error(1);
    assert!(small.contains("one KV page or state needs") && small.contains("1.00 KB"), "{small}");
    let file = scratch.file("file", "");
    let not_a_directory = with(&["--kv-disk", &file]).error(1);
    assert!(not_a_directory.contains("cannot create the directory"), "{not_a_directory}");
    for rest in [&["--kv-disk-bytes", "1G"][..], &["--kv-disk", &dir, "--kv-disk-bytes", "1X"]] {
        let outcome = with(rest);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    }
}

/// A run is killed at several moments, in the middle of whatever it writes; the next one goes on with what is there.
#[cfg(unix)]
#[test]
fn a_killed_run_leaves_nothing_that_changes_a_token() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let scratch = Scratch::new("kv-disk-killed");
    let dir = scratch.path("cache");
    // Each prompt comes four times, in a memory of two contexts: pages are evicted before they are wanted again.
    let lines = (0..24).map(|i| {
        let prompt = format!("{}. {}", i % 6, &STORY[..140 + 20 * (i % 3)]);
        serde_json::json!({"prompt": prompt, "n_tokens": 30}).to_string()
    });
    let input = scratch.file("in.jsonl", lines.collect::<Vec<_>>().join("\n"));
    let args = ["batch", &input, "-", "-t", "1", "--seed", "5", "--parallel", "2", "-c", "128"];
    let with_disk = [&args[..], &["--kv-disk", &dir, "--kv-disk-bytes", "1M"]].concat();
    let plain = sm(&args).success();
    assert_eq!(plain.lines().filter(|line| line.contains("\"text\"")).count(), 24);
    for n_answers in [1, 2, 5, 11, 17] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sm"))
            .args(&with_disk)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let written: Vec<String> = answers.lines().take(n_answers).map(Result::unwrap).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(plain.starts_with(&written.join("\n")) && written.len() == n_answers);
    }
    let last = sm(&with_disk);
    let [_, read, written, ..] = counts(&last.stderr)[..] else { panic!("{}", last.stderr) };
    assert!(read > 0 && written > 0, "{}", last.stderr);
    assert_eq!(last.success(), plain);
}
