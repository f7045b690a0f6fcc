//! The expressions of GPT-2 and its successors as one state machine over Unicode classes.
//!
//! They are all a list of alternatives in this order, of which a model leaves out or varies some:
//!
//! | alternative | GPT-2 | variations |
//! |---|---|---|
//! | contractions | `'s\|'t\|'re\|'ve\|'m\|'ll\|'d` | in either case; none; behind a word |
//! | words | ` ?\p{L}+` | behind any one character that is no line end; with marks; cut where lower case turns to upper |
//! | numbers | ` ?\p{N}+` | of up to one or three digits; none |
//! | symbols | ` ?[^\s\p{L}\p{N}]+` | with the line ends behind them |
//! | line ends | | `\s*[\r\n]+` |
//! | spaces | `\s+(?!\S)\|\s+` | |
//!
//! A backtracking engine takes a quadratic number of steps for a long run of white space, and gives up. Here each alternative is
//! a run, so a text is split in one pass. What backtracking would find within an alternative is derived where it is used.

use super::classes::{Classes, Lookup};

/// Which alternatives a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WordRule {
    pub(super) contractions: Contractions,
    pub(super) lead: Lead,
    pub(super) letters: Letters,
    pub(super) numbers: Numbers,
    pub(super) symbols: Symbols,
    /// The characters taken behind symbols.
    pub(super) tail: Tail,
    /// Whether `\s*[\r\n]+` is an alternative.
    pub(super) line_ends: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contractions {
    None,
    /// `'s|'t|'re|'ve|'m|'ll|'d`
    Lower,
    /// The same with `(?i:…)`.
    AnyCase,
    /// `(?i:…)?` behind a word.
    BehindWords,
}

/// What a word may begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lead {
    /// ` ?`
    Space,
    /// `[^\r\n\p{L}\p{N}]?`
    NoLetterOrNumber,
    /// `[^\r\n\p{L}\p{P}\p{S}]?`
    NoLetterOrSymbol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letters {
    /// `\p{L}+`
    Plain,
    /// `[\p{L}\p{M}]+`
    WithMarks,
    /// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+`, and the same with `+` and `*` exchanged.
    Cased,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    None,
    /// ` ?\p{N}+`
    AfterSpace,
    /// `\p{N}+`
    Any,
    /// `\p{N}{1,n}`
    UpTo(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbols {
    /// `[^\s\p{L}\p{N}]`
    Rest,
    /// `[^\s\p{L}\p{M}\p{N}]`
    RestWithoutMarks,
    /// `[\p{P}\p{S}]`, and before everything else one of ASCII's with ASCII letters behind it.
    Proper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    None,
    /// `[\r\n]*`
    LineEnds,
    /// `[\r\n/]*`
    LineEndsAndSlashes,
}

/// The upper half of [`Letters::Cased`]: `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
fn is_upper(classes: Classes) -> bool {
    classes.is(Classes::LETTER.or(Classes::MARK)) && !classes.is(Classes::LOWER)
}

/// The lower half: `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
fn is_lower(classes: Classes) -> bool {
    classes.is(Classes::LETTER.or(Classes::MARK)) && !classes.is(Classes::UPPER)
}

impl WordRule {
    /// Where the match that starts at `at` ends; `None` if no alternative matches there.
    pub(super) fn end(&self, lookup: Lookup, text: &str, at: usize) -> Option<usize> {
        let (first, next) = lookup.at(text, at)?;
        let byte = text.as_bytes()[at];
        if self.symbols == Symbols::Proper && byte.is_ascii_punctuation() {
            let letters =
                text.as_bytes()[next..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
            if letters > 0 {
                return Some(next + letters);
            }
        }
        if byte == b'\'' && matches!(self.contractions, Contractions::Lower | Contractions::AnyCase) {
            let end = contraction(text, at, self.contractions == Contractions::AnyCase);
            if end.is_some() {
                return end;
            }
        }
        let is_space = byte == b' ';
        if let Some(end) = self.word(lookup, text, at, (first, next)) {
            return Some(end);
        }
        // ` ?` before numbers and symbols.
        let (body, behind_space) = match lookup.at(text, next) {
            Some((classes, _)) if is_space => (next, Some(classes)),
            _ => (at, None),
        };
        let is_body = behind_space.unwrap_or(first);
        match self.numbers {
            Numbers::AfterSpace if is_body.is(Classes::NUMBER) => {
                return Some(lookup.run(text, body, Classes::NUMBER));
            }
            Numbers::Any if first.is(Classes::NUMBER) => return Some(lookup.run(text, at, Classes::NUMBER)),
            Numbers::UpTo(limit) if first.is(Classes::NUMBER) => {
                return Some(digits(lookup, text, at, limit));
            }
            _ => {}
        }
        if self.is_symbol(is_body) {
            return Some(self.symbols(lookup, text, body));
        }
        first.is(Classes::SPACE).then(|| self.spaces(lookup, text, at))
    }

    fn word(&self, lookup: Lookup, text: &str, at: usize, (first, next): (Classes, usize)) -> Option<usize> {
        let may_lead = match self.lead {
            Lead::Space => text.as_bytes()[at] == b' ',
            Lead::NoLetterOrNumber => !first.is(Classes::LETTER.or(Classes::NUMBER).or(Classes::LINE_END)),
            Lead::NoLetterOrSymbol => !first.is(Classes::LETTER.or(Classes::SYMBOL).or(Classes::LINE_END)),
        };
        if self.letters == Letters::Cased {
            // As the engine tries them: each form with the lead, then without it.
            let starts = if may_lead { [Some(next), Some(at)] } else { [Some(at), None] };
            let starts = || starts.into_iter().flatten();
            let end = starts().find_map(|start| lower_word(lookup, text, start));
            let end = end.or_else(|| starts().find_map(|start| upper_word(lookup, text, start)))?;
            return Some(match self.contractions {
                Contractions::BehindWords => contraction(text, end, true).unwrap_or(end),
                _ => end,
            });
        }
        let letters = match self.letters {
            Letters::WithMarks => Classes::LETTER.or(Classes::MARK),
            Letters::Plain | Letters::Cased => Classes::LETTER,
        };
        let start = if may_lead && lookup.at(text, next).is_some_and(|(classes, _)| classes.is(letters)) {
            next
        } else {
            at
        };
        let end = lookup.run(text, start, letters);
        (end > start).then_some(end)
    }

    fn is_symbol(&self, classes: Classes) -> bool {
        const WORDS: Classes = Classes::SPACE.or(Classes::LETTER).or(Classes::NUMBER);
        match self.symbols {
            Symbols::Rest => !classes.is(WORDS),
            Symbols::RestWithoutMarks => !classes.is(WORDS.or(Classes::MARK)),
            Symbols::Proper => classes.is(Classes::SYMBOL),
        }
    }

    /// Where symbols that start at `at` end, and what is taken behind them.
    fn symbols(&self, lookup: Lookup, text: &str, mut at: usize) -> usize {
        while let Some((_, next)) = lookup.at(text, at).filter(|&(classes, _)| self.is_symbol(classes)) {
            at = next;
        }
        let is_tail = |byte: &&u8| match self.tail {
            Tail::None => false,
            Tail::LineEnds => matches!(byte, b'\r' | b'\n'),
            Tail::LineEndsAndSlashes => matches!(byte, b'\r' | b'\n' | b'/'),
        };
        at + text.as_bytes()[at..].iter().take_while(is_tail).count()
    }

    /// Where white space that starts at `at` is cut.
    fn spaces(&self, lookup: Lookup, text: &str, at: usize) -> usize {
        let end = lookup.run(text, at, Classes::SPACE);
        let run = &text[at..end];
        // `\s*` takes the whole run and gives back until a line end follows: up to the last one.
        let last_line_end = run.rfind(['\r', '\n']).filter(|_| self.line_ends);
        if let Some(last) = last_line_end {
            return at + last + 1;
        }
        // `\s+(?!\S)` leaves the last character to the word behind it, `\s+` takes a single one.
        let last = run.chars().next_back().map_or(0, char::len_utf8);
        if end == text.len() || run.len() == last { end } else { end - last }
    }
}

/// Where up to `limit` numbers that start at `at` end.
pub(super) fn digits(lookup: Lookup, text: &str, mut at: usize, limit: usize) -> usize {
    for _ in 0..limit {
        match lookup.at(text, at) {
            Some((classes, next)) if classes.is(Classes::NUMBER) => at = next,
            _ => break,
        }
    }
    at
}

/// Where the contraction that starts at `at` ends.
fn contraction(text: &str, at: usize, any_case: bool) -> Option<usize> {
    let rest = text[at..].strip_prefix('\'')?;
    let fold = |character: char| match character {
        // The one other character that folds to a letter of these.
        'ſ' if any_case => 's',
        _ if any_case => character.to_ascii_lowercase(),
        _ => character,
    };
    let mut letters = rest.chars();
    let first = letters.next()?;
    let len = match (fold(first), letters.next().map(fold)) {
        ('s' | 't' | 'm' | 'd', _) => first.len_utf8(),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => 2,
        _ => return None,
    };
    Some(at + 1 + len)
}

/// `[U]*[W]+`, where U is [`is_upper`] and W is [`is_lower`]. `[U]*` takes its whole run; if no lower letter follows, it gives
/// back until one does: that is the last of the run that is in both, and `[W]+` ends right behind it.
fn lower_word(lookup: Lookup, text: &str, start: usize) -> Option<usize> {
    let mut at = start;
    let mut last_in_both = None;
    while let Some((classes, next)) = lookup.at(text, at).filter(|&(classes, _)| is_upper(classes)) {
        if is_lower(classes) {
            last_in_both = Some(next);
        }
        at = next;
    }
    let end = lower_run(lookup, text, at);
    if end > at { Some(end) } else { last_in_both }
}

/// `[U]+[W]*`
fn upper_word(lookup: Lookup, text: &str, start: usize) -> Option<usize> {
    let mut at = start;
    while let Some((_, next)) = lookup.at(text, at).filter(|&(classes, _)| is_upper(classes)) {
        at = next;
    }
    (at > start).then(|| lower_run(lookup, text, at))
}

fn lower_run(lookup: Lookup, text: &str, mut at: usize) -> usize {
    while let Some((_, next)) = lookup.at(text, at).filter(|&(classes, _)| is_lower(classes)) {
        at = next;
    }
    at
}
