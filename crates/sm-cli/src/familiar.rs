//! Spellings of llama.cpp and Ollama: what the same thing is called here, or one sentence about what there is instead.
//!
//! Options that the parser can take as they are have hidden aliases there. Here is what it cannot: single dashes before several
//! letters, two options that are one, and what does not exist.

use std::ffi::{OsStr, OsString};

use crate::failure::Failure;
use crate::hub::EXPLICIT;

/// Options that have another name.
const NAMES: [(&str, &str); 5] = [
    ("-sys", "--system"),
    ("-jf", "--json-schema"),
    ("-md", "--draft"),
    ("-np", "--parallel"),
    ("-ngl", "--gpu-layers"),
];

/// Options for a model of the hub that is fetched without asking, and what takes one here.
const HUB_NAMES: [(&str, &str); 6] = [
    ("-hf", "--model"),
    ("-hfr", "--model"),
    ("--hf-repo", "--model"),
    ("-hfd", "--draft"),
    ("-hfrd", "--draft"),
    ("--hf-repo-draft", "--draft"),
];

/// Options of `sm serve` that have another name, in vLLM, llama-server and SmallMind's original documents.
const SERVE_NAMES: [(&str, &str); 8] = [
    ("--model-path", "--model"),
    ("--max-model-len", "--context"),
    ("--kv-cache-dtype", "--kv-type"),
    ("--max-num-batched-tokens", "--max-step-tokens"),
    ("--uds", "--unix-socket"),
    ("-to", "--write-timeout"),
    ("--timeout", "--write-timeout"),
    ("--no-flash-attn", "--no-flash-attention"),
];

/// Options of servers for what `sm serve` does anyway.
const SERVE_ANYWAY: [&str; 14] = [
    "--metrics",
    "--jinja",
    "-cb",
    "--cont-batching",
    "--slots",
    "--props",
    "--no-webui",
    "--trust-remote-code",
    "--enable-prefix-caching",
    "--enable-chunked-prefill",
    "--disable-log-requests",
    "--no-enable-log-requests",
    "--enable-auto-tool-choice",
    "--enforce-eager",
];

/// The option of `sm serve` for its second model and further ones, which the parser would refuse under the same name.
pub(crate) const MORE_MODELS: &str = "more-models";

/// Options for the type of keys, and for that of values.
const KV_TYPES: [&str; 4] = ["-ctk", "-ctv", "--cache-type-k", "--cache-type-v"];

/// Options that do not exist, and what there is instead.
const ABSENT_OPTIONS: [(&[&str], &str); 9] = [
    (
        &["-fa", "--flash-attn"],
        "attention never builds the matrix that flash attention avoids, so there is nothing to switch on",
    ),
    (&["-hff", "--hf-file"], "the file belongs to the name, as in -hf ORG/NAME:FILE.gguf"),
    (
        &["--mlock"],
        "weights are packed into memory when a model is loaded and are not locked there; --memory-limit keeps all memory within a limit",
    ),
    (
        &["--mmap", "--no-mmap"],
        "weights are packed into memory when a model is loaded; --packed DIR keeps them in a file that later runs map",
    ),
    (
        &["--numa"],
        "threads are not bound to NUMA nodes; start sm with `numactl --interleave=all` to spread its memory over them",
    ),
    (
        &["-cnv", "--conversation", "-no-cnv", "--no-conversation"],
        "`sm chat` is the conversation, and `sm generate` continues one prompt",
    ),
    (&["-ub", "--ubatch-size", "--batch-size"], "the engine chooses how many rows a step has"),
    (
        &["--slot-save-path"],
        "a slot has no memory of its own to save: prompts share what is cached, and --kv-disk DIR keeps that across restarts",
    ),
    (&["--lora"], "there are no LoRA adapters yet; merge the adapter into the model and convert that"),
];

/// Commands that do not exist yet, and what to do until they do.
const ABSENT_COMMANDS: [(&str, &str); 1] =
    [("ps", "nothing runs in the background but `sm serve`, whose models GET /v1/models lists")];

/// The command line as the parser knows it.
///
/// # Errors
/// [`Failure::Usage`] where something does not exist.
pub(crate) fn translate(args: impl IntoIterator<Item = OsString>) -> Result<Vec<OsString>, Failure> {
    let mut given = args.into_iter();
    let mut args: Vec<OsString> = given.by_ref().take(1).collect();
    let mut command: Option<String> = None;
    let mut kv_type: Option<OsString> = None;
    let mut has_model = false;
    while let Some(arg) = given.next() {
        if arg == "--" {
            args.push(arg);
            args.extend(given);
            break;
        }
        let Some(text) = arg.to_str() else {
            args.push(arg);
            continue;
        };
        let Some(of) = &command else {
            if !text.starts_with('-') {
                refuse_absent_command(text)?;
                command = Some(text.to_owned());
            }
            let takes_value = text == "--log-level";
            args.push(arg);
            args.extend(takes_value.then(|| given.next()).flatten());
            continue;
        };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let is_serve = ["serve", "server"].contains(&&**of);
        // As the original documents spell them.
        let name = if name.starts_with("--") { &*name.replace('_', "-") } else { name };
        if is_serve && SERVE_ANYWAY.contains(&name) {
            continue;
        }
        let known = SERVE_NAMES.iter().find(|(other, _)| is_serve && *other == name);
        let name = known.map_or(name, |(_, ours)| *ours);
        refuse_absent_option(name, of)?;
        if let Some((_, ours)) = HUB_NAMES.iter().find(|(theirs, _)| *theirs == name) {
            let value = value.map(OsString::from).or_else(|| given.next());
            let is_model = *ours == "--model";
            let is_further = is_serve && is_model && has_model;
            add_hub_model(if is_further { "--more-models" } else { ours }, value, of, &mut args);
            has_model |= is_model;
        } else if is_serve && ["-m", "--model"].contains(&name) {
            let value = value.map(OsString::from).or_else(|| given.next());
            let name = if has_model { MORE_MODELS } else { "model" };
            args.push(value.map_or_else(|| name.into(), |value| join(&format!("--{name}"), &value)));
            has_model = true;
        } else if KV_TYPES.contains(&name) {
            let value = value.map(OsString::from).or_else(|| given.next());
            add_kv_type(value, &mut kv_type, &mut args)?;
        } else if let Some((_, long)) = NAMES.iter().find(|(short, _)| *short == name) {
            args.push(value.map_or_else(|| (*long).into(), |value| format!("{long}={value}").into()));
        } else if text.starts_with(name) {
            args.push(arg);
        } else {
            args.push(value.map_or_else(|| name.into(), |value| format!("{name}={value}").into()));
        }
    }
    Ok(args)
}

fn refuse_absent_command(name: &str) -> Result<(), Failure> {
    match ABSENT_COMMANDS.iter().find(|(absent, _)| *absent == name) {
        Some((_, instead)) => Err(Failure::Usage(format!("sm {name}: {instead}"))),
        None => Ok(()),
    }
}

fn refuse_absent_option(name: &str, command: &str) -> Result<(), Failure> {
    if name == "-np" && ["generate", "chat", "run"].contains(&command) {
        let message =
            format!("-np: sm {command} answers one prompt at a time; `sm batch --parallel N` answers many");
        return Err(Failure::Usage(message));
    }
    match ABSENT_OPTIONS.iter().find(|(names, _)| names.contains(&name)) {
        Some((_, instead)) => Err(Failure::Usage(format!("{name}: {instead}; leave it out"))),
        None => Ok(()),
    }
}

/// A model of the hub is a name that is no path.
fn add_hub_model(option: &str, value: Option<OsString>, command: &str, args: &mut Vec<OsString>) {
    let Some(value) = value else {
        args.push(option.into());
        return;
    };
    let mut name = OsString::from(EXPLICIT);
    name.push(value);
    match args.iter().position(|arg| arg == command) {
        // It takes the model as its first argument.
        Some(at) if command == "run" && option == "--model" => args.insert(at + 1, name),
        _ => args.push(join(option, &name)),
    }
}

/// Keys and values have one type here.
fn add_kv_type(
    value: Option<OsString>,
    before: &mut Option<OsString>,
    args: &mut Vec<OsString>,
) -> Result<(), Failure> {
    let Some(value) = value else {
        args.push("--kv-type".into());
        return Ok(());
    };
    match before {
        None => {
            args.push(join("--kv-type", &value));
            *before = Some(value);
            Ok(())
        }
        Some(same) if *same == value => Ok(()),
        Some(other) => Err(Failure::Usage(format!(
            "keys in {} and values in {} are not possible: they have one type, --kv-type",
            other.display(),
            value.display()
        ))),
    }
}

fn join(name: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(name);
    joined.push("=");
    joined.push(value);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Result<String, String> {
        let args = line.split(' ').map(OsString::from);
        let args = translate(args).map_err(|failure| failure.to_string())?;
        Ok(args.iter().map(|arg| arg.to_str().unwrap()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn names_of_llama_cpp_become_ours() {
        for (line, expected) in [
            ("sm chat -sys hello", "sm chat --system hello"),
            ("sm generate -jf s.json x", "sm generate --json-schema s.json x"),
            ("sm generate -md=small.gguf x", "sm generate --draft=small.gguf x"),
            ("sm batch -np 4 a b", "sm batch --parallel 4 a b"),
            ("sm chat -ngl 99", "sm chat --gpu-layers 99"),
            ("sm generate -ctk q8_0 -ctv q8_0 x", "sm generate --kv-type=q8_0 x"),
            ("sm generate --cache-type-k=f32 x", "sm generate --kv-type=f32 x"),
            ("sm generate -hf a/b:Q8_0 x", "sm generate --model=hf://a/b:Q8_0 x"),
            ("sm chat --hf-repo=a/b -hfd c/d", "sm chat --model=hf://a/b --draft=hf://c/d"),
            ("sm -q run -hf a/b Why is", "sm -q run hf://a/b Why is"),
            ("sm generate -- -sys -ngl", "sm generate -- -sys -ngl"),
            ("sm serve -m a -m b=c --model=d", "sm serve --model=a --more-models=b=c --more-models=d"),
            ("sm serve -m a -hf b/c", "sm serve --model=a --more-models=hf://b/c"),
            ("sm serve --model_path x --load_in_4bit", "sm serve --model=x --load-in-4bit"),
            ("sm serve --max-model-len 4096 --metrics -np 4", "sm serve --context 4096 --parallel 4"),
            ("sm serve --max-num-batched-tokens=64", "sm serve --max-step-tokens=64"),
            ("sm generate -m a x", "sm generate -m a x"),
            ("sm -q --log-level off chat -c 0", "sm -q --log-level off chat -c 0"),
        ] {
            assert_eq!(translated(line).as_deref(), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_does_not_exist_has_a_sentence_about_what_does() {
        for (line, part) in [
            ("sm generate -fa on x", "flash attention"),
            ("sm generate -hf a/b -hff x.gguf y", "-hf ORG/NAME:FILE.gguf"),
            ("sm chat --mlock", "--memory-limit"),
            ("sm chat --numa=distribute", "numactl"),
            ("sm serve --slot-save-path slots", "--kv-disk"),
            ("sm generate -np 2 x", "--parallel"),
            ("sm generate -ctk f16 -ctv f32 x", "--kv-type"),
            ("sm --quiet ps", "sm serve"),
        ] {
            let message = translated(line).unwrap_err();
            assert!(message.contains(part) && !message.contains('\n'), "{line}: {message}");
        }
    }
}
