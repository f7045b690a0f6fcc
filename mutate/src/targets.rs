//! The targets.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use sm_model::chat::{ChatRequest, ChatTemplate, Message};
use sm_model::tokenizer::{EncodeOptions, GgufTokenizer, SpecialTokens, Tokenizer, load_tokenizer};
use sm_model::{Gguf, LoadOptions, load_model};
use sm_runtime::{Device, GenerationOptions, Generator, Grammar, Loader};

use crate::folder::Folder;
use crate::seeds::{Kind, root};
use crate::{served, stored};

/// Something that reads foreign input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name on the command line.
    pub name: &'static str,
    /// Where input starts from.
    pub seeds: Kind,
    /// Reads one input. Returns whether it was taken for what it should be.
    pub run: fn(&[u8]) -> bool,
}

/// All targets.
pub const TARGETS: [Target; 13] = [
    Target { name: "config", seeds: Kind::Files("config.json"), run: config },
    Target { name: "gguf", seeds: Kind::Files(".gguf"), run: gguf },
    Target { name: "gguf_tokenizer", seeds: Kind::Files(".gguf"), run: gguf_tokenizer },
    Target { name: "kv_disk", seeds: Kind::Made(stored::pages), run: stored::kv_disk },
    Target { name: "lark", seeds: Kind::Texts(&GRAMMARS), run: lark },
    Target { name: "packed", seeds: Kind::Made(stored::packed_weights), run: stored::packed },
    Target { name: "regex", seeds: Kind::Texts(&REGEXES), run: regex },
    Target { name: "request", seeds: Kind::Made(served::seeds), run: served::request },
    Target { name: "safetensors", seeds: Kind::Files("llama-gqa/model.safetensors"), run: safetensors },
    Target { name: "schema", seeds: Kind::Texts(&SCHEMAS), run: schema },
    Target { name: "smnd", seeds: Kind::Files(".smnd"), run: smnd },
    Target { name: "template", seeds: Kind::Files(".jinja"), run: template },
    Target { name: "tokenizer", seeds: Kind::Files("tokenizer.json"), run: tokenizer },
];

const SCHEMAS: [&str; 6] = [
    r#"{"type": "object", "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 130}}, "required": ["name"], "additionalProperties": false}"#,
    r##"{"$defs": {"node": {"type": "object", "properties": {"value": {"type": "number", "exclusiveMinimum": -1e3},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}, "$ref": "#/$defs/node"}"##,
    r#"{"type": "array", "items": {"enum": ["a", 1, null, true]}, "minItems": 2, "maxItems": 5}"#,
    r#"{"type": "string", "pattern": "^[a-z]{2,8}(-[0-9]+)?$"}"#,
    r#"{"type": "string", "format": "date-time"}"#,
    r#"{"allOf": [{"type": "object", "properties": {"a": {"const": 12}}}, {"required": ["a"]}]}"#,
];

const GRAMMARS: [&str; 4] = [
    "start: greeting \" \" NAME\ngreeting: \"hello\" | \"goodbye\"\nNAME: /[A-Z][a-z]{1,10}/\n",
    "start: expr\nexpr: term ((\"+\" | \"-\") term)*\nterm: NUMBER | \"(\" expr \")\"\nNUMBER: /[0-9]+/\n",
    "start: item+\nitem: \"<\" WORD \">\"\nWORD: /[a-z]+/\n%ignore / /\n",
    "start: list\nlist: \"[\" (list (\",\" list)*)? \"]\"\n",
];

const REGEXES: [&str; 5] = [
    "[a-z]{2,10}( [a-z]+)*",
    "(yes|no|maybe)",
    r"\d{4}-\d{2}-\d{2}",
    "((a|b)*c){1,5}",
    r"[^\s]+@\w+\.(com|org)",
];

/// A file among the committed models.
fn committed(path: &str) -> Vec<u8> {
    let path = root().join("crates/sm-model/tests/data/arch").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Loads what is at `path` and reads every tensor.
fn load_and_read(path: &Path) -> bool {
    let Ok(model) = load_model(path, &LoadOptions { context_len: Some(64), quant: None }) else {
        return false;
    };
    for tensor in model.weights.tensors() {
        let bytes = model.weights.stored_bytes(&tensor.name).expect("a listed tensor has bytes");
        assert!(!bytes.is_empty() || tensor.n_values() == 0, "{}", tensor.name);
    }
    assert!(!model.plan.to_string().is_empty());
    true
}

/// The weights of a committed model of each type.
fn weights_by_type() -> HashMap<String, Vec<u8>> {
    let folder = root().join("crates/sm-model/tests/data/arch");
    let models = std::fs::read_dir(folder).expect("committed models").flatten().filter_map(|model| {
        let config = std::fs::read(model.path().join("config.json")).ok()?;
        let weights = std::fs::read(model.path().join("model.safetensors")).ok()?;
        Some((model_type(&config)?, weights))
    });
    models.collect()
}

fn model_type(config: &[u8]) -> Option<String> {
    let config: serde_json::Value = serde_json::from_slice(config).ok()?;
    config.get("model_type")?.as_str().map(str::to_owned)
}

/// Configurations over valid weights: an error, or a model that fits them.
fn config(bytes: &[u8]) -> bool {
    static WEIGHTS: OnceLock<HashMap<String, Vec<u8>>> = OnceLock::new();
    let weights = WEIGHTS.get_or_init(weights_by_type);
    let of_type = model_type(bytes).and_then(|name| weights.get(&name));
    let weights = of_type.or(weights.get("qwen3")).expect("weights of some type");
    let folder = Folder::with("config", &[("config.json", bytes), ("model.safetensors", weights)]);
    load_and_read(folder.path())
}

/// GGUF files: an error, or a model whose tensors lie within the file.
fn gguf(bytes: &[u8]) -> bool {
    // Most inputs end in the reader itself; only what it takes is worth a file.
    if Gguf::parse(bytes.to_vec()).is_err() {
        return false;
    }
    let folder = Folder::with("gguf", &[("model.gguf", bytes)]);
    load_and_read(&folder.path().join("model.gguf"))
}

/// Safetensors files under a valid configuration: an error, or a model whose tensors lie within the file.
fn safetensors(bytes: &[u8]) -> bool {
    static CONFIG: OnceLock<Vec<u8>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| committed("llama-gqa/config.json"));
    let folder = Folder::with("safetensors", &[("config.json", config), ("model.safetensors", bytes)]);
    load_and_read(folder.path())
}

/// `.smnd` checkpoints: an error, or a model whose tensors lie within the file.
fn smnd(bytes: &[u8]) -> bool {
    let folder = Folder::with("smnd", &[("model.smnd", bytes)]);
    load_and_read(&folder.path().join("model.smnd"))
}

/// Encodes and decodes a text of many kinds of characters.
fn use_tokenizer(tokenizer: &dyn Tokenizer) -> bool {
    let text = "Once upon a time, 12 naïve 🦊 ran.\n\n";
    if let Ok(ids) = tokenizer.encode(text, EncodeOptions::RENDERED_CHAT) {
        tokenizer.decode(&ids, SpecialTokens::Keep);
    }
    true
}

/// `tokenizer.json`: an error, or a tokenizer that takes any text.
fn tokenizer(bytes: &[u8]) -> bool {
    let folder = Folder::with("tokenizer", &[("tokenizer.json", bytes)]);
    load_tokenizer(folder.path()).is_ok_and(|tokenizer| use_tokenizer(&*tokenizer))
}

/// Vocabularies of GGUF files: an error, or a tokenizer that takes any text.
fn gguf_tokenizer(bytes: &[u8]) -> bool {
    let Ok(file) = Gguf::parse(bytes.to_vec()) else { return false };
    GgufTokenizer::from_metadata(file.metadata()).is_ok_and(|tokenizer| use_tokenizer(&tokenizer))
}

/// Chat templates: an error or a text, within bounded time and stack.
fn template(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(template) = ChatTemplate::new(text, serde_json::Map::new()) else { return false };
    let messages = [Message::new("system", "Be brief."), Message::new("user", "Hello, \"you\"!")];
    template.render(&ChatRequest::new(&messages)).is_ok()
}

/// Asks the built-in draft model for some tokens that match a grammar.
fn constrain(grammar: Grammar) -> bool {
    static MODEL: OnceLock<Mutex<Generator>> = OnceLock::new();
    let generator = MODEL.get_or_init(|| {
        let options = sm_runtime::LoadOptions::new().device(Device::cpu_threads(1)).context_len(64);
        let path = root().join("crates/sm-demo-model/draft.gguf");
        let model = Loader::new(path).options(options).load();
        Mutex::new(Generator::new(model.expect("the draft model")).expect("a generator"))
    });
    let options = GenerationOptions::new().grammar(grammar).max_new_tokens(4).seed(1);
    let mut generator = generator.lock().unwrap_or_else(PoisonError::into_inner);
    generator.reset();
    generator.generate(&"A".into(), &options).is_ok()
}

/// JSON schemas: an error, or a constraint that some tokens satisfy.
fn schema(bytes: &[u8]) -> bool {
    constrain(Grammar::JsonSchema(String::from_utf8_lossy(bytes).into_owned()))
}

/// Lark grammars.
fn lark(bytes: &[u8]) -> bool {
    constrain(Grammar::Lark(String::from_utf8_lossy(bytes).into_owned()))
}

/// Regular expressions.
fn regex(bytes: &[u8]) -> bool {
    constrain(Grammar::Regex(String::from_utf8_lossy(bytes).into_owned()))
}
