//! The Unicode classes that pre-tokenizers tell apart, looked up by character.
//!
//! The sets are those of the regex engine, taken from its own tables when first needed, so that a splitter written by hand and the
//! expression that it stands for agree on every character.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// The classes of a character, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classes(u8);

impl Classes {
    /// `\p{L}`
    pub(super) const LETTER: Self = Self(1);
    /// `\p{N}`
    pub(super) const NUMBER: Self = Self(1 << 1);
    /// `\s`
    pub(super) const SPACE: Self = Self(1 << 2);
    /// `\p{M}`
    pub(super) const MARK: Self = Self(1 << 3);
    /// `[\p{Lu}\p{Lt}]`
    pub(super) const UPPER: Self = Self(1 << 4);
    /// `\p{Ll}`
    pub(super) const LOWER: Self = Self(1 << 5);
    /// `[\p{P}\p{S}]`
    pub(super) const SYMBOL: Self = Self(1 << 6);
    /// `[\r\n]`
    pub(super) const LINE_END: Self = Self(1 << 7);

    /// The characters of either.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the character is in one of these classes.
    pub(super) const fn is(self, classes: Self) -> bool {
        self.0 & classes.0 != 0
    }
}

/// The expression of each bit, lowest first.
const EXPRESSIONS: [&str; 8] =
    [r"\p{L}", r"\p{N}", r"\s", r"\p{M}", r"[\p{Lu}\p{Lt}]", r"\p{Ll}", r"[\p{P}\p{S}]", r"[\r\n]"];

const BLOCK: usize = 256;
const N_BLOCKS: usize = 0x11_0000 / BLOCK;

/// Two levels: most blocks of 256 characters equal another, so the table takes some 60 KB instead of 1.1 MB.
struct Table {
    ascii: [u8; 128],
    blocks: Vec<u16>, // [N_BLOCKS], an index of `distinct`
    distinct: Vec<[u8; BLOCK]>,
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// A handle of the table, for loops that look up many characters.
#[derive(Clone, Copy)]
pub(super) struct Lookup(&'static Table);

impl Lookup {
    pub(super) fn new() -> Self {
        Self(&TABLE)
    }

    /// The classes of the character that starts at `at`, and where the next one starts; `None` at the end of the text.
    #[inline]
    pub(super) fn at(self, text: &str, at: usize) -> Option<(Classes, usize)> {
        let byte = *text.as_bytes().get(at)?;
        if byte < 128 {
            return Some((Classes(self.0.ascii[usize::from(byte)]), at + 1));
        }
        let character = text[at..].chars().next()?;
        Some((self.of(character), at + character.len_utf8()))
    }

    /// The classes of a character.
    pub(super) fn of(self, character: char) -> Classes {
        let code = character as usize;
        Classes(self.0.distinct[usize::from(self.0.blocks[code / BLOCK])][code % BLOCK])
    }

    /// Where a run of characters of these classes that starts at `at` ends.
    #[inline]
    pub(super) fn run(self, text: &str, mut at: usize, classes: Classes) -> usize {
        while let Some((found, next)) = self.at(text, at) {
            if !found.is(classes) {
                break;
            }
            at = next;
        }
        at
    }
}

impl Table {
    fn new() -> Self {
        let mut flat = vec![0_u8; N_BLOCKS * BLOCK];
        for (bit, expression) in EXPRESSIONS.iter().enumerate() {
            for (first, last) in ranges(expression) {
                flat[first..=last].iter_mut().for_each(|classes| *classes |= 1 << bit);
            }
        }
        let mut table = Self { ascii: [0; 128], blocks: Vec::with_capacity(N_BLOCKS), distinct: Vec::new() };
        table.ascii.copy_from_slice(&flat[..128]);
        let (blocks, _) = flat.as_chunks::<BLOCK>();
        for block in blocks {
            // Equal blocks are neighbours for the most part, so the search from the end is short.
            let known = table.distinct.iter().rposition(|other| other == block);
            let index = known.unwrap_or_else(|| {
                table.distinct.push(*block);
                table.distinct.len() - 1
            });
            table.blocks.push(index as u16);
        }
        table
    }
}

/// The first and the last code point of each range of a class.
fn ranges(expression: &str) -> Vec<(usize, usize)> {
    let parsed = regex_syntax::parse(expression).map(regex_syntax::hir::Hir::into_kind);
    match parsed {
        Ok(HirKind::Class(Class::Unicode(class))) => {
            class.iter().map(|range| (range.start() as usize, range.end() as usize)).collect()
        }
        // Constant expressions; the test below would fail.
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_has_the_classes_that_the_regex_engine_sees() {
        let lookup = Lookup::new();
        for (bit, expression) in EXPRESSIONS.iter().enumerate() {
            let expected = ranges(expression);
            assert!(!expected.is_empty(), "{expression}");
            let mut found = Vec::new();
            for code in (0..=0x10_FFFF_u32).filter(|&code| {
                char::from_u32(code).is_some_and(|character| lookup.of(character).0 >> bit & 1 == 1)
            }) {
                match found.last_mut() {
                    Some((_, last)) if *last + 1 == code as usize => *last = code as usize,
                    _ => found.push((code as usize, code as usize)),
                }
            }
            assert_eq!(found, expected, "{expression}");
        }
        assert!(TABLE.distinct.len() < 400, "{} blocks differ", TABLE.distinct.len());
    }
}
