//! Unicode normalization form C, at the cost of a look at each character where a text has it already.
//!
//! The crate `tokenizers` does the work where there is any, a short part at a time, because it takes many times the memory of
//! the text; its Unicode version is what models were trained with.

use std::borrow::Cow;

use tokenizers::NormalizedString;

/// Bytes of a part at least.
const PART: usize = 1024;

/// The text in form C.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    let Some(first) = text.char_indices().find(|&(_, character)| !is_inert(character)).map(|(at, _)| at)
    else {
        return text.into();
    };
    // The character before may compose with the first one that is not inert.
    let from = text[..first].char_indices().next_back().map_or(0, |(at, _)| at);
    let mut normal = String::with_capacity(text.len());
    normal.push_str(&text[..from]);
    let mut start = from;
    for (at, character) in text[from..].char_indices().map(|(at, character)| (from + at, character)) {
        if at - start >= PART && is_inert(character) {
            push(&text[start..at], &mut normal);
            start = at;
        }
    }
    push(&text[start..], &mut normal);
    normal.into()
}

fn push(part: &str, normal: &mut String) {
    if part.chars().all(is_inert) {
        normal.push_str(part);
    } else {
        normal.push_str(NormalizedString::from(part).nfc().get());
    }
}

/// Whether a character is in form C by itself and never composes with one before it. Not all that are: the blocks that texts
/// consist of.
fn is_inert(character: char) -> bool {
    matches!(
        character,
        '\0'..'\u{300}'
            | 'Ѐ'..='҂'
            | 'Ҋ'..='ԯ'
            | '‐'..='‧'
            | '‰'..='⁞'
            | '\u{3000}'..='〩'
            | 'ぁ'..='ゖ'
            | 'ァ'..='ヺ'
            | 'ー'..='ヾ'
            | '一'..='\u{9FFF}'
            | '가'..='힣'
            | '！'..='\u{FFEF}'
            | '\u{1F300}'..='\u{1F64F}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reference(text: &str) -> String {
        NormalizedString::from(text).nfc().get().to_owned()
    }

    #[test]
    fn inert_characters_stay_as_they_are_behind_any_other() {
        let before: String = "aéΩкか가각한क\u{9c7}\u{b47}\u{1100}\u{300}\u{3099}日".to_owned();
        for character in ('\0'..=char::MAX).filter(|&character| is_inert(character)) {
            let text = format!("{before}{character}");
            assert!(reference(&text).ends_with(character), "{character:?}");
        }
        for previous in before.chars() {
            let text: String = "aKéñкЯ‐…、〇かカー日本가각！ﾞ😁"
                .chars()
                .flat_map(|character| [previous, character])
                .collect();
            assert_eq!(nfc(&text), reference(&text), "{previous:?}");
        }
    }

    proptest! {
        #[test]
        fn texts_become_what_the_crate_tokenizers_makes_of_them(
            parts in proptest::collection::vec(
                prop_oneof![
                    "[a-z ]{0,300}", "[\u{300}-\u{304}]{1,3}", "[かはカ\u{3099}\u{309a}]{1,4}", "[각가\u{1100}\u{1161}\u{11a8}]{1,5}",
                    "[éÅΩ\u{212b}\u{2126}\u{f900}\u{1e0a}]{1,3}", "[क\u{93c}\u{958}\u{9c7}\u{9be}]{1,4}", "\\PC{1,3}",
                    "日{200,500}",
                ],
                0..12,
            )
        ) {
            let text = parts.concat();
            prop_assert_eq!(nfc(&text), reference(&text));
        }
    }

    #[test]
    fn a_text_in_form_c_is_not_copied() {
        assert!(matches!(nfc("Crème brûlée, 日本語, русский 😁"), Cow::Borrowed(_)));
        assert_eq!(nfc("Cre\u{300}me"), "Crème");
    }
}
