//! Chat templates that are given on the command line: from a file, or one of those that many models share.

use std::path::Path;

use crate::failure::Failure;
use crate::prompt::read_file;

/// The templates that have a name.
const TEMPLATES: [(&str, &str); 8] = [
    ("alpaca", include_str!("template/alpaca.jinja")),
    ("chatml", include_str!("template/chatml.jinja")),
    ("gemma", include_str!("template/gemma.jinja")),
    ("llama2", include_str!("template/llama2.jinja")),
    ("llama3", include_str!("template/llama3.jinja")),
    ("phi3", include_str!("template/phi3.jinja")),
    ("vicuna", include_str!("template/vicuna.jinja")),
    ("zephyr", include_str!("template/zephyr.jinja")),
];

/// The template in a file, with a name, or given as it is.
///
/// # Errors
/// If it is none of these, or the file cannot be read.
pub(super) fn source(given: &str) -> Result<String, Failure> {
    if let Some((_, source)) = TEMPLATES.iter().find(|(name, _)| *name == given) {
        return Ok((*source).to_owned());
    }
    if given.contains("{%") || given.contains("{{") {
        return Ok(given.to_owned());
    }
    if Path::new(given).exists() {
        return read_file(Path::new(given));
    }
    let names: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).collect();
    let message = format!("{given:?} is neither a file nor one of the templates {}", names.join(", "));
    Err(Failure::Option { flag: "--chat-template", message })
}

#[cfg(test)]
mod tests {
    use sm_runtime::model::chat::{ChatRequest, ChatTemplate, Message};

    use super::*;

    /// The texts are those of the models' own templates.
    #[test]
    fn named_templates_write_what_their_models_were_trained_on() {
        let messages = [
            Message::new("system", "S"),
            Message::new("user", "U"),
            Message::new("assistant", "A"),
            Message::new("user", "V"),
        ];
        for (name, expected) in [
            (
                "alpaca",
                "S\n\n### Instruction:\nU\n\n### Response:\nA</s>\n\n### Instruction:\nV\n\n### Response:\n",
            ),
            (
                "chatml",
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n\
                 <|im_start|>user\nV<|im_end|>\n<|im_start|>assistant\n",
            ),
            (
                "gemma",
                "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n<start_of_turn>user\nV\
                 <end_of_turn>\n<start_of_turn>model\n",
            ),
            ("llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST] A </s><s>[INST] V [/INST]"),
            (
                "llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU\
                 <|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|><|start_header_id|>user<|end_header_id|>\
                 \n\nV<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            (
                "phi3",
                "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\nA<|end|>\n<|user|>\nV<|end|>\n<|assistant|>\n",
            ),
            ("vicuna", "S\n\nUSER: U\nASSISTANT: A</s>\nUSER: V\nASSISTANT:"),
            (
                "zephyr",
                "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\nA</s>\n<|user|>\nV</s>\n<|assistant|>\n",
            ),
        ] {
            let specials = [("bos_token", "<s>"), ("eos_token", "</s>")];
            let specials = specials.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect();
            let template = ChatTemplate::new(&source(name).unwrap(), specials).unwrap();
            assert_eq!(template.render(&ChatRequest::new(&messages)).unwrap(), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_names() {
        let message = source("chatmll").unwrap_err().to_string();
        assert!(message.contains("chatml,") && message.contains("zephyr"), "{message}");
        assert_eq!(source("{{ messages[0].content }}").unwrap(), "{{ messages[0].content }}");
    }
}
