//! What Ollama tells of models.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value, json};
use sm_runtime::model::SamplingDefaults;
use sm_runtime::{ChatTemplate, ModelFacts};

use super::timestamp::timestamp;

/// The kind of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Details {
    parent_model: &'static str,
    format: &'static str,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: String,
}

/// The kind of a model; empty while it is not loaded.
pub fn details(facts: Option<&ModelFacts>) -> Details {
    let Some(facts) = facts else {
        return Details::default();
    };
    Details {
        parent_model: "",
        format: facts.format,
        family: facts.architecture.to_owned(),
        families: vec![facts.architecture.to_owned()],
        parameter_size: rounded(facts.n_parameters),
        quantization_level: facts.dtype.map(|dtype| dtype.to_string()).unwrap_or_default(),
    }
}

/// A number with three digits at least, as in `3.5M` and `1.1B`.
fn rounded(n: u64) -> String {
    let (scale, unit) = match n {
        1_000_000_000.. => (1e9, "B"),
        1_000_000.. => (1e6, "M"),
        1_000.. => (1e3, "K"),
        _ => return n.to_string(),
    };
    format!("{:.1}{unit}", n as f64 / scale)
}

/// A model in a list.
#[derive(Clone, Debug)]
pub struct ModelEntry {
    /// Its name with a tag.
    pub name: String,
    /// Bytes of its weights; 0 while it is not loaded.
    pub weight_bytes: u64,
    /// Its kind.
    pub details: Details,
}

impl ModelEntry {
    /// As `/api/tags` lists it.
    pub fn listed(&self, modified: SystemTime) -> Value {
        let mut entry = self.object();
        entry["modified_at"] = timestamp(modified).into();
        entry
    }

    /// As `/api/ps` lists it, while it is loaded.
    pub fn running(&self, expires: SystemTime, context_len: usize) -> Value {
        let mut entry = self.object();
        entry["expires_at"] = timestamp(expires).into();
        entry["size_vram"] = 0.into();
        entry["context_length"] = context_len.into();
        entry
    }

    fn object(&self) -> Value {
        json!({
            "name": self.name,
            "model": self.name,
            "size": self.weight_bytes,
            "digest": digest(&self.name, &self.details),
            "details": self.details,
        })
    }
}

/// What tells this model from others, in the form of a digest: clients print its first twelve digits. It depends on the name and
/// the kind, not on the weights, which would take long to read.
pub fn digest(name: &str, details: &Details) -> String {
    let part = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, name, details).hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    };
    (0..4).map(part).collect()
}

/// What a model can do, as its template shows.
pub fn capabilities(template: Option<&ChatTemplate>) -> Vec<&'static str> {
    let mut capabilities = vec!["completion"];
    if let Some(template) = template {
        if template.source(true).contains("tools") {
            capabilities.push("tools");
        }
        let source = template.source(false);
        if ["<think>", "[THINK]", "<seed:think>", "enable_thinking", "<|channel|>"]
            .iter()
            .any(|mark| source.contains(mark))
        {
            capabilities.push("thinking");
        }
    }
    capabilities
}

/// The metadata that clients look for, by the names of GGUF.
pub fn model_info(facts: &ModelFacts, vocab_size: usize) -> Value {
    let architecture = facts.architecture;
    let mut info = Map::new();
    info.insert("general.architecture".to_owned(), architecture.into());
    info.insert("general.parameter_count".to_owned(), facts.n_parameters.into());
    for (name, value) in [
        ("context_length", facts.max_context_len),
        ("embedding_length", facts.hidden_size),
        ("block_count", facts.n_layers),
        ("vocab_size", vocab_size),
    ] {
        info.insert(format!("{architecture}.{name}"), value.into());
    }
    Value::Object(info)
}

/// The options that a model recommends, a line each.
pub fn parameters(defaults: &SamplingDefaults) -> String {
    let number = |name: &str, value: Option<f32>| value.map(|value| format!("{name:<30} {value}"));
    let lines = [
        number("temperature", defaults.temperature),
        defaults.top_k.map(|k| format!("{:<30} {k}", "top_k")),
        number("top_p", defaults.top_p),
        number("min_p", defaults.min_p),
        number("repeat_penalty", defaults.repetition_penalty),
    ];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_as_people_name_models() {
        for (n, text) in
            [(999, "999"), (3_476_544, "3.5M"), (1_100_048_384, "1.1B"), (70_553_706_496, "70.6B")]
        {
            assert_eq!(rounded(n), text);
        }
    }

    #[test]
    fn a_digest_has_64_digits_and_depends_on_the_name() {
        let of = |name| digest(name, &Details::default());
        assert_eq!(of("a").len(), 64);
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
    }
}
