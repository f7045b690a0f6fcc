//! stories260K, a trained Llama, against the logits, texts and perplexity of its own reference implementation.

use std::path::Path;

use serde_json::Value;
use sm_runtime::{
    DType, EosRule, FinishReason, GenerationOptions, Perplexity, PerplexityOptions, Prompt, TokenId,
};

use crate::{Setup, data, exact, generator, greedy};

const DIRECTORY: &str = "models/stories260K/hf";
const GGUF: &str = "models/stories260K/hf/stories260K-f32.gguf";
/// One step that swallows any prompt, and one token per step.
const WHOLE: usize = 512;
const SINGLE: usize = 1;

/// A prompt, its greedy continuation, and the logits `[n_rows, 512]` behind each of its positions.
struct Reference {
    prompt: String,
    prompt_tokens: Vec<TokenId>,
    greedy_tokens: Vec<TokenId>,
    text: String,
    logits: Vec<f32>,
}

impl Reference {
    fn read(name: &str) -> Self {
        let path =
            data(&format!("models/stories260K/ref/{name}.json")).expect("the model has its references");
        let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let tokens = |key: &str| -> Vec<TokenId> {
            json[key].as_array().unwrap().iter().map(|id| TokenId(id.as_u64().unwrap() as u32)).collect()
        };
        let bytes = std::fs::read(path.with_file_name(json["logits_file"].as_str().unwrap())).unwrap();
        Self {
            prompt: json["prompt"].as_str().unwrap().into(),
            prompt_tokens: tokens("prompt_ids"),
            greedy_tokens: tokens("greedy_ids"),
            text: json["text"].as_str().unwrap().into(),
            logits: bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        }
    }
}

fn references() -> [Reference; 2] {
    ["empty_prompt", "tim"].map(Reference::read)
}

fn check_logits(path: &Path, max_step_tokens: usize) {
    let mut generator = generator(path, &exact(max_step_tokens));
    for reference in references() {
        let n_rows = reference.logits.len() / 512;
        let tokens = [reference.prompt_tokens, reference.greedy_tokens].concat();
        let mut n_seen = 0;
        let mut visit = |position: usize, logits: &[f32]| {
            assert_eq!((position, logits.len()), (n_seen, 512));
            n_seen += 1;
            let expected = &reference.logits[position * 512..][..512];
            let worst = logits.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst <= 2e-4, "{:?} position {position}: off by {worst}", reference.prompt);
        };
        generator.forward(&tokens[..n_rows], &mut visit).unwrap();
        assert_eq!(n_seen, n_rows);
    }
}

#[test]
fn logits_equal_the_reference_from_safetensors() {
    let Some(path) = data(DIRECTORY) else { return };
    check_logits(&path, WHOLE);
    check_logits(&path, SINGLE);
}

#[test]
fn logits_equal_the_reference_from_gguf() {
    let Some(path) = data(GGUF) else { return };
    check_logits(&path, WHOLE);
    check_logits(&path, SINGLE);
}

#[test]
fn greedy_text_equals_the_reference() {
    for path in [DIRECTORY, GGUF] {
        let Some(path) = data(path) else { return };
        let mut generator = generator(&path, &Setup::default());
        for reference in references() {
            let prompt = Prompt::Text(reference.prompt.clone());
            let completion = generator.generate(&prompt, &greedy(reference.greedy_tokens.len())).unwrap();
            assert_eq!(completion.prompt_tokens, reference.prompt_tokens);
            assert_eq!(completion.tokens, reference.greedy_tokens);
            assert_eq!(reference.prompt + &completion.text, reference.text);
            assert_eq!(completion.finish_reason, FinishReason::Length);
        }
    }
}

#[test]
fn the_end_token_ends_a_text_unless_it_is_ignored() {
    let Some(path) = data(DIRECTORY) else { return };
    let mut generator = generator(&path, &Setup::default());
    let end = generator.model().tokenizer().expect("the model has a tokenizer").vocabulary().eos().unwrap();
    let prompt = Prompt::Text("Once upon a time".into());
    let mut options = greedy(10);
    options.sampling.logit_bias = vec![(end, 1000.0)];
    let mut run = |options: &GenerationOptions| {
        let completion = generator.generate(&prompt, options).unwrap();
        assert!(!completion.text.contains("</s>"), "{:?}", completion.text);
        (completion.tokens.len(), completion.finish_reason)
    };
    assert_eq!(run(&options), (0, FinishReason::Eos));
    options.stop.min_new_tokens = 4;
    assert_eq!(run(&options), (4, FinishReason::Eos));
    options.stop.eos = EosRule::Ignore;
    assert_eq!(run(&options), (10, FinishReason::Length));
}

/// Length of the slice that the reference figures are for: 316 whole stories.
const SLICE_LEN: usize = 261_552;

fn slice() -> String {
    let path =
        data("text/tinystories_sample_2MiB.txt").expect("the test data has the text of its references");
    String::from_utf8(std::fs::read(path).unwrap()[..SLICE_LEN].to_vec()).unwrap()
}

fn perplexity(path: &Path, setup: &Setup, max_tokens: Option<usize>) -> Perplexity {
    let mut cut = PerplexityOptions::new().split("<|endoftext|>");
    cut.max_tokens = max_tokens;
    let measured = Perplexity::measure(&mut generator(path, setup), &slice(), &cut, &mut |_| ()).unwrap();
    println!("{setup:?}: {measured:?}");
    measured
}

fn quantized(dtype: DType) -> Setup {
    let Setup { load, executor } = exact(WHOLE);
    Setup { load: load.quant(dtype), executor }
}

#[test]
fn perplexity_equals_the_reference() {
    let Some(path) = data(DIRECTORY) else { return };
    let f32 = perplexity(&path, &exact(WHOLE), None);
    assert_eq!((f32.tokens, f32.documents), (127_918, 316));
    assert!((f32.perplexity - 4.51223).abs() <= 0.0005, "{f32:?}");
    let q8_0 = perplexity(&path, &quantized(DType::Q8_0), None);
    assert_eq!(q8_0.tokens, f32.tokens);
    assert!(q8_0.perplexity <= f32.perplexity * 1.005, "Q8_0: {q8_0:?}");
}

/// The rows `| q8_0 | 4.5123 | … |` of the table in docs/numerics.md.
fn documented_perplexities() -> Vec<(DType, f64)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/numerics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.parse().ok()?, cells.get(2)?.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn quantized_perplexities_are_as_documented() {
    let Some(path) = data(DIRECTORY) else { return };
    let documented = documented_perplexities();
    for dtype in [DType::Q4_0, DType::Q4K] {
        let measured = perplexity(&path, &quantized(dtype), None).perplexity;
        let expected = documented.iter().find(|row| row.0 == dtype).map(|row| row.1);
        assert!(expected.is_some_and(|expected| (measured - expected).abs() < 0.002), "{dtype}: {measured}");
    }
}

#[test]
fn documents_score_as_the_reference() {
    let Some(path) = data(DIRECTORY) else { return };
    let mut generator = generator(&path, &exact(WHOLE));
    let tokenizer = generator.model().tokenizer().expect("the model has a tokenizer").clone();
    let lines =
        std::fs::read_to_string(data("models/stories260K/ref/tinystories_nll.jsonl").unwrap()).unwrap();
    let slice = slice();
    let documents: Vec<&str> =
        slice.split("<|endoftext|>").map(|document| document.trim_matches('\n')).collect();
    let mut n_checked = 0;
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let json: Value = serde_json::from_str(line).unwrap();
        let Some(document) = json["doc"].as_u64() else { continue };
        let options = sm_runtime::model::tokenizer::EncodeOptions::PROMPT;
        let mut tokens = tokenizer.encode(documents[document as usize], options).unwrap();
        tokens.truncate(512);
        let nll = -generator.score(&tokens).unwrap().iter().sum::<f64>();
        assert_eq!(tokens.len() as u64 - 1, json["n_pred"].as_u64().unwrap());
        assert!(
            (nll - json["nll_sum"].as_f64().unwrap()).abs() < 0.01,
            "document {document}: {nll} and {json}"
        );
        n_checked += 1;
    }
    assert_eq!(n_checked, 20);
}
