//! Prompts of `/infill`: a text with a gap, in the form that models of code were trained on.
//!
//! ```text
//! repository‹myproject\n› file‹name\n›‹text›… file‹filename\n› prefix‹input_prefix›‹prompt› suffix‹input_suffix› middle
//! ```
//!
//! This is what llama.cpp makes of a body (`format_prompt_infill` in `server-common.cpp`), but for two things: the mark of the
//! beginning is at the beginning, where models were trained with it, and text before or behind the gap is never cut. Only whole
//! chunks of `input_extra`, which editors collect on the off chance, are left out if the context does not hold them.

use serde_json::{Map, Value};
use sm_runtime::model::tokenizer::{EncodeOptions, InfillTokens, Tokenizer, TokenizerError};
use sm_runtime::{GenerationOptions, Prompt, TokenId};

use crate::wire::{FieldError, fields, options};

/// What stands before a chunk for models without a token for it.
const SNIPPET: &str = "\n\n--- snippet ---\n\n";

/// A text with a gap, as the body has it.
#[derive(Clone, Debug)]
pub struct InfillCall {
    before: Prompt,
    behind: Prompt,
    /// Text that the answer begins with, behind that before the gap.
    begun: Prompt,
    chunks: Vec<Chunk>,
}

/// Other text of the same project.
#[derive(Clone, Debug)]
struct Chunk {
    name: String,
    text: String,
}

/// The prompt of a text with a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfillPrompt {
    /// The tokens.
    pub tokens: Vec<TokenId>,
    /// Chunks at the beginning of `input_extra` that are left out.
    pub n_dropped: usize,
}

impl InfillCall {
    /// Takes the fields of a text with a gap from a body. The others are those of a completion.
    ///
    /// # Errors
    /// The first field that is missing or wrong.
    pub fn take(body: &mut Map<String, Value>) -> Result<Self, FieldError> {
        let mut take = |name: &str| body.remove(name).filter(|value| !value.is_null());
        let text = |name: &str, value: Option<Value>| match value {
            None => Err(FieldError::new(name, "missing")),
            Some(value) => fields::prompt(&value).map_err(|message| FieldError::new(name, message)),
        };
        let before = text("input_prefix", take("input_prefix"))?;
        let behind = text("input_suffix", take("input_suffix"))?;
        let begun = text("prompt", Some(take("prompt").unwrap_or_else(|| "".into())))?;
        let chunks = take("input_extra").map_or(Ok(Vec::new()), |value| chunks(&value));
        let chunks = chunks.map_err(|message| FieldError::new("input_extra", message))?;
        Ok(Self { before, behind, begun, chunks })
    }

    /// The prompt, for a context of `context_len` positions.
    ///
    /// # Errors
    /// If a text cannot be tokenized, or is longer than the context.
    pub fn prompt(
        &self,
        tokenizer: &dyn Tokenizer,
        marks: InfillTokens,
        options: &GenerationOptions,
        context_len: usize,
    ) -> Result<InfillPrompt, TokenizerError> {
        // What a text costs that does not fit must not depend on its length.
        let encode = |text: &str| tokenizer.encode_within(text, EncodeOptions::PLAIN, context_len);
        let bos = tokenizer.vocabulary().bos();
        let begins = tokenizer.encode("", EncodeOptions::PROMPT)?;
        let mut tokens: Vec<TokenId> =
            begins.first().copied().filter(|first| Some(*first) == bos).into_iter().collect();
        if let Some(repository) = marks.repository {
            tokens.push(repository);
            tokens.extend(encode("myproject\n")?);
        }
        let gap = self.gap(marks, &encode)?;
        // As much of the context as an answer has in `sm chat`, if the body does not want less.
        let n_answer = options.limits.max_new_tokens.min(context_len / 4);
        let room = context_len.saturating_sub(tokens.len() + gap.len() + n_answer);
        let (chunks, n_dropped) = self.chunks_within(room, marks, &encode)?;
        tokens.extend(chunks);
        tokens.extend(gap);
        Ok(InfillPrompt { tokens, n_dropped })
    }

    /// The file with the gap.
    fn gap(&self, marks: InfillTokens, encode: &Encode<'_>) -> Result<Vec<TokenId>, TokenizerError> {
        let tokens = |prompt: &Prompt| match prompt {
            Prompt::Text(text) => encode(text),
            Prompt::Tokens(tokens) => Ok(tokens.clone()),
            // Fields hold nothing else.
            _ => Ok(Vec::new()),
        };
        let mut gap = Vec::new();
        if let Some(file) = marks.file {
            gap.push(file);
            gap.extend(encode("filename\n")?);
        }
        gap.extend(marks.prefix);
        gap.extend(tokens(&self.before)?);
        gap.extend(tokens(&self.begun)?);
        gap.extend(marks.suffix);
        gap.extend(tokens(&self.behind)?);
        gap.extend(marks.middle);
        Ok(gap)
    }

    /// The tokens of as many of the last chunks as there is room for, and the number of the others.
    fn chunks_within(
        &self,
        mut room: usize,
        marks: InfillTokens,
        encode: &Encode<'_>,
    ) -> Result<(Vec<TokenId>, usize), TokenizerError> {
        let mut kept = Vec::new();
        for chunk in self.chunks.iter().rev() {
            let mut tokens: Vec<TokenId> = marks.file.into_iter().collect();
            let head = if marks.file.is_some() { format!("{}\n", chunk.name) } else { SNIPPET.to_owned() };
            // One after the other, as llama.cpp does: across the line break, they could become other tokens.
            let encoded = encode(&head).and_then(|head| Ok([head, encode(&chunk.text)?].concat()));
            tokens.extend(match encoded {
                // It is longer than any room.
                Err(TokenizerError::TooManyTokens { .. }) => break,
                encoded => encoded?,
            });
            if tokens.len() > room {
                break;
            }
            room -= tokens.len();
            kept.push(tokens);
        }
        let n_dropped = self.chunks.len() - kept.len();
        Ok((kept.into_iter().rev().flatten().collect(), n_dropped))
    }
}

/// Tokenizes a text, unless it is longer than the context.
type Encode<'e> = dyn Fn(&str) -> Result<Vec<TokenId>, TokenizerError> + 'e;

/// Reads `input_extra`.
fn chunks(value: &Value) -> Result<Vec<Chunk>, String> {
    let chunk = |(index, value): (usize, &Value)| {
        let object = value.as_object().ok_or_else(|| format!("[{index}] must be an object"))?;
        let text = |name: &str| match object.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => {
                options::text(value).map(Some).map_err(|message| format!("[{index}].{name} {message}"))
            }
        };
        let body = text("text")?.ok_or_else(|| format!("[{index}].text is missing"))?;
        Ok(Chunk { name: text("filename")?.unwrap_or_else(|| "tmp".to_owned()), text: body })
    };
    let list = value.as_array().ok_or("must be a list of objects with filename and text")?;
    list.iter().enumerate().map(chunk).collect()
}
