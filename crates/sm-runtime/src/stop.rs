//! Finds stop strings in streamed text.

use std::ops::Range;

use crate::{MatchedStop, StopRules};

/// Passes text through, holding back possible beginnings of stop strings; ends it at the first complete one.
///
/// Scans character by character, so the result does not depend on how the text is split: the stop string that completes
/// first ends the text; of several that end together, the longest.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    sequences: Vec<String>,
    matched: MatchedStop,
    /// The tail of the text that is a proper prefix of a stop string.
    held: String,
    /// Byte ranges of it that are not shown: the text of special tokens.
    hidden: Vec<Range<usize>>,
    found: Option<String>,
}

/// Whether a stop string was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopSearch {
    Nothing,
    Found,
}

impl StopMatcher {
    pub(crate) fn new(rules: &StopRules) -> Self {
        Self {
            sequences: rules.sequences.clone(),
            matched: rules.matched,
            held: String::new(),
            hidden: Vec::new(),
            found: None,
        }
    }

    /// Whether a stop string contains the text of a special token.
    pub(crate) fn knows(&self, special: &str) -> bool {
        self.sequences.iter().any(|stop| stop.contains(special))
    }

    /// As [`StopMatcher::push`], for text that is matched but not shown.
    pub(crate) fn push_hidden(&mut self, special: &str, out: &mut String) -> StopSearch {
        let start = self.held.len();
        self.hidden.push(start..start + special.len());
        self.push(special, out)
    }

    /// Appends to `out` the text that can no longer be part of a removed stop string.
    pub(crate) fn push(&mut self, piece: &str, out: &mut String) -> StopSearch {
        let n_held = self.held.len();
        self.held.push_str(piece);
        for (offset, character) in piece.char_indices() {
            let end = n_held + offset + character.len_utf8();
            if let Some(stop_len) = self.longest_stop_at(end) {
                let text_len = match self.matched {
                    MatchedStop::Remove => end - stop_len,
                    MatchedStop::Keep => end,
                };
                self.found = Some(self.held[end - stop_len..end].to_owned());
                self.release(text_len, out);
                self.held.clear();
                self.hidden.clear();
                return StopSearch::Found;
            }
        }
        let n_certain = self.held.len() - self.longest_open_prefix();
        self.release(n_certain, out);
        StopSearch::Nothing
    }

    /// The stop string that ended the text.
    pub(crate) fn found(&self) -> Option<&str> {
        self.found.as_deref()
    }

    /// Appends held-back text at the end of the stream.
    pub(crate) fn finish(&mut self, out: &mut String) {
        self.release(self.held.len(), out);
    }

    /// Releases the first `n_bytes` held bytes, without the hidden parts.
    fn release(&mut self, n_bytes: usize, out: &mut String) {
        let mut shown = 0;
        for hidden in &self.hidden {
            out.push_str(&self.held[shown..hidden.start.clamp(shown, n_bytes)]);
            shown = hidden.end.clamp(shown, n_bytes);
        }
        out.push_str(&self.held[shown..n_bytes]);
        self.held.drain(..n_bytes);
        self.hidden.retain_mut(|hidden| {
            *hidden = hidden.start.saturating_sub(n_bytes)..hidden.end.saturating_sub(n_bytes);
            hidden.start < hidden.end
        });
    }

    /// Length of the longest stop string that ends at byte `end` of the held text.
    fn longest_stop_at(&self, end: usize) -> Option<usize> {
        let text = &self.held[..end];
        self.sequences.iter().filter(|stop| text.ends_with(stop.as_str())).map(String::len).max()
    }

    /// Length of the longest suffix of the held text that is a prefix of a stop string.
    fn longest_open_prefix(&self) -> usize {
        let longest_stop = self.sequences.iter().map(String::len).max().unwrap_or(0);
        let shortest_start = self.held.len().saturating_sub(longest_stop.saturating_sub(1));
        (shortest_start..self.held.len())
            .filter(|&start| self.held.is_char_boundary(start))
            .find(|&start| self.sequences.iter().any(|stop| stop.starts_with(&self.held[start..])))
            .map_or(0, |start| self.held.len() - start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matcher(sequences: &[&str], matched: MatchedStop) -> StopMatcher {
        let sequences = sequences.iter().map(|&s| s.to_owned()).collect();
        StopMatcher::new(&StopRules { sequences, matched, ..Default::default() })
    }

    /// The text after each piece; a `|` where the search ended with a match.
    fn run(stop: &mut StopMatcher, pieces: &[&str]) -> Vec<String> {
        let mut out = String::new();
        let mut seen = Vec::new();
        for piece in pieces {
            let search = stop.push(piece, &mut out);
            seen.push(out.clone());
            if search == StopSearch::Found {
                seen.push("|".into());
                return seen;
            }
        }
        stop.finish(&mut out);
        seen.push(out);
        seen
    }

    #[test]
    fn text_is_held_back_only_as_far_as_a_match_is_possible() {
        let cases: [(&[&str], &[&str], &[&str]); 7] = [
            (&["stop"], &["a st", "ar"], &["a ", "a star", "a star"]),
            (&["stop"], &["x s", "t", "o", "p y"], &["x ", "x ", "x ", "x ", "|"]),
            (&["aab"], &["a", "a", "a", "b"], &["", "", "a", "a", "|"]),
            (&["é!"], &["caf", "é", "?"], &["caf", "caf", "café?", "café?"]),
            (&["\n\n"], &["end.\n", "\nmore"], &["end.", "end.", "|"]),
            (&["abc"], &["ab"], &["", "ab"]),
            (&[], &["any", "thing"], &["any", "anything", "anything"]),
        ];
        for (stops, pieces, expected) in cases {
            assert_eq!(
                run(&mut matcher(stops, MatchedStop::Remove), pieces),
                expected,
                "{stops:?} {pieces:?}"
            );
        }
    }

    #[test]
    fn the_stop_string_that_is_complete_first_wins() {
        let cases: [(&[&str], &str, &str); 4] = [
            (&["bcd", "c"], "abcd", "ab"),
            (&["abc", "ab"], "xabc", "x"),
            (&["bc", "abc"], "abc", ""),
            (&["z", "y"], "xyz", "x"),
        ];
        for (stops, text, expected) in cases {
            assert_eq!(
                run(&mut matcher(stops, MatchedStop::Remove), &[text])[0],
                expected,
                "{stops:?} {text:?}"
            );
        }
    }

    #[test]
    fn special_tokens_count_in_stop_strings_but_are_not_shown() {
        for (stops, pieces, expected) in [
            (&["<|user|>"] as &[&str], &["hi", "#<|user|>"] as &[&str], "hi|"),
            (&["end<|user|>\n"], &["the end", "#<|user|>", " no"], "the end no"),
            (&["end<|user|>\n"], &["the end", "#<|user|>", "\n", "x"], "the |"),
            (&["<|a|><|b|>"], &["x", "#<|a|>", "#<|a|>", "y", "#<|a|>", "#<|b|>"], "xy|"),
        ] {
            let (mut stop, mut out) = (matcher(stops, MatchedStop::Remove), String::new());
            let found = pieces.iter().any(|piece| {
                let search = match piece.strip_prefix('#') {
                    Some(special) => stop.push_hidden(special, &mut out),
                    None => stop.push(piece, &mut out),
                };
                search == StopSearch::Found
            });
            if found {
                out.push('|');
            } else {
                stop.finish(&mut out);
            }
            assert_eq!(out, expected, "{stops:?} {pieces:?}");
        }
    }

    #[test]
    fn a_matched_stop_string_can_be_kept() {
        assert_eq!(run(&mut matcher(&["b\n"], MatchedStop::Keep), &["ab", "\nc"]), ["a", "ab\n", "|"]);
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_the_pieces(
            text in "[ab]{0,24}", stops in prop::collection::vec("[ab]{1,4}", 1..4), cuts in prop::collection::vec(0usize..24, 0..6),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let in_pieces = run(&mut matcher(&stops, MatchedStop::Remove), &pieces);
            let first_end = (1..=text.len()).find(|&end| stops.iter().any(|stop| text[..end].ends_with(stop)));
            let expected = match first_end {
                Some(end) => &text[..end - stops.iter().filter(|s| text[..end].ends_with(**s)).map(|s| s.len()).max().unwrap()],
                None => &text,
            };
            let found = in_pieces.last().is_some_and(|last| last == "|");
            prop_assert_eq!(found, first_end.is_some());
            prop_assert_eq!(&in_pieces[in_pieces.len() - 1 - usize::from(found)], expected);
        }
    }
}
