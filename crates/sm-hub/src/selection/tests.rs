//! What names mean, on file lists like those of real repositories.

use super::*;

fn files(paths: &[&str], wanted: &Wanted) -> Result<Vec<String>, String> {
    select("a/b", paths, wanted).map(|selection| selection.files).map_err(|error| error.to_string())
}

fn quant(tag: &str) -> Wanted {
    Wanted::Quant(tag.to_owned())
}

const GGUF: [&str; 9] = [
    "BF16/m-BF16-00001-of-00002.gguf",
    "BF16/m-BF16-00002-of-00002.gguf",
    "README.md",
    "imatrix.gguf",
    "m-IQ4_XS.gguf",
    "m-Q4_K_M.gguf",
    "m-UD-Q4_K_XL.gguf",
    "m.q8_0.gguf",
    "mmproj-m-Q4_K_M.gguf",
];

#[test]
fn a_quantization_is_a_word_of_the_name_in_any_case() {
    for (wanted, expected) in [
        (quant("q4_k_m"), "m-Q4_K_M.gguf"),
        (quant("Q8_0"), "m.q8_0.gguf"),
        (quant("Q4_K_XL"), "m-UD-Q4_K_XL.gguf"),
        (quant("UD-Q4_K_XL"), "m-UD-Q4_K_XL.gguf"),
        (Wanted::File("m-iq4_xs.gguf".into()), "m-IQ4_XS.gguf"),
        (Wanted::Default, "m-Q4_K_M.gguf"),
    ] {
        assert_eq!(files(&GGUF, &wanted), Ok(vec![expected.to_owned()]), "{wanted:?}");
    }
    let parts = ["BF16/m-BF16-00001-of-00002.gguf", "BF16/m-BF16-00002-of-00002.gguf"];
    for wanted in
        [quant("bf16"), Wanted::File("m-BF16-00002-of-00002.gguf".into()), Wanted::File(parts[0].into())]
    {
        assert_eq!(files(&GGUF, &wanted), Ok(parts.map(str::to_owned).to_vec()), "{wanted:?}");
    }
}

#[test]
fn what_is_missing_is_named_with_what_there_is() {
    // F16 is part of BF16, but no word of it.
    let error = files(&GGUF, &quant("F16")).unwrap_err();
    assert!(error.contains("no F16") && error.contains("BF16, IQ4_XS, Q4_K_M, Q4_K_XL, Q8_0"), "{error}");
    let error = files(&["m-Q4_0-00001-of-00002.gguf"], &Wanted::Default).unwrap_err();
    assert!(error.contains("m-Q4_0-00002-of-00002.gguf"), "{error}");
    let error = files(&["pytorch_model.bin", "config.json"], &Wanted::Default).unwrap_err();
    assert!(error.contains("neither GGUF files nor config.json with model.safetensors"), "{error}");
}

#[test]
fn without_q4_k_m_the_default_is_q8_0_and_then_what_is_closest_to_four_bits() {
    for (paths, expected) in [
        (&["m-F16.gguf", "m-Q2_K.gguf", "m-Q8_0.gguf"] as &[&str], "m-Q8_0.gguf"),
        (&["m-BF16.gguf", "m-F32.gguf", "m-Q5_K_M.gguf"], "m-Q5_K_M.gguf"),
        (&["a.gguf"], "a.gguf"),
        (&["m-BF16.gguf", "model.gguf"], "m-BF16.gguf"),
    ] {
        assert_eq!(files(paths, &Wanted::Default), Ok(vec![expected.to_owned()]), "{paths:?}");
    }
}

#[test]
fn safetensors_come_before_gguf_unless_a_quantization_is_named() {
    let paths = [
        "README.md",
        "chat_template.jinja",
        "config.json",
        "consolidated.safetensors",
        "m-Q4_0.gguf",
        "model.safetensors",
        "onnx/model.onnx",
        "tokenizer.json",
    ];
    let expected = ["chat_template.jinja", "config.json", "tokenizer.json", "model.safetensors"];
    assert_eq!(files(&paths, &Wanted::Default), Ok(expected.map(str::to_owned).to_vec()));
    assert_eq!(files(&paths, &quant("q4_0")), Ok(vec!["m-Q4_0.gguf".to_owned()]));
}

#[test]
fn split_safetensors_are_what_their_index_names() {
    let paths =
        ["config.json", "consolidated.safetensors", "model-1.safetensors", "model-2.safetensors", INDEX];
    let mut selection = select("a/b", &paths, &Wanted::Default).unwrap();
    assert!(selection.has_index());
    let index = br#"{"weight_map": {"x": "model-2.safetensors", "y": "model-1.safetensors", "z": "model-2.safetensors"}}"#;
    selection.add_shards("a/b", &paths, index).unwrap();
    assert_eq!(selection.files, ["config.json", INDEX, "model-1.safetensors", "model-2.safetensors"]);
    assert!(!selection.has_index());
    for index in [&b"{"[..], b"{}", br#"{"weight_map": {"x": "../../x"}}"#] {
        let mut selection = select("a/b", &paths, &Wanted::Default).unwrap();
        assert!(selection.add_shards("a/b", &paths, index).is_err());
    }
}
