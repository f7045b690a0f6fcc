//! `tokenizer.json` of Hugging Face models.
//!
//! Our own code encodes with byte-pair vocabularies of the usual layouts ([`byte_pair`]); the crate `tokenizers` runs everything
//! else, with the file's normalizer, pre-tokenizer and model ([`library`]). Decoding is implemented here ([`decoder`]), since
//! streaming needs the bytes of each token. Sequence markers are found by running the post-processor once.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde_json::Value;
use sm_tensor::TokenId;
use tokenizers::{AddedToken, Encoding, PostProcessor, Token, Tokenizer as Library};

use self::byte_pair::BytePair;
use self::decoder::PieceDecoder;
pub(super) use self::decoder::fallback_byte;
use self::file::{Runner, TokenizerFile};
use self::library::ByLibrary;
use self::special_config::SpecialConfig;
pub(crate) use self::special_config::{read_json, token_text};
use super::special::SpecialIds;
use super::vocabulary::{TokenKind, Vocabulary, VocabularyBuilder};
use super::{
    EncodeOptions, GuardedText, InfillTokens, SequenceMarks, SpecialText, Tokenizer, TokenizerError, within,
};

mod added;
mod bounds;
mod byte_pair;
mod decoder;
mod file;
mod layout;
mod library;
mod nfc;
mod oniguruma;
mod special_config;
#[cfg(test)]
mod tests;

/// A tokenizer read from `tokenizer.json` and the configuration files next to it.
#[derive(Debug)]
pub struct HfTokenizer {
    encoder: Encoder,
    marks: Marks,
    vocabulary: Vocabulary,
}

/// What encodes.
#[derive(Debug)]
enum Encoder {
    BytePair(Box<BytePair>),
    Library(Box<ByLibrary>),
}

/// The ids added before and after every sequence.
#[derive(Debug, Default, PartialEq)]
struct Marks {
    before: Vec<TokenId>,
    after: Vec<TokenId>,
}

impl HfTokenizer {
    /// Loads a `tokenizer.json`; `path` is the file or its directory.
    ///
    /// # Errors
    /// [`TokenizerError`] for files that are missing, malformed or of an unsupported kind.
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        let (dir, file) = if path.is_dir() {
            (path, path.join("tokenizer.json"))
        } else {
            (path.parent().unwrap_or(Path::new(".")), path.to_owned())
        };
        if path.is_dir() && !file.exists() {
            return Err(no_tokenizer(dir));
        }
        let json = fs::read(&file).map_err(|source| TokenizerError::Read { path: file.clone(), source })?;
        Self::from_json(&json, &file.display().to_string(), &SpecialConfig::load(dir)?, Runner::OwnCode)
    }

    fn from_json(
        json: &[u8],
        file: &str,
        config: &SpecialConfig,
        runner: Runner,
    ) -> Result<Self, TokenizerError> {
        let invalid =
            |reason: String| TokenizerError::Invalid { file: file.to_owned(), what: "tokenizer", reason };
        // The library panics on some files that are not JSON, so we parse first.
        let parts = TokenizerFile::parse(json, runner).map_err(|error| invalid(error.to_string()))?;
        bounds::check(&parts.normalizer).map_err(invalid)?;
        let mut library = guarded(|| Library::from_bytes(&*parts.json)).map_err(invalid)?;
        for token in parts.added_tokens.iter().filter(|token| !token.content.is_empty()) {
            let found = library.token_to_id(&token.content);
            if found != Some(token.id) {
                return Err(invalid(format!(
                    "added token {:?} has id {}, but the vocabulary has it at {found:?}",
                    token.content, token.id
                )));
            }
        }
        add_tokens(&mut library, config, file)?;
        let special = special_ids(&library, config);
        let vocabulary = vocabulary(&library, &parts.decoder, file, special)?;
        let marks = marks(&library, &vocabulary).map_err(invalid)?;
        let encoder = match parts.layout {
            Some(layout) => match BytePair::new(layout, &library) {
                Some(own) => Encoder::BytePair(Box::new(own)),
                None => return Self::from_json(json, file, config, Runner::Library),
            },
            None => {
                let longest = vocabulary.longest_token();
                Encoder::Library(Box::new(
                    ByLibrary::new(library, &parts.normalizer, longest).map_err(invalid)?,
                ))
            }
        };
        Ok(Self { encoder, marks, vocabulary })
    }

    /// The ids of a text whose characters `mark`, if any, are not part of it; they only keep special tokens from being found.
    fn text_ids(
        &self,
        text: &str,
        special_text: SpecialText,
        mark: Option<char>,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        match &self.encoder {
            Encoder::BytePair(own) => own.encode(text, special_text, mark, limit),
            Encoder::Library(library) => library.encode(text, special_text, mark, limit),
        }
    }
}

impl Tokenizer for HfTokenizer {
    fn encode(&self, text: &str, options: EncodeOptions) -> Result<Vec<TokenId>, TokenizerError> {
        self.encode_within(text, options, usize::MAX)
    }

    fn encode_within(
        &self,
        text: &str,
        options: EncodeOptions,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        let mut ids = self.text_ids(text, options.special_text, None, limit)?;
        if options.marks == SequenceMarks::Add {
            if !ids.starts_with(&self.marks.before) {
                ids.splice(0..0, self.marks.before.iter().copied());
            }
            ids.extend(&self.marks.after);
            within(limit, text.len(), &ids)?;
        }
        Ok(ids)
    }

    fn encode_guarded_within(
        &self,
        text: &GuardedText,
        limit: usize,
    ) -> Result<Vec<TokenId>, TokenizerError> {
        if text.cuts.is_empty() {
            return self.text_ids(&text.text, SpecialText::Parse, None, limit);
        }
        let (marked, mark) = text.marked();
        self.text_ids(&marked, SpecialText::Parse, Some(mark), limit)
    }

    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }
}

/// Calls the library, converting panics caused by malformed files to errors.
pub(super) fn guarded<T>(run: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(payload) => {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(format!("the tokenizer library failed: {text}"))
        }
    }
}

fn no_tokenizer(dir: &Path) -> TokenizerError {
    let remedy = if dir.join("tokenizer.model").exists() {
        "its tokenizer.model is a SentencePiece file: convert it with transformers \
         (AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)), or use a GGUF file"
    } else {
        "download it from the model's source, or use a GGUF file, which contains its tokenizer"
    };
    TokenizerError::NoTokenizer { dir: dir.to_owned(), remedy }
}

/// Adds what only the configuration says of tokens, as transformers does: new ones and other flags by id, and which tokens of
/// the vocabulary are special.
fn add_tokens(library: &mut Library, config: &SpecialConfig, file: &str) -> Result<(), TokenizerError> {
    let known = library.get_added_tokens_decoder();
    let differs =
        |(id, token): &&(u32, AddedToken)| known.get(id) != Some(token) && !token.content.is_empty();
    let listed: Vec<_> = config.added_tokens.iter().filter(differs).collect();
    let named = [&config.bos, &config.eos, &config.unknown, &config.padding];
    let is_unmarked = |text: &&String| {
        !library.get_added_vocabulary().get_vocab().contains_key(*text) && library.token_to_id(text).is_some()
    };
    let named = named.into_iter().flatten().filter(is_unmarked);
    let added: Vec<AddedToken> = listed
        .iter()
        .map(|(_, token)| token.clone())
        .chain(named.map(|text| AddedToken::from(text.as_str(), true)))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let invalid =
        |reason: String| TokenizerError::Invalid { file: file.to_owned(), what: "tokenizer", reason };
    guarded(|| library.add_tokens(added)).map_err(invalid)?;
    let misplaced = |(id, token): &&&(u32, AddedToken)| library.token_to_id(&token.content) != Some(*id);
    let Some((id, token)) = listed.iter().find(misplaced) else { return Ok(()) };
    let (content, found) = (&token.content, library.token_to_id(&token.content));
    Err(invalid(format!(
        "tokenizer_config.json gives {content:?} the id {id}, but among its tokens it is {found:?}"
    )))
}

fn special_ids(library: &Library, config: &SpecialConfig) -> SpecialIds {
    let id_of =
        |text: &Option<String>| text.as_deref().and_then(|text| library.token_to_id(text)).map(TokenId);
    let mut special = SpecialIds {
        bos: id_of(&config.bos).or(config.bos_id),
        eos: id_of(&config.eos).or(config.end_ids.first().copied()),
        unknown: id_of(&config.unknown),
        padding: id_of(&config.padding),
        ..SpecialIds::default()
    };
    let added = library.get_added_tokens_decoder();
    let controls = added.iter().map(|(&id, token)| (TokenId(id), token.content.as_str()));
    special.infill = InfillTokens::among(controls.clone());
    special.set_end_of_generation(config.end_ids.iter().copied(), controls);
    special
}

fn vocabulary(
    library: &Library,
    decoder: &Value,
    file: &str,
    special: SpecialIds,
) -> Result<Vocabulary, TokenizerError> {
    let decoder = PieceDecoder::from_json(decoder)?;
    let mut builder = VocabularyBuilder::new(decoder.lead());
    for (piece, id) in library.get_vocab(false) {
        builder.push(id, decoder.bytes(&piece), TokenKind::Normal);
    }
    for (id, token) in library.get_added_tokens_decoder() {
        let kind = if token.special { TokenKind::Control } else { TokenKind::Added };
        builder.push(id, decoder.added_bytes(&token.content), kind);
    }
    builder.build(file, special)
}

/// The ids that the post-processor puts around a sequence, found by giving it one. `add_bos_token` and `add_eos_token` of the
/// configuration do not count: transformers, since version 5, takes them for tokenizers without a `tokenizer.json` only.
fn marks(library: &Library, vocabulary: &Vocabulary) -> Result<Marks, String> {
    const PROBE: u32 = u32::MAX;
    let Some(processor) = library.get_post_processor() else { return Ok(Marks::default()) };
    let probe = Encoding::from_tokens(vec![Token::new(PROBE, String::new(), (0, 0))], 0);
    let around = guarded(|| processor.process(probe, None, true))?;
    let mut sides = around.get_ids().split(|&id| id == PROBE);
    let mut side = || sides.next().unwrap_or_default().iter().copied().map(TokenId).collect();
    let marks = Marks { before: side(), after: side() };
    let beyond = |id: &&TokenId| id.0 as usize >= vocabulary.vocab_size();
    if let Some(id) = marks.before.iter().chain(&marks.after).find(beyond) {
        return Err(format!(
            "the post-processor adds id {}, but there are only {} tokens",
            id.0,
            vocabulary.vocab_size()
        ));
    }
    Ok(marks)
}
