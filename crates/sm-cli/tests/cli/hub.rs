//! Models of a hub: fetched, listed, used by name, removed. The hub is on this machine.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sm_runtime::model::metadata::{Metadata, Value};
use sm_runtime::model::{Gguf, GgufWriter, TensorSpec};

use crate::run::{Outcome, Scratch, sm, sm_with_env};
use crate::serve::Serving;
use crate::stand_in::{Fault, StandIn};

/// A hub and a cache for one test.
struct Setting {
    stand_in: StandIn,
    scratch: Scratch,
}

impl Setting {
    /// A hub that has the demo model as `org/demo-GGUF:Q4_K_M`, and its draft model as `org/demo-GGUF:Q8_0`.
    fn new(test: &str) -> Self {
        let stand_in = StandIn::start();
        for (name, file) in [("demo-Q4_K_M.gguf", "demo.gguf"), ("demo-Q8_0.gguf", "draft.gguf")] {
            stand_in.large("org/demo-GGUF", name, fs::read(model(file)).unwrap());
        }
        Self { stand_in, scratch: Scratch::new(test) }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        let cache = self.scratch.path("cache");
        vec![
            ("HF_ENDPOINT", self.stand_in.endpoint.clone()),
            ("HF_HUB_CACHE", cache),
            ("HF_TOKEN", "hf_secret".into()),
        ]
    }

    fn sm(&self, args: &[&str]) -> Outcome {
        sm_with_env(&self.environment(), args)
    }

    /// A process that runs on its own.
    fn spawn(&self, args: &[&str]) -> std::process::Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sm"));
        command.args(args).envs(self.environment()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// How often contents were asked for, and from which bytes on.
    fn ranges(&self) -> Vec<String> {
        let seen = self.stand_in.seen();
        assert!(seen.iter().all(|seen| seen.by_hub || seen.authorization.is_none()), "{seen:?}");
        seen.into_iter().filter(|seen| !seen.by_hub).map(|seen| seen.range.unwrap_or_default()).collect()
    }
}

fn model(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../sm-demo-model").join(file)
}

/// Arguments of a short run that always says the same.
fn generate<'a>(model: &[&'a str]) -> Vec<&'a str> {
    [&["generate", "Once upon", "-n", "9", "--temp", "0", "-t", "1", "-q"], model].concat()
}

#[test]
fn models_are_pulled_listed_used_and_removed() {
    let setting = Setting::new("hub");
    let path = setting.sm(&["pull", "org/demo-GGUF"]).success();
    assert!(path.trim().ends_with("demo-Q4_K_M.gguf") && Path::new(path.trim()).is_file(), "{path}");
    assert_eq!(setting.ranges().len(), 1);
    let expected = sm(&generate(&[])).success();
    for model in [&["-m", "org/demo-GGUF"][..], &["-hf", "hf.co/org/demo-GGUF:q4_k_m"], &["-m", path.trim()]]
    {
        assert_eq!(setting.sm(&generate(model)).success(), expected, "{model:?}");
    }
    assert!(setting.stand_in.seen().is_empty(), "what is in the cache is not asked for");
    for args in [
        &["inspect", "org/demo-GGUF"][..],
        &["tokenize", "-m", "org/demo-GGUF", "x"],
        &["bench", "-m", "org/demo-GGUF:Q4_K_M", "-p", "4", "-n", "4", "-r", "1", "-t", "1"],
        &["quantize", "org/demo-GGUF", &setting.scratch.path("q.gguf"), "--type", "q8_0"],
        &["generate", "Once", "-m", "org/demo-GGUF", "-hfd", "org/demo-GGUF:Q8_0", "-n", "4", "-t", "1"],
    ] {
        setting.sm(args).success();
    }
    assert_eq!(setting.ranges().len(), 1, "only the draft model");
    let list = setting.sm(&["list"]).success();
    let names: Vec<&str> = list.lines().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(names, ["org/demo-GGUF:Q4_K_M", "org/demo-GGUF:Q8_0"], "{list}");
    assert!(list.contains("3.59 MiB"), "{list}");
    let json = setting.sm(&["ls", "--json"]).success();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["name"], &first["path"]), (&"org/demo-GGUF:Q4_K_M".into(), &path.trim().into()));
    setting.sm(&["rm", "org/demo-GGUF:Q4_K_M"]).success();
    assert!(setting.sm(&["list"]).success().starts_with("org/demo-GGUF:Q8_0"));
    setting.sm(&["rm", "org/demo-GGUF"]).success();
    assert_eq!(setting.sm(&["list", "-q"]).success(), "");
    assert!(setting.sm(&["rm", "org/demo-GGUF"]).error(1).contains("is not among the models"));
}

#[test]
fn clients_pull_models_from_the_hub_and_from_files_if_the_server_lets_them() {
    let setting = Setting::new("hub-serve");
    let environment = setting.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, &value[..])).collect();
    let pull = |serving: &Serving, name: &str, more: &str| {
        serving.request("POST /api/pull", &format!(r#"{{"model": "{name}"{more}}}"#))
    };
    let file = fs::canonicalize(model("draft.gguf")).unwrap().display().to_string();
    let closed = Serving::start_in(&[], &environment);
    for name in ["org/demo-GGUF", &file] {
        let (status, answer) = pull(&closed, name, "");
        assert!(status == 404 && answer.contains("start it with --allow-pull"), "{answer}");
    }
    let open = Serving::start_in(&["--allow-pull"], &environment);
    let (status, lines) = pull(&open, "hf.co/org/demo-GGUF:Q8_0", "");
    assert_eq!(status, 200, "{lines}");
    // Lines come in chunks, with their lengths between them.
    assert!(lines.contains(r#"{"status":"pulling demo-Q8_0.gguf","total":"#), "{lines}");
    assert!(lines.contains(r#"{"status":"success"}"#), "{lines}");
    assert_eq!(pull(&open, &file, r#", "stream": false"#), (200, r#"{"status":"success"}"#.to_owned()));
    for name in ["hf.co/org/demo-GGUF:Q8_0", &file] {
        let body = format!(r#"{{"model": "{name}", "prompt": "Once", "max_tokens": 2}}"#);
        let (status, answer) = open.request("POST /v1/completions", &body);
        assert_eq!(status, 200, "{answer}");
    }
    for (name, part) in [("org/none", "has no model org/none"), ("llama3", "or the path of a model here")] {
        let (status, answer) = pull(&open, name, r#", "stream": false"#);
        assert!(status == 404 && answer.contains(part), "{name}: {status} {answer}");
    }
}

#[test]
fn without_a_terminal_a_name_is_not_fetched_unless_that_is_asked_for() {
    let setting = Setting::new("hub-ask");
    let error = setting.sm(&generate(&["-m", "org/demo-GGUF"])).error(1);
    assert!(error.contains("neither a path nor") && error.contains("`sm pull org/demo-GGUF`"), "{error}");
    let error = setting.sm(&generate(&["-hf", "org/demo-GGUF", "--offline"])).error(1);
    assert!(error.contains("is not among the models in"), "{error}");
    let error = setting.sm(&["pull", "org/demo-GGUF", "--offline"]).error(1);
    assert!(error.contains("offline"), "{error}");
    let error = setting.sm(&["pull", "demo"]).error(2);
    assert!(error.contains("'demo'"), "{error}");
    assert!(setting.stand_in.seen().is_empty());
    let expected = sm(&generate(&[])).success();
    assert_eq!(setting.sm(&generate(&["-hf", "org/demo-GGUF"])).success(), expected);
    assert_eq!(setting.sm(&generate(&["-m", "org/demo-GGUF", "--offline"])).success(), expected);
    let answer =
        setting.sm(&["run", "-hf", "org/demo-GGUF", "What is 17 + 25?", "--temp", "0", "-t", "1", "-q"]);
    assert!(answer.success().contains("42"));
}

#[test]
fn refusals_are_messages_of_one_line() {
    let setting = Setting::new("hub-refusals");
    setting.stand_in.gate("org/demo-GGUF", "another");
    let error = setting.sm(&["pull", "org/demo-GGUF"]).error(1);
    assert!(error.contains("gated") && error.contains("the token given has no access"), "{error}");
    let error = setting.sm(&["pull", "org/demo-GGUF:Q2_K"]).error(1);
    assert!(error.contains("it has Q4_K_M, Q8_0"), "{error}");
    let error = setting.sm(&["pull", "no/such"]).error(1);
    assert!(error.contains("has no model no/such") && !error.contains("hf_secret"), "{error}");
    setting.stand_in.gate("org/demo-GGUF", "hf_secret");
    setting.stand_in.fail(&[Fault::Corrupt]);
    let error = setting.sm(&["pull", "org/demo-GGUF"]).error(1);
    assert!(error.contains("checksum") && error.contains("demo-Q4_K_M.gguf"), "{error}");
    assert_eq!(setting.sm(&["list", "-q"]).success(), "");
}

#[test]
fn a_killed_download_goes_on_where_it_ended() {
    let setting = Setting::new("hub-kill");
    setting.stand_in.slow(8_192);
    let mut first = setting.spawn(&["pull", "org/demo-GGUF"]);
    let blobs = setting.scratch.path("cache") + "/models--org--demo-GGUF/blobs";
    let received = || -> u64 {
        let entries = fs::read_dir(&blobs).into_iter().flatten().flatten();
        entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    let begin = Instant::now();
    while received() < 500_000 {
        assert!(begin.elapsed() < Duration::from_secs(60), "nothing is received");
        std::thread::yield_now();
    }
    first.kill().unwrap();
    first.wait().unwrap();
    let n_received = received();
    assert!((500_000..3_767_936).contains(&n_received), "{n_received}");
    let listed = setting.sm(&["list"]);
    assert!(listed.stdout.is_empty() && listed.stderr.contains("not complete"), "{listed:?}");
    setting.stand_in.slow(1 << 20);
    setting.sm(&["pull", "org/demo-GGUF"]).success();
    assert_eq!(setting.ranges(), [String::new(), format!("bytes={n_received}-")]);
    assert_eq!(setting.sm(&generate(&["-m", "org/demo-GGUF"])).success(), sm(&generate(&[])).success());
}

#[test]
fn two_processes_fetch_a_file_once() {
    let setting = Setting::new("hub-two");
    setting.stand_in.slow(8_192);
    let both = [(); 2].map(|()| setting.spawn(&["pull", "org/demo-GGUF"]));
    let outputs = both.map(|child| child.wait_with_output().unwrap());
    assert!(outputs.iter().all(|output| output.status.success()) && outputs[0].stdout == outputs[1].stdout);
    assert_eq!(setting.ranges(), [""]);
}

#[test]
fn a_split_model_runs_by_its_name() {
    let setting = Setting::new("hub-split");
    let file = Gguf::open(&model("demo.gguf")).unwrap();
    let count = 3;
    for (number, tensors) in file.tensors().chunks(file.tensors().len().div_ceil(count)).enumerate() {
        let mut metadata = if number == 0 { file.metadata().clone() } else { Metadata::default() };
        metadata.insert("split.no", Value::U16(number as u16));
        metadata.insert("split.count", Value::U16(count as u16));
        metadata.insert("split.tensors.count", Value::I32(file.tensors().len() as i32));
        let specs = tensors.iter().map(|tensor| TensorSpec {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: tensor.dtype,
        });
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &specs.collect::<Vec<_>>()).unwrap();
        tensors.iter().for_each(|tensor| writer.write(&file.tensor_bytes(tensor).unwrap()).unwrap());
        let name = format!("Q8_0/m-Q8_0-{:05}-of-{count:05}.gguf", number + 1);
        setting.stand_in.large("org/split-GGUF", &name, writer.finish().unwrap());
    }
    let answer = setting.sm(&generate(&["-hf", "org/split-GGUF:q8_0"])).success();
    assert_eq!(answer, sm(&generate(&[])).success());
    assert_eq!(setting.ranges().len(), 3);
    assert!(setting.sm(&["list"]).success().starts_with("org/split-GGUF:Q8_0 "));
}

#[test]
fn a_server_calls_a_model_as_the_hub_does() {
    let setting = Setting::new("hub-names");
    setting.sm(&["pull", "org/demo-GGUF"]).success();
    let variables = setting.environment();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let args = ["-m", "demo=small", "-hf", "org/demo-GGUF:Q4_K_M"];
    let serving = crate::serve::Serving::start_in(&args, &variables);
    let (status, models) = serving.request("GET /v1/models", "");
    assert!(status == 200 && models.contains("\"org/demo-GGUF:Q4_K_M\""), "{models}");
    let body = r#"{"model": "org/demo-GGUF:Q4_K_M", "messages": [{"role": "user", "content": "What is 1 + 1?"}], "temperature": 0}"#;
    let (status, answer) = serving.request("POST /v1/chat/completions", body);
    assert!(status == 200 && answer.contains("Answer: 2"), "{answer}");
}
