//! The state machines against the regex engine, on random text.

use proptest::prelude::*;

use super::*;

/// The pieces of a text; the engine's reason if it gives up.
pub(in crate::tokenizer) fn pieces<'t>(splitter: &Splitter, text: &'t str) -> Result<Vec<&'t str>, String> {
    let mut pieces = Vec::new();
    let mut take = |piece: &'t str| -> Result<(), ()> {
        pieces.push(piece);
        Ok(())
    };
    match splitter.split(text, &mut take) {
        Ok(()) => Ok(pieces),
        Err(SplitError::Engine(error)) => Err(error.to_string()),
        Err(SplitError::Receiver(())) => Err("refused".to_owned()),
    }
}

/// All expressions that have a state machine, with both ways to split.
fn expressions() -> Vec<(&'static str, Splitter, Splitter)> {
    let simple = [r"\p{N}", r"\p{N}{1}", r"\p{N}{1,3}", r"\p{N}+", r"[^\n]+|[\n]+"];
    KNOWN
        .iter()
        .map(|(expression, _)| *expression)
        .chain(simple)
        .map(|expression| {
            let own = Splitter::new(&[expression]).unwrap();
            assert_eq!(own.engine(), Engine::StateMachines, "{expression}");
            (expression, own, Splitter { stages: vec![Stage::regex(expression).unwrap()] })
        })
        .collect()
}

/// Texts of the characters that the expressions tell apart, in short runs.
fn text() -> impl Strategy<Value = String> {
    let characters = prop_oneof![
        8 => "[a-zA-Z]{1,4}",
        6 => "[ ]{1,4}",
        4 => "[ \t\r\n\u{b}\u{85}\u{a0}\u{2028}\u{3000}]{1,4}",
        4 => "['’](s|S|ſ|t|T|re|RE|Re|ve|vE|m|ll|LL|l|d|D|r|v|x)?",
        4 => "[0-9²Ⅷ٣]{1,5}",
        4 => "[!-/:-@\\[-`{-~]{1,3}",
        3 => "[ʰーǅǲΣÉéñß日本語ñк]{1,3}",
        3 => "[\u{300}\u{301}\u{20dd}\u{e31}]{1,2}",
        2 => "[\u{0}\u{1}\u{7f}\u{ad}\u{200b}\u{200d}\u{e000}\u{378}\u{10ffff}😁€]{1,2}",
        1 => "\\PC",
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(characters, 0..12).prop_map(|parts| parts.concat())
}

#[test]
fn state_machines_split_as_the_regex_engine_does() {
    let expressions = expressions();
    proptest!(ProptestConfig::with_cases(400), |(text in text())| {
        for (expression, own, engine) in &expressions {
            prop_assert_eq!(pieces(own, &text).unwrap(), pieces(engine, &text).unwrap(), "{}", expression);
        }
    });
}

#[test]
fn long_white_space_is_one_piece_and_never_other_pieces() {
    let llama3 = KNOWN[1].0;
    let spaces = " ".repeat(1_000_000);
    let text = format!("a{spaces}b");
    let own = Splitter::new(&[llama3]).unwrap();
    assert_eq!(pieces(&own, &text).unwrap(), ["a", &spaces[1..], " b"]);
    // An expression that only the engine knows: an error, where it gives up.
    let other = Splitter::new(&[r"\p{L}+|\s+(?!\S)|\s"]).unwrap();
    assert!(pieces(&other, &text).unwrap_err().contains("backtrack"));
    assert_eq!(pieces(&other, "a  b").unwrap(), ["a", " ", " ", "b"]);
}

#[test]
fn the_receiver_stops_the_work() {
    let splitter = Splitter::new(&[KNOWN[0].0]).unwrap();
    let mut n_pieces = 0;
    let mut take = |_: &str| {
        n_pieces += 1;
        if n_pieces == 3 { Err("enough") } else { Ok(()) }
    };
    let result = splitter.split("a b c d e", &mut take);
    assert!(matches!(result, Err(SplitError::Receiver("enough"))));
    assert_eq!(n_pieces, 3);
}

#[test]
fn empty_matches_cut() {
    let splitter = Splitter::new(&[r"\p{N}+", r"(?=(\d{3})+(?!\d))"]).unwrap();
    assert_eq!(pieces(&splitter, "a1234567").unwrap(), ["a", "1", "234", "567"]);
}
