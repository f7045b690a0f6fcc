//! Texts and tokens without a generation, one endpoint each. Fields and answers are those of llama.cpp and vLLM together.

pub(crate) mod apply_template;
pub(crate) mod detokenize;
pub(crate) mod tokenize;
pub(crate) mod tokenizer_info;
