//! Which files of a repository make up the model that was asked for.
//!
//! The same rules hold for the list that the hub sends and for what lies in the cache, so that a name means the same file
//! with and without a network:
//!
//! * `:FILE` is that GGUF file, with all other parts if it is split.
//! * `:QUANT` is the GGUF file with that word in its name, in any case.
//! * Otherwise a repository with safetensors is taken as that: it is the original, and a GGUF file beside it is a by-product.
//! * Otherwise, as in llama.cpp, the GGUF file of Q4_K_M, else of Q8_0; else the one whose bits are closest to four.

mod gguf;

use crate::error::HubError;
use crate::reference::Wanted;

pub(crate) use self::gguf::quant;

/// The only file of an unsplit safetensors model.
const SINGLE: &str = "model.safetensors";
/// The list of the files of a split one.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Small files that say how a safetensors model is run.
const COMPANIONS: [&str; 10] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "quantize_config.json",
];

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// Weights come last: where they are, everything is.
    pub(crate) files: Vec<String>,
    pub(crate) entry: Entry,
}

/// What a program opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A GGUF file, the first if it is split.
    File(String),
    /// The folder of a safetensors model.
    Folder,
}

/// Chooses among `paths`, the sorted files of `repo`. With [`INDEX`] among the chosen, [`Selection::add_shards`] does the rest.
pub(crate) fn select(repo: &str, paths: &[&str], wanted: &Wanted) -> Result<Selection, HubError> {
    let models: Vec<&str> = paths.iter().copied().filter(|path| gguf::is_model(path)).collect();
    let has_safetensors =
        paths.contains(&"config.json") && (paths.contains(&SINGLE) || paths.contains(&INDEX));
    let chosen = match wanted {
        Wanted::File(file) => gguf::named(&models, file),
        Wanted::Quant(quant) => gguf::with_quant(&models, quant),
        Wanted::Default if has_safetensors => return Ok(safetensors(paths)),
        Wanted::Default => gguf::default(&models),
    };
    if let Some(first) = chosen {
        let files = gguf::parts(&models, first).map_err(|missing| HubError::NoSuchFile {
            repo: repo.to_owned(),
            wanted: missing,
            available: models.iter().map(|&path| path.to_owned()).collect(),
        })?;
        return Ok(Selection { entry: Entry::File(files[0].clone()), files });
    }
    match wanted {
        Wanted::Quant(wanted) | Wanted::File(wanted) => Err(HubError::NoSuchFile {
            repo: repo.to_owned(),
            wanted: wanted.clone(),
            available: gguf::offered(&models),
        }),
        Wanted::Default => {
            let reason = "it has neither GGUF files nor config.json with model.safetensors".to_owned();
            Err(HubError::NoModel { repo: repo.to_owned(), reason })
        }
    }
}

fn safetensors(paths: &[&str]) -> Selection {
    let is_companion = |path: &str| {
        COMPANIONS.contains(&path)
            || path.starts_with("chat_template")
            || path.starts_with("additional_chat_templates/")
    };
    // A repository may have the same weights in one file and in several; the loader prefers the list.
    let weights = if paths.contains(&INDEX) { INDEX } else { SINGLE };
    let mut files: Vec<String> =
        paths.iter().filter(|path| is_companion(path)).map(|&path| path.to_owned()).collect();
    files.push(weights.to_owned());
    Selection { files, entry: Entry::Folder }
}

impl Selection {
    /// Whether the files that [`INDEX`] names are still to be added.
    pub(crate) fn has_index(&self) -> bool {
        self.files.last().is_some_and(|file| file == INDEX)
    }

    /// Adds the files that the index names. `index` is its text.
    pub(crate) fn add_shards(&mut self, repo: &str, paths: &[&str], index: &[u8]) -> Result<(), HubError> {
        let no_model = |reason: String| HubError::NoModel { repo: repo.to_owned(), reason };
        let index: serde_json::Value =
            serde_json::from_slice(index).map_err(|error| no_model(format!("{INDEX}: {error}")))?;
        let map = index.get("weight_map").and_then(|map| map.as_object());
        let Some(map) = map else { return Err(no_model(format!("{INDEX} has no weight_map"))) };
        let mut shards: Vec<&str> = map.values().filter_map(|file| file.as_str()).collect();
        shards.sort_unstable();
        shards.dedup();
        if let Some(missing) = shards.iter().find(|shard| !paths.contains(shard)) {
            return Err(no_model(format!("{missing} is missing, which {INDEX} names")));
        }
        self.files.extend(shards.into_iter().map(str::to_owned));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
