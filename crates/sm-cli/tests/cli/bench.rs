//! `sm bench`: the tests that were asked for, in each form.

use serde_json::Value;

use crate::run::{sm, stories};

const OPTIONS: [&str; 12] = ["-p", "16,0", "-n", "4", "-d", "0,8", "-b", "1,2", "-r", "2", "-t", "1"];

#[test]
fn jsonl_has_one_object_per_test() {
    let Some([_, model]) = stories() else { return };
    let outcome = sm(&[&["bench", "-m", &model, "-o", "jsonl"], OPTIONS.as_slice()].concat());
    assert!(outcome.stderr.contains("warm-up"), "{}", outcome.stderr);
    let text = outcome.success();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let tests: Vec<&str> = rows.iter().map(|row| row["test"].as_str().unwrap()).collect();
    let expected = ["pp16", "tg4", "pp16@d8", "tg4@d8", "pp16@b2", "tg4@b2", "pp16@d8@b2", "tg4@d8@b2"];
    assert_eq!(tests, expected);
    for row in &rows {
        assert!(row["tokens_per_second"].as_f64().unwrap() > 0.0 && row["stddev"].is_f64(), "{row}");
        assert_eq!((&row["threads"], &row["reps"]), (&1.into(), &2.into()), "{row}");
    }
    assert_eq!(rows[7]["sequences"], 2);
}

#[test]
fn the_other_forms_hold_the_same_tests() {
    let Some([model, _]) = stories() else { return };
    let run = |form| {
        sm(&["bench", "-q", "-m", &model, "-p", "8", "-n", "2", "-r", "1", "-t", "1", "-o", form]).success()
    };
    let table = run("md");
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.lines().all(|line| line.starts_with('|') && line.ends_with('|')), "{table}");
    let csv = run("csv");
    let columns: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(columns.len() == 3 && columns.iter().all(|n| *n == columns[0]), "{csv}");
    let array: Value = serde_json::from_str(&run("json")).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 2);
}

#[test]
fn a_profile_shows_where_the_time_of_a_step_goes() {
    let args = ["bench", "-q", "-p", "8", "-n", "2", "-r", "1", "-t", "2", "--profile"];
    let table = sm(&args).success();
    assert!(
        table.contains("\npp8 with 2 threads\n\n| operation") && table.contains("| attention"),
        "{table}"
    );
    let rows = sm(&[&args[..], &["-o", "jsonl"]].concat()).success();
    for row in rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let ops = row["profile"]["ops"].as_array().unwrap();
        let (step, kinds) = ops.split_last().unwrap();
        let shares: f64 = kinds.iter().map(|kind| kind["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-6 && step["share"] == 1.0, "{row}");
    }
    let refused = sm(&[&args[..], &["-o", "csv"]].concat()).error(2);
    assert!(refused.contains("--profile") && refused.contains("json"), "{refused}");
}

#[test]
fn a_test_beyond_the_models_context_is_refused() {
    let Some([model, _]) = stories() else { return };
    let message = sm(&["bench", "-m", &model, "-p", "100000", "-n", "0"]).error(1);
    assert!(message.contains("100000") && message.contains("512"), "{message}");
}
