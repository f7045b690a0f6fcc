//! Answers of each family, whole and in any pieces.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn tools() -> Vec<Value> {
    let weather = json!({"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "zip": {"type": "string"},
    }});
    vec![
        json!({"type": "function", "function": {"name": "weather", "parameters": weather}}),
        json!({"type": "function", "function": {"name": "now"}}),
    ]
}

/// An answer, with its calls as a name and arguments.
struct Case {
    form: ToolForm,
    text: &'static str,
    reasoning: &'static str,
    content: &'static str,
    calls: &'static [(&'static str, &'static str)],
}

const fn case(
    form: ToolForm,
    text: &'static str,
    content: &'static str,
    calls: &'static [(&'static str, &'static str)],
) -> Case {
    Case { form, text, reasoning: "", content, calls }
}

const CASES: &[Case] = &[
    case(ToolForm::Hermes, "Just text { with } <tool> marks.\n", "Just text { with } <tool> marks.\n", &[]),
    case(
        ToolForm::Hermes,
        "I look it up.\n\n<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz }\\\" {\", \"days\": 2}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>",
        "I look it up.",
        &[("weather", "{\"city\": \"Graz }\\\" {\", \"days\": 2}"), ("now", "{}")],
    ),
    Case {
        form: ToolForm::Hermes,
        text: "<think>\nHm <tool_call>\n</think>\n\n<tool_call>{\"arguments\": {\"a\": [1]}, \"name\": \"now\"}</tool_call> Done.",
        reasoning: "Hm <tool_call>",
        content: "Done.",
        calls: &[("now", "{\"a\": [1]}")],
    },
    // What is no call is text, with the marks.
    case(
        ToolForm::Hermes,
        "a  <tool_call>nonsense</tool_call> b",
        "a  <tool_call>nonsense</tool_call> b",
        &[],
    ),
    case(ToolForm::Hermes, "<tool_call>\n{\"name\": \"we", "<tool_call>\n{\"name\": \"we", &[]),
    case(ToolForm::Hermes, "<tool_call>\n{\"name\": \"now\"}\n</tool_call>", "", &[("now", "{}")]),
    case(
        ToolForm::Hermes,
        "<tool_call>{\"name\": \"now\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>",
        "",
        &[("now", "{\"a\": 1}")],
    ),
    case(
        ToolForm::Hermes,
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Gr",
        "",
        &[("weather", "{\"city\": \"Gr")],
    ),
    case(
        ToolForm::Hermes,
        "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"now\", \"arguments\": null}}</tool_call>",
        "",
        &[("now", "{}")],
    ),
    case(
        ToolForm::QwenCoder,
        "Well.\n<tool_call>\n<function=weather>\n<parameter=city>\nGraz\nSüd\n</parameter>\n<parameter=days>\n2\n</parameter>\n<parameter=zip>\n8010\n</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=now>\n</function>\n</tool_call>",
        "Well.",
        &[("weather", "{\"city\": \"Graz\\nSüd\", \"days\": 2, \"zip\": \"8010\"}"), ("now", "{}")],
    ),
    case(ToolForm::QwenCoder, "<function=now>\n</function>", "", &[("now", "{}")]),
    case(
        ToolForm::Llama,
        "{\"name\": \"weather\", \"parameters\": {\"city\": \"Graz\"}}; {\"name\": \"now\", \"parameters\": {}}",
        "",
        &[("weather", "{\"city\": \"Graz\"}"), ("now", "{}")],
    ),
    case(
        ToolForm::Llama,
        "<|python_tag|>{\"type\": \"function\", \"name\": \"now\", \"parameters\": {}}",
        "",
        &[("now", "{}")],
    ),
    case(
        ToolForm::Llama,
        "{\"name\": \"Bob\", \"parameters\": {}}",
        "{\"name\": \"Bob\", \"parameters\": {}}",
        &[],
    ),
    case(ToolForm::Llama, " {\"age\": 3}", " {\"age\": 3}", &[]),
    case(
        ToolForm::Mistral,
        "[TOOL_CALLS][{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz\"}}, {\"name\": \"now\", \"arguments\": {}}]",
        "",
        &[("weather", "{\"city\": \"Graz\"}"), ("now", "{}")],
    ),
    case(
        ToolForm::Mistral,
        "Ok[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{\"city\": \"Graz\"}[TOOL_CALLS]now[ARGS]{}",
        "Ok",
        &[("weather", "{\"city\": \"Graz\"}"), ("now", "{}")],
    ),
    case(ToolForm::Mistral, "[TOOL_CALLS]now{}", "", &[("now", "{}")]),
    case(
        ToolForm::Granite,
        "<|tool_call|>[{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz\"}}]",
        "",
        &[("weather", "{\"city\": \"Graz\"}")],
    ),
    Case {
        form: ToolForm::Harmony,
        text: "<|channel|>analysis<|message|>Look.<|end|><|start|>assistant<|channel|>commentary<|message|>A moment.<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>{\"city\": \"Graz\"}<|call|>",
        reasoning: "Look.",
        content: "A moment.",
        calls: &[("weather", "{\"city\": \"Graz\"}")],
    },
    Case {
        form: ToolForm::Harmony,
        text: "<|channel|>analysis<|message|>Hm <|x|>.<|end|><|start|>assistant<|channel|>final<|message|>Yes <b>.",
        reasoning: "Hm <|x|>.",
        content: "Yes <b>.",
        calls: &[],
    },
    case(
        ToolForm::Harmony,
        " to=functions.now<|channel|>commentary <|constrain|>json<|message|>{}",
        "",
        &[("now", "{}")],
    ),
    case(ToolForm::Harmony, "No header.", "No header.", &[]),
    case(
        ToolForm::DeepSeek,
        "Ok.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n{\"city\": \"Graz\"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "Ok.",
        &[("weather", "{\"city\": \"Graz\"}"), ("now", "{}")],
    ),
    case(
        ToolForm::DeepSeek,
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>{\"city\": \"Graz\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        "",
        &[("weather", "{\"city\": \"Graz\"}")],
    ),
    Case {
        form: ToolForm::Glm,
        text: "\n<think>Hm.</think>\n<tool_call>weather\n<arg_key>city</arg_key>\n<arg_value>Graz</arg_value>\n<arg_key>days</arg_key>\n<arg_value>2</arg_value>\n</tool_call>\n<tool_call>now\n</tool_call>",
        reasoning: "Hm.",
        content: "",
        calls: &[("weather", "{\"city\": \"Graz\", \"days\": 2}"), ("now", "{}")],
    },
    case(
        ToolForm::Phi4,
        "functools[{\"name\": \"weather\", \"arguments\": {\"city\": \"Graz\"}}]",
        "",
        &[("weather", "{\"city\": \"Graz\"}")],
    ),
    case(
        ToolForm::Phi4,
        "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>",
        "",
        &[("now", "{}")],
    ),
    case(
        ToolForm::KimiK2,
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>{\"city\": \"Graz\"}<|tool_call_end|><|tool_calls_section_end|>",
        "",
        &[("weather", "{\"city\": \"Graz\"}")],
    ),
];

fn whole(form: ToolForm, text: &str) -> Answer {
    AnswerFormat::new(form, &tools()).answer(text, AnswerStart::default(), 7)
}

#[test]
fn each_family_is_read_in_its_own_form() {
    for Case { form, text, reasoning, content, calls } in CASES {
        let answer = whole(*form, text);
        let found: Vec<(&str, &str)> =
            answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(
            (answer.reasoning.as_str(), answer.content.as_str(), &found[..]),
            (*reasoning, *content, *calls),
            "{form:?}: {text}"
        );
    }
}

/// Pieces without their borders.
fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), &piece) {
            (Some(Piece::Reasoning(last)), Piece::Reasoning(text))
            | (Some(Piece::Content(last)), Piece::Content(text))
            | (Some(Piece::Arguments { json: last, .. }), Piece::Arguments { json: text, .. }) => {
                last.push_str(text);
            }
            _ => joined.push(piece),
        }
    }
    joined
}

/// The pieces of a text that comes in chunks, ends of which are marked by the lengths in characters.
fn split(form: ToolForm, text: &str, lengths: &[usize]) -> Vec<Piece> {
    let mut splitter = AnswerFormat::new(form, &tools()).splitter(AnswerStart::default(), 7);
    let characters: Vec<char> = text.chars().collect();
    let mut rest = &characters[..];
    let mut pieces = Vec::new();
    for length in lengths.iter().copied().chain(std::iter::repeat(1)) {
        if rest.is_empty() {
            break;
        }
        let (chunk, later) = rest.split_at(length.clamp(1, rest.len()));
        pieces.extend(splitter.push(&chunk.iter().collect::<String>()));
        rest = later;
    }
    pieces.extend(splitter.finish());
    joined(pieces)
}

const FORMS: [ToolForm; 10] = [
    ToolForm::Hermes,
    ToolForm::QwenCoder,
    ToolForm::Llama,
    ToolForm::Mistral,
    ToolForm::Granite,
    ToolForm::Harmony,
    ToolForm::DeepSeek,
    ToolForm::Glm,
    ToolForm::Phi4,
    ToolForm::KimiK2,
];

proptest! {
    #[test]
    fn pieces_do_not_depend_on_how_the_text_is_divided(
        index in 0..CASES.len(),
        lengths in proptest::collection::vec(1..12_usize, 0..60),
    ) {
        let Case { form, text, .. } = CASES[index];
        prop_assert_eq!(split(form, text, &lengths), split(form, text, &[usize::MAX]));
    }

    /// Texts made of marks in any order, and cut anywhere.
    #[test]
    fn nonsense_is_divided_the_same_way_too(
        form in 0..FORMS.len(),
        parts in proptest::collection::vec(
            prop_oneof![
                (0..CASES.len(), 0..200_usize, 0..200_usize).prop_map(|(index, start, len)| {
                    CASES[index].text.chars().skip(start).take(len).collect::<String>()
                }),
                "[ {}\\[\\]\",:;<>a\n]{0,6}",
            ],
            0..5,
        ),
        lengths in proptest::collection::vec(1..9_usize, 0..60),
    ) {
        let text = parts.concat();
        let form = FORMS[form];
        prop_assert_eq!(split(form, &text, &lengths), split(form, &text, &[usize::MAX]), "{:?}", text);
    }

    /// Without tools, nothing is lost or taken for a call.
    #[test]
    fn without_tools_all_is_text(index in 0..CASES.len()) {
        let Case { text, reasoning, .. } = CASES[index];
        prop_assume!(reasoning.is_empty());
        let answer = AnswerFormat::new(ToolForm::Hermes, &[]).answer(text, AnswerStart::default(), 1);
        prop_assert_eq!(answer.content.as_str(), text);
    }
}

#[test]
fn a_forced_call_that_is_cut_anywhere_is_never_text() {
    let forced = ToolUse { choice: ToolChoice::Required, ..ToolUse::default() };
    for Case { form, text, calls, .. } in CASES.iter().filter(|case| case.content.is_empty()) {
        let format = AnswerFormat::new(*form, &tools()).used(&forced);
        let ends = text.char_indices().map(|(end, _)| end).chain([text.len()]);
        for end in ends {
            let answer = format.answer(&text[..end], AnswerStart::default(), 7);
            assert_eq!(answer.content, "", "{form:?}: {}", &text[..end]);
            let found = answer.calls.iter().zip(*calls);
            for (call, (name, arguments)) in found {
                assert_eq!(call.name, *name, "{form:?}: {}", &text[..end]);
                // GLM and Qwen write tags, of which an object is made that is closed at the end.
                assert!(arguments.starts_with(call.arguments.trim_end()), "{form:?}: {}", call.arguments);
            }
            assert!(answer.calls.len() <= calls.len(), "{form:?}: {}", &text[..end]);
        }
    }
}

#[test]
fn a_cut_call_with_a_name_has_no_arguments_yet() {
    let forced = ToolUse { choice: ToolChoice::Required, ..ToolUse::default() };
    for (form, text, name) in [
        (ToolForm::Hermes, "<tool_call>\n{\"name\": \"weather\", \"argu", Some("weather")),
        (ToolForm::Hermes, "<tool_call>\n{\"name\": \"weat", None),
        (ToolForm::Hermes, "<tool", None),
        (ToolForm::DeepSeek, "<｜tool\u{fffd}", None),
        (ToolForm::Llama, "{\"name\": \"now\", \"par", Some("now")),
        (ToolForm::Mistral, "[TOOL_CALLS]weather[ARGS]", Some("weather")),
        (ToolForm::Mistral, "[TOOL_CALLS]weat", None),
        (ToolForm::DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>", Some("now")),
        (ToolForm::DeepSeek, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>no", None),
        (ToolForm::KimiK2, "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>", Some("now")),
        (ToolForm::Harmony, "<|channel|>commentary to=functions.now", None),
    ] {
        let answer = AnswerFormat::new(form, &tools()).used(&forced).answer(text, AnswerStart::default(), 7);
        let called: Vec<(&str, &str)> =
            answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        let expected: Vec<(&str, &str)> = name.map(|name| (name, "")).into_iter().collect();
        assert_eq!((answer.content.as_str(), called), ("", expected), "{form:?}: {text}");
    }
    // Where the model may choose, what is not certain to be a call is text; behind a call it is one that was cut.
    let text = "<tool_call>{\"name\": \"now\"}</tool_call>\n<tool_call>{\"na";
    let answer = whole(ToolForm::Hermes, text);
    assert_eq!((answer.content.as_str(), answer.calls.len()), ("", 1));
}

#[test]
fn thoughts_stay_in_the_content_where_they_are_wanted_there() {
    for (form, text, expected) in [
        (ToolForm::Hermes, "<think>\nHm.\n</think>\n\nYes.", "<think>\nHm.\n</think>\n\nYes."),
        (
            ToolForm::Harmony,
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
            "<|channel|>analysis<|message|>Hm.<|end|>Yes.",
        ),
    ] {
        let format = AnswerFormat::new(form, &tools()).with_reasoning(ReasoningFormat::InContent);
        let answer = format.answer(text, AnswerStart::default(), 7);
        assert_eq!((answer.content.as_str(), answer.reasoning.as_str()), (expected, ""), "{form:?}");
    }
    for (name, format) in ReasoningFormat::NAMES {
        assert_eq!(ReasoningFormat::of_name(name), Some(format));
    }
    assert_eq!(ReasoningFormat::of_name("deepseek-legacy"), None);
}

#[test]
fn ids_have_the_form_that_templates_take() {
    let id = |form, text: &str| whole(form, text).calls[0].id.clone();
    let hermes = id(ToolForm::Hermes, "<tool_call>{\"name\": \"now\"}</tool_call>");
    assert!(hermes.starts_with("call_") && hermes.len() == 29, "{hermes}");
    let mistral = id(ToolForm::Mistral, "[TOOL_CALLS]now[ARGS]{}");
    assert!(mistral.len() == 9 && mistral.chars().all(|c| c.is_ascii_alphanumeric()), "{mistral}");
    assert_eq!(id(ToolForm::Mistral, "[TOOL_CALLS]now[CALL_ID]abc[ARGS]{}"), "abc");
    let two = whole(
        ToolForm::Hermes,
        "<tool_call>{\"name\": \"now\"}</tool_call><tool_call>{\"name\": \"now\"}</tool_call>",
    );
    assert_ne!(two.calls[0].id, two.calls[1].id);
}

#[test]
fn forms_are_found_by_name_and_by_template() {
    for name in ToolForm::names() {
        assert!(ToolForm::of_name(name).is_some(), "{name}");
    }
    assert_eq!(ToolForm::of_name("pythonic"), None);
    for (source, form) in [
        ("… <tool_call></tool_call> …", ToolForm::Hermes),
        ("<tool_call>\n<function=x>", ToolForm::QwenCoder),
        ("[TOOL_CALLS]", ToolForm::Mistral),
        ("{{ '<|start|>assistant<|channel|>' }}", ToolForm::Harmony),
        ("no tools", ToolForm::Hermes),
    ] {
        assert_eq!(ToolForm::of_template(source), form, "{source}");
    }
}
