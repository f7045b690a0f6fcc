//! Tokens with which a model is asked to fill a gap in a text ("fill in the middle").
//!
//! No file format but GGUF names them, so they are known by their texts, as in llama.cpp (`llama-vocab.cpp`).

use sm_tensor::TokenId;

/// The tokens of a vocabulary that mark the parts of a text with a gap. A model that has the first three can fill gaps:
///
/// ```text
/// prefix‹text before the gap›suffix‹text behind it›middle‹what the model writes›
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InfillTokens {
    /// Before the text in front of the gap.
    pub prefix: Option<TokenId>,
    /// Before the text behind the gap.
    pub suffix: Option<TokenId>,
    /// Before what fills the gap.
    pub middle: Option<TokenId>,
    /// What some models write behind what fills the gap.
    pub padding: Option<TokenId>,
    /// Before the name of a repository, whose files follow.
    pub repository: Option<TokenId>,
    /// Before the name of a file.
    pub file: Option<TokenId>,
}

/// The part of a text with a gap that a token marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Prefix,
    Suffix,
    Middle,
    Padding,
    Repository,
    File,
}

/// The texts of these tokens.
const TEXTS: [(Part, &[&str]); 6] = [
    (
        Part::Prefix,
        &[
            "<|fim_prefix|>", // Qwen
            "<fim-prefix>",
            "<fim_prefix>",    // Granite, StarCoder
            "<｜fim▁begin｜>", // DeepSeek
            "<PRE>",
            "▁<PRE>",          // CodeLlama
            "<|code_prefix|>", // GLM
            "<|prefix|>",
        ],
    ),
    (
        Part::Suffix,
        &[
            "<|fim_suffix|>",
            "<fim-suffix>",
            "<fim_suffix>",
            "<｜fim▁hole｜>",
            "<SUF>",
            "▁<SUF>",
            "<|code_suffix|>",
            "<|suffix|>",
        ],
    ),
    (
        Part::Middle,
        &[
            "<|fim_middle|>",
            "<fim-middle>",
            "<fim_middle>",
            "<｜fim▁end｜>",
            "<MID>",
            "▁<MID>",
            "<|code_middle|>",
            "<|middle|>",
        ],
    ),
    (Part::Padding, &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>"]),
    (Part::Repository, &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (Part::File, &["<|file_sep|>"]),
];

impl InfillTokens {
    /// The tokens among those of a vocabulary.
    pub(super) fn among<'a>(tokens: impl IntoIterator<Item = (TokenId, &'a str)>) -> Self {
        let mut found = Self::default();
        for (id, text) in tokens {
            // All begin like this: most tokens need no more than a look at their first character.
            if text.starts_with(['<', '▁'])
                && let Some((part, _)) = TEXTS.iter().find(|(_, texts)| texts.contains(&text))
            {
                found.part(*part).get_or_insert(id);
            }
        }
        found
    }

    fn part(&mut self, part: Part) -> &mut Option<TokenId> {
        match part {
            Part::Prefix => &mut self.prefix,
            Part::Suffix => &mut self.suffix,
            Part::Middle => &mut self.middle,
            Part::Padding => &mut self.padding,
            Part::Repository => &mut self.repository,
            Part::File => &mut self.file,
        }
    }

    /// Those of `named`, and of the others where it has none.
    pub(super) fn or(self, others: Self) -> Self {
        Self {
            prefix: self.prefix.or(others.prefix),
            suffix: self.suffix.or(others.suffix),
            middle: self.middle.or(others.middle),
            padding: self.padding.or(others.padding),
            repository: self.repository.or(others.repository),
            file: self.file.or(others.file),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_all_families_are_found_by_their_texts() {
        let families = [
            ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
            ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
            ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
            ["▁<PRE>", "▁<SUF>", "▁<MID>"],
        ];
        for family in families {
            let tokens =
                (5..).map(TokenId).zip(family).chain([(TokenId(9), "<|im_end|>"), (TokenId(1), "a")]);
            let found = InfillTokens::among(tokens);
            let [prefix, suffix, middle] = [5, 6, 7].map(|id| Some(TokenId(id)));
            assert_eq!(found, InfillTokens { prefix, suffix, middle, ..InfillTokens::default() });
        }
        assert_eq!(InfillTokens::among([(TokenId(1), "<s>")]), InfillTokens::default());
    }

    #[test]
    fn what_a_file_names_comes_before_what_its_texts_say() {
        let named = InfillTokens { file: Some(TokenId(1)), ..InfillTokens::default() };
        let found = InfillTokens::among([(TokenId(2), "<|file_sep|>"), (TokenId(3), "<|repo_name|>")]);
        let both = named.or(found);
        assert_eq!((both.file, both.repository), (Some(TokenId(1)), Some(TokenId(3))));
    }
}
