//! Splits text into the pieces that are merged to tokens: the pre-tokenizers of byte-pair encoding.
//!
//! A model gives a list of regular expressions. Each splits every part left by the previous ones into its matches and the text
//! between them. The expressions of well-known models run as state machines ([`words`]); the engine `fancy-regex` runs the
//! others, and what it cannot match within its limits is an error: a text that is cut elsewhere has other tokens.

use fancy_regex::Regex;

use self::classes::Lookup;
use self::words::{Contractions, Lead, Letters, Numbers, Symbols, Tail, WordRule};

mod classes;
#[cfg(test)]
mod tests;
mod words;

#[cfg(test)]
pub(super) use self::tests::pieces;

/// A list of expressions, ready to split texts.
#[derive(Debug)]
pub(super) struct Splitter {
    stages: Vec<Stage>,
}

#[derive(Debug)]
enum Stage {
    Words(WordRule),
    /// `\p{N}` up to a number of times.
    Digits(usize),
    /// `[^\n]+|[\n]+`
    Lines,
    Regex(Box<Regex>),
}

/// What runs the expressions of a [`Splitter`].
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// Our own code, in one pass.
    StateMachines,
    /// `fancy-regex` at least for one of them.
    Regex,
}

/// Why a text was not split: the engine's reason, or that of the receiver of the pieces.
pub(super) enum SplitError<E> {
    Engine(Box<fancy_regex::Error>),
    Receiver(E),
}

impl Splitter {
    /// A splitter by these expressions, in the dialect of `fancy-regex`.
    ///
    /// # Errors
    /// The engine's, with the expression.
    pub(super) fn new(patterns: &[&str]) -> Result<Self, String> {
        let stage = |pattern: &&str| match known(pattern) {
            Some(stage) => Ok(stage),
            None => Stage::regex(pattern),
        };
        Ok(Self { stages: patterns.iter().map(stage).collect::<Result<_, _>>()? })
    }

    /// Whether the matches of an expression are all of any text.
    pub(super) fn covers(pattern: &str) -> bool {
        // Only the rule of proper symbols leaves out some characters.
        matches!(known(pattern), Some(Stage::Words(rule)) if rule.symbols != Symbols::Proper)
    }

    /// What runs the expressions.
    #[cfg(test)]
    pub(super) fn engine(&self) -> Engine {
        let has_regex = self.stages.iter().any(|stage| matches!(stage, Stage::Regex(_)));
        if has_regex { Engine::Regex } else { Engine::StateMachines }
    }

    /// Gives the pieces of `text` to `take`, in order. They are not empty, and together they are the text.
    ///
    /// # Errors
    /// That of `take`, which ends the work, or the engine's.
    pub(super) fn split<'t, E>(
        &self,
        text: &'t str,
        take: &mut dyn FnMut(&'t str) -> Result<(), E>,
    ) -> Result<(), SplitError<E>> {
        split_by(&self.stages, text, take)
    }
}

fn split_by<'t, E>(
    stages: &[Stage],
    text: &'t str,
    take: &mut dyn FnMut(&'t str) -> Result<(), E>,
) -> Result<(), SplitError<E>> {
    if text.is_empty() {
        return Ok(());
    }
    let Some((stage, rest)) = stages.split_first() else { return take(text).map_err(SplitError::Receiver) };
    let mut pass = |from: usize, to: usize| split_by(rest, &text[from..to], take);
    if let Stage::Regex(regex) = stage {
        let mut done = 0;
        for found in regex.find_iter(text) {
            let found = found.map_err(|error| SplitError::Engine(Box::new(error)))?;
            pass(done, found.start())?;
            pass(found.start(), found.end())?;
            done = found.end();
        }
        return pass(done, text.len());
    }
    let lookup = Lookup::new();
    let (mut at, mut done) = (0, 0);
    while let Some((_, next)) = lookup.at(text, at) {
        match stage.end(lookup, text, at) {
            Some(end) => {
                pass(done, at)?;
                pass(at, end)?;
                at = end;
                done = end;
            }
            None => at = next,
        }
    }
    pass(done, text.len())
}

impl Stage {
    fn regex(pattern: &str) -> Result<Self, String> {
        let regex = Regex::new(pattern).map_err(|error| format!("pattern {pattern}: {error}"))?;
        Ok(Self::Regex(Box::new(regex)))
    }

    /// Where the match that starts at `at` ends.
    fn end(&self, lookup: Lookup, text: &str, at: usize) -> Option<usize> {
        match self {
            Self::Words(rule) => rule.end(lookup, text, at),
            Self::Digits(limit) => {
                let end = words::digits(lookup, text, at, *limit);
                (end > at).then_some(end)
            }
            Self::Lines => {
                let is_end = text.as_bytes()[at] == b'\n';
                let rest = &text.as_bytes()[at..];
                Some(at + rest.iter().take_while(|&&byte| (byte == b'\n') == is_end).count())
            }
            // Searched for as a whole.
            Self::Regex(_) => None,
        }
    }
}

/// The expression of GPT-2, which others build on.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// What the expressions of known models have in common.
const LLAMA3: WordRule = WordRule {
    contractions: Contractions::AnyCase,
    lead: Lead::NoLetterOrNumber,
    letters: Letters::Plain,
    numbers: Numbers::UpTo(3),
    symbols: Symbols::Rest,
    tail: Tail::LineEnds,
    line_ends: true,
};

const GPT2_RULE: WordRule = WordRule {
    contractions: Contractions::Lower,
    lead: Lead::Space,
    letters: Letters::Plain,
    numbers: Numbers::AfterSpace,
    symbols: Symbols::Rest,
    tail: Tail::None,
    line_ends: false,
};

const GPT4O: WordRule = WordRule {
    contractions: Contractions::BehindWords,
    letters: Letters::Cased,
    tail: Tail::LineEndsAndSlashes,
    ..LLAMA3
};

/// The parts that the expressions are written with.
macro_rules! expression {
    ($($part:expr),*) => { concat!($($part),*) };
}

macro_rules! contractions {
    () => {
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    };
}

macro_rules! cased {
    ($suffix:expr) => {
        concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
            $suffix,
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
            $suffix
        )
    };
}

/// The state machine of each expression that has one.
const KNOWN: [(&str, WordRule); 13] = [
    (GPT2, GPT2_RULE),
    (
        expression!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        LLAMA3,
    ),
    (
        expression!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        WordRule { numbers: Numbers::UpTo(1), ..LLAMA3 },
    ),
    (
        expression!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        WordRule { numbers: Numbers::Any, ..LLAMA3 },
    ),
    (
        expression!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        WordRule { numbers: Numbers::UpTo(1), tail: Tail::None, ..LLAMA3 },
    ),
    (
        // `\s*[\r\n]` ends where `\s*[\r\n]+` does: behind the last line end of the white space.
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
        WordRule { numbers: Numbers::UpTo(1), ..LLAMA3 },
    ),
    (
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        WordRule { contractions: Contractions::None, numbers: Numbers::UpTo(1), ..LLAMA3 },
    ),
    (
        expression!(
            contractions!(),
            r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        WordRule {
            letters: Letters::WithMarks,
            numbers: Numbers::UpTo(1),
            symbols: Symbols::RestWithoutMarks,
            ..LLAMA3
        },
    ),
    (
        expression!(
            cased!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?"),
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        GPT4O,
    ),
    (
        expression!(
            cased!("(?i:'s|'t|'re|'ve|'m|'ll|'d)?"),
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
        WordRule { numbers: Numbers::UpTo(1), ..GPT4O },
    ),
    (
        expression!(cased!(""), r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        WordRule { contractions: Contractions::None, numbers: Numbers::UpTo(1), ..GPT4O },
    ),
    (
        expression!(cased!(""), r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
        WordRule { contractions: Contractions::None, ..GPT4O },
    ),
    (
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
        WordRule {
            contractions: Contractions::None,
            lead: Lead::NoLetterOrSymbol,
            letters: Letters::WithMarks,
            numbers: Numbers::None,
            symbols: Symbols::Proper,
            tail: Tail::LineEnds,
            line_ends: true,
        },
    ),
];

fn known(pattern: &str) -> Option<Stage> {
    let rule = KNOWN.iter().find(|(expression, _)| *expression == pattern);
    rule.map(|&(_, rule)| Stage::Words(rule)).or(match pattern {
        r"\p{N}" | r"\p{N}{1}" => Some(Stage::Digits(1)),
        r"\p{N}{1,3}" => Some(Stage::Digits(3)),
        r"\p{N}+" => Some(Stage::Digits(usize::MAX)),
        r"[^\n]+|[\n]+" => Some(Stage::Lines),
        _ => None,
    })
}
