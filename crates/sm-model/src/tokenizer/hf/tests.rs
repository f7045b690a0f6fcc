//! Golden encodes and decodes of published tokenizers, and hostile files.

use super::*;
use crate::testing::data_dir;
use crate::tokenizer::SpecialTokens;

#[derive(Deserialize)]
struct Golden {
    text: String,
    ids_with_special: Vec<u32>,
    ids: Vec<u32>,
    decoded: String,
    decoded_skip_special: String,
}

#[test]
fn golden_encodes_and_decodes_are_equal() {
    let Some(data) = data_dir() else { return };
    for name in ["gpt2", "qwen2", "qwen3", "mistral-7b-v0.1-instruct", "phi-3-mini"] {
        let dir = data.join("tokenizers").join(name);
        let tokenizer = HfTokenizer::load(&dir).unwrap();
        let golden = fs::read_to_string(dir.join("golden_encode.jsonl")).unwrap();
        assert_eq!(golden.lines().count(), 18);
        for line in golden.lines() {
            let golden: Golden = serde_json::from_str(line).unwrap();
            let ids = |marks| {
                let options = EncodeOptions { marks, special_text: SpecialText::Parse };
                tokenizer.encode(&golden.text, options).unwrap()
            };
            let text = &golden.text;
            assert_eq!(ids(SequenceMarks::Add), to_ids(&golden.ids_with_special), "{name}: {text:?}");
            assert_eq!(ids(SequenceMarks::Omit), to_ids(&golden.ids), "{name}: {text:?}");
            let all = to_ids(&golden.ids);
            assert_eq!(tokenizer.decode(&all, SpecialTokens::Keep), golden.decoded, "{name}: {text:?}");
            assert_eq!(
                tokenizer.decode(&all, SpecialTokens::Skip),
                golden.decoded_skip_special,
                "{name}: {text:?}"
            );
        }
    }
}

fn to_ids(ids: &[u32]) -> Vec<TokenId> {
    ids.iter().copied().map(TokenId).collect()
}
