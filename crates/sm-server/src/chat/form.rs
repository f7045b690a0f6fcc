//! The forms in which model families call tools.

/// The form in which a model family writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ToolForm {
    /// `<tool_call>{"name": …, "arguments": {…}}</tool_call>`: Hermes, Qwen 2.5 and 3, SmolLM 3, and models that are told so.
    Hermes,
    /// `<tool_call><function=name><parameter=x>1</parameter></function></tool_call>`: Qwen 3 Coder.
    QwenCoder,
    /// `{"name": …, "parameters": {…}}` as the whole answer, after `<|python_tag|>` or without: Llama 3.1 and later.
    Llama,
    /// `[TOOL_CALLS][{"name": …, "arguments": {…}}]` or `[TOOL_CALLS]name[ARGS]{…}`: Mistral.
    Mistral,
    /// `<|tool_call|>[{"name": …, "arguments": {…}}]`: Granite 3.
    Granite,
    /// Channels with recipients: gpt-oss.
    Harmony,
    /// `<｜tool▁call▁begin｜>name<｜tool▁sep｜>{…}<｜tool▁call▁end｜>`: DeepSeek.
    DeepSeek,
    /// `<tool_call>name<arg_key>x</arg_key><arg_value>1</arg_value></tool_call>`: GLM 4.5 and later.
    Glm,
    /// `functools[{"name": …, "arguments": {…}}]` or `<|tool_call|>[…]<|/tool_call|>`: Phi 4 mini.
    Phi4,
    /// `<|tool_call_begin|>functions.name:0<|tool_call_argument_begin|>{…}<|tool_call_end|>`: Kimi K2.
    KimiK2,
}

/// The forms with their names in vLLM's `--tool-call-parser`, the first of which is ours.
const NAMES: [(ToolForm, &[&str]); 10] = [
    (ToolForm::Hermes, &["hermes"]),
    (ToolForm::QwenCoder, &["qwen3_coder", "qwen3_xml"]),
    (ToolForm::Llama, &["llama3_json", "llama4_json"]),
    (ToolForm::Mistral, &["mistral"]),
    (ToolForm::Granite, &["granite"]),
    (ToolForm::Harmony, &["openai", "gpt_oss"]),
    (ToolForm::DeepSeek, &["deepseek_v3", "deepseek_v31"]),
    (ToolForm::Glm, &["glm45", "glm47"]),
    (ToolForm::Phi4, &["phi4_mini_json"]),
    (ToolForm::KimiK2, &["kimi_k2"]),
];

/// What a template that teaches a form contains, the most telling first.
const SIGNS: [(&str, ToolForm); 12] = [
    ("<|channel|>", ToolForm::Harmony),
    ("<|tool_calls_section_begin|>", ToolForm::KimiK2),
    ("<｜tool▁calls▁begin｜>", ToolForm::DeepSeek),
    ("[TOOL_CALLS]", ToolForm::Mistral),
    ("<arg_key>", ToolForm::Glm),
    ("<function=", ToolForm::QwenCoder),
    ("<|/tool_call|>", ToolForm::Phi4),
    ("functools", ToolForm::Phi4),
    ("<|tool_call|>", ToolForm::Granite),
    ("<tool_call>", ToolForm::Hermes),
    ("<|python_tag|>", ToolForm::Llama),
    ("Environment: ipython", ToolForm::Llama),
];

/// Where calls begin and end in a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// What a call begins with.
    pub(super) open: &'static [&'static str],
    /// What the section of the calls begins with.
    pub(super) section: &'static [&'static str],
    /// What may come between calls and after them, beside white space.
    pub(super) between: &'static [&'static str],
    /// Whether an answer that begins with a brace may be a call.
    pub(super) is_bare: bool,
}

impl ToolForm {
    /// The form that a template teaches its model. Models that are taught none, follow the one most models know.
    pub fn of_template(source: &str) -> Self {
        SIGNS.iter().find(|(sign, _)| source.contains(sign)).map_or(Self::Hermes, |(_, form)| *form)
    }

    /// The form with a name, as in vLLM's `--tool-call-parser`.
    pub fn of_name(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, names)| names.contains(&name)).map(|(form, _)| *form)
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().flat_map(|(_, names)| names.iter().copied())
    }

    /// Whether marks of calls are special tokens, which are not text unless asked for.
    pub(super) fn has_special_marks(self) -> bool {
        !matches!(self, Self::Hermes | Self::QwenCoder | Self::Glm)
    }

    pub(super) fn marks(self) -> Marks {
        let (open, between): (&[&str], &[&str]) = match self {
            Self::Hermes => (&["<tool_call>"], &["</tool_call>"]),
            Self::QwenCoder => (&["<tool_call>", "<function="], &["</tool_call>"]),
            Self::Llama => (&["<|python_tag|>"], &[";", "<|eom_id|>"]),
            Self::Mistral => (&["[TOOL_CALLS]"], &[]),
            Self::Granite => (&["<|tool_call|>", "<tool_call>", "<function_call>"], &["</tool_call>"]),
            Self::DeepSeek => {
                (&["<｜tool▁call▁begin｜>"], &["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"])
            }
            Self::Glm => (&["<tool_call>"], &["</tool_call>"]),
            Self::Phi4 => (&["functools", "<|tool_call|>"], &["<|/tool_call|>"]),
            Self::KimiK2 => (&["<|tool_call_begin|>"], &["<|tool_call_end|>", "<|tool_calls_section_end|>"]),
            Self::Harmony => (&[], &[]),
        };
        let section: &[&str] = match self {
            Self::DeepSeek => &["<｜tool▁calls▁begin｜>"],
            Self::KimiK2 => &["<|tool_calls_section_begin|>"],
            _ => &[],
        };
        Marks { open, section, between, is_bare: self == Self::Llama }
    }
}
