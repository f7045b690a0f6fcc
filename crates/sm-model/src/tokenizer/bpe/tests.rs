//! Merging against the plain algorithm, and against the crate `tokenizers`.

use std::collections::HashMap;

use proptest::prelude::*;
use tokenizers::Model;
use tokenizers::models::bpe::BPE;

use super::*;

/// The letters of the random vocabularies: `é` and `日` are several bytes long.
const LETTERS: [&str; 6] = ["a", "b", "c", "▁", "é", "日"];

/// A vocabulary of letters, bytes and random merges of what there is so far.
fn vocabulary(merges: &[(usize, usize)]) -> (Vec<String>, Vec<(String, String)>) {
    let mut tokens: Vec<String> = LETTERS.map(str::to_owned).into();
    tokens.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let mut mergeable: Vec<String> = LETTERS.map(str::to_owned).into();
    let mut pairs = Vec::new();
    for (left, right) in merges {
        let pair = (mergeable[left % mergeable.len()].clone(), mergeable[right % mergeable.len()].clone());
        let made = format!("{}{}", pair.0, pair.1);
        if made.chars().count() > 12 || pairs.contains(&pair) {
            continue;
        }
        if !tokens.contains(&made) {
            tokens.push(made.clone());
            mergeable.push(made);
        }
        pairs.push(pair);
    }
    (tokens, pairs)
}

fn encode(bpe: &Bpe, text: &str) -> Vec<u32> {
    let mut output = Output::new(text.len(), usize::MAX);
    bpe.encode_characters(text.chars(), &mut Scratch::default(), &mut output).unwrap();
    output.ids.iter().map(|id| id.0).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn listed_merges_give_the_ids_of_the_crate_tokenizers(
        merges in proptest::collection::vec((any::<usize>(), any::<usize>()), 0..60),
        texts in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select([&LETTERS[..], &["x", "😁"]].concat()), 0..150),
            1..6,
        ),
        ignores_merges in any::<bool>(),
    ) {
        let (tokens, pairs) = vocabulary(&merges);
        let vocab: HashMap<String, u32> = tokens.iter().cloned().zip(0..).collect();
        let library = BPE::builder()
            .vocab_and_merges::<tokenizers::models::bpe::Vocab>(vocab.into_iter().collect(), pairs.clone())
            .byte_fallback(true)
            .ignore_merges(ignores_merges)
            .build()
            .unwrap();
        let own = TextVocabulary::new(tokens.iter().map(String::as_str).zip(0..).collect());
        let merges: Vec<Listed> =
            pairs.iter().map(|(left, right)| own.merge((left, right)).unwrap()).collect();
        let own = own.of_characters(&merges, ignores_merges);
        for text in texts {
            let text = text.concat();
            let expected: Vec<u32> = library.tokenize(&text).unwrap().iter().map(|token| token.id).collect();
            // A whole piece that is a token is looked up; cutting would hide it.
            let found = if ignores_merges {
                let mut output = Output::new(text.len(), usize::MAX);
                own.encode(text.as_bytes(), &mut Scratch::default(), &mut output).unwrap();
                output.ids.iter().map(|id| id.0).collect()
            } else {
                encode(&own, &text)
            };
            prop_assert_eq!(&found, &expected, "{}", text);
            // Again, with what the first time left behind.
            prop_assert_eq!(encode(&own, &text).len(), encode(&own, &text).len());
        }
    }

    #[test]
    fn scored_merges_are_those_of_the_plain_algorithm(
        merges in proptest::collection::vec((any::<usize>(), any::<usize>()), 0..60),
        scores in proptest::collection::vec(0_u8..20, 400),
        text in proptest::collection::vec(proptest::sample::select([&LETTERS[..], &["x"]].concat()), 0..150),
    ) {
        let (tokens, _) = vocabulary(&merges);
        let score = |id: usize| f32::from(scores[id % scores.len()]) - 10.0;
        let bytes: Box<ByteIds> = Box::new(std::array::from_fn(|byte| Some((LETTERS.len() + byte) as u32)));
        let scored = tokens.iter().enumerate().map(|(id, text)| (text.clone(), id as u32, score(id)));
        let bpe = Bpe::scored(scored.collect(), bytes, None);
        let ids: HashMap<&str, usize> = tokens.iter().map(String::as_str).zip(0..).collect();
        let text = text.concat();
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        let best = |parts: &[String]| {
            let made = |at: usize| ids.get(format!("{}{}", parts[at], parts[at + 1]).as_str());
            let pairs = (0..parts.len().saturating_sub(1)).filter_map(|at| Some((at, score(*made(at)?))));
            pairs.reduce(|best, other| if other.1 > best.1 { other } else { best })
        };
        while let Some((at, _)) = best(&parts) {
            let right = parts.remove(at + 1);
            parts[at] += &right;
        }
        let expected: Vec<u32> = parts
            .iter()
            .flat_map(|part| match ids.get(part.as_str()) {
                Some(&id) => vec![id as u32],
                None => part.bytes().map(|byte| (LETTERS.len() + usize::from(byte)) as u32).collect(),
            })
            .collect();
        prop_assert_eq!(encode(&bpe, &text), expected);
    }
}

#[test]
fn pieces_of_any_length_merge_as_in_the_crate_tokenizers() {
    let tokens: Vec<String> =
        (0..12).map(|power| "a".repeat(1 << power)).chain(["b".into(), "ab".into()]).collect();
    let merges: Vec<(String, String)> = std::iter::once(("a".to_owned(), "b".to_owned()))
        .chain((0..11).map(|power| ("a".repeat(1 << power), "a".repeat(1 << power))))
        .collect();
    let vocab = tokens.iter().cloned().zip(0..).collect();
    let library = BPE::builder().vocab_and_merges::<tokenizers::models::bpe::Vocab>(vocab, merges.clone());
    let library = library.build().unwrap();
    let own = TextVocabulary::new(tokens.iter().map(String::as_str).zip(0..).collect());
    let merges: Vec<Listed> = merges.iter().map(|(left, right)| own.merge((left, right)).unwrap()).collect();
    let own = own.byte_level(&merges, false);
    for len in [1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 70_000, 300_001] {
        let text = format!("{}b{}", "a".repeat(len / 3), "a".repeat(len - len / 3));
        let mut output = Output::new(text.len(), usize::MAX);
        own.encode(text.as_bytes(), &mut Scratch::default(), &mut output).unwrap();
        let expected = library.tokenize(&text).unwrap();
        assert!(output.ids.iter().map(|id| id.0).eq(expected.iter().map(|token| token.id)), "{len}");
    }
}

#[test]
fn bytes_and_characters_without_a_token_are_left_out_and_their_neighbours_meet() {
    let vocabulary = TextVocabulary::new(HashMap::from([("a", 0), ("b", 1), ("ab", 2)]));
    let merges = [vocabulary.merge(("a", "b")).unwrap()];
    for bpe in [vocabulary.byte_level(&merges, false), vocabulary.of_characters(&merges, false)] {
        assert_eq!(encode(&bpe, "a?b?a"), [2, 0]);
    }
    assert_eq!(vocabulary.merge(("a", "x")).unwrap_err(), "token of a merge `x` out of vocabulary");
}

#[test]
fn the_limit_stops_the_work() {
    let vocabulary = TextVocabulary::new(HashMap::from([("a", 0)]));
    let bpe = vocabulary.byte_level(&[], false);
    let mut output = Output::new(9, 2);
    let mut encode = || bpe.encode(b"a", &mut Scratch::default(), &mut output);
    assert!(encode().is_ok() && encode().is_ok());
    let message = encode().unwrap_err().to_string();
    assert_eq!(
        message,
        "a text of 9 bytes has more than 2 tokens, at least 3; shorten it or raise the limit"
    );
}
