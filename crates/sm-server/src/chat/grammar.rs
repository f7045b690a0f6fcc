//! Grammars of answers that must or may call tools, in the form of a model family.
//!
//! Where a model may choose, text and calls are alternatives. A mark that is a special token is one in the grammar too; other marks
//! are text, so prose ends where the first of them is complete.

mod tagged;

use serde_json::{Value, json};
use sm_runtime::Grammar;
use sm_runtime::model::tokenizer::{EncodeOptions, TokenKind, Tokenizer};

use super::choice::{ToolChoice, ToolUse};
use super::regex::literal as regex_literal;
use super::tools::{Tool, Tools};
use super::{AnswerStart, ToolForm};

/// What a grammar of calls is made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'w> {
    pub(super) form: ToolForm,
    pub(super) tools: &'w Tools,
    pub(super) tool_use: &'w ToolUse,
    /// The form of an answer without calls.
    pub(super) content: Option<&'w Grammar>,
    pub(super) start: AnswerStart,
    pub(super) tokenizer: Option<&'w dyn Tokenizer>,
}

impl Wanted<'_> {
    /// The grammar; `None` if whatever the model writes is right.
    ///
    /// # Errors
    /// If the forms of text and calls cannot be combined.
    pub(super) fn grammar(self) -> Result<Option<Grammar>, String> {
        let is_free = self.tool_use.choice == ToolChoice::Auto
            && self.tool_use.in_parallel
            && self.content.is_none()
            && !self.tools.iter().any(Tool::is_strict);
        let thinks = self.start.end_of_thoughts().is_some() && self.content.is_some();
        if is_free || self.tools.is_empty() && !thinks {
            return Ok(None);
        }
        let mut rules = Rules { wanted: self, text: String::new(), n_rules: 0 };
        let start = rules.start()?;
        Ok(Some(Grammar::Lark(format!("start: {start}\n{}", rules.text))))
    }

    /// The tools that may be called.
    fn callable(&self) -> impl Iterator<Item = Tool<'_>> {
        let named = match &self.tool_use.choice {
            ToolChoice::Named(name) => Some(name.as_str()),
            _ => None,
        };
        self.tools.iter().filter(move |tool| named.is_none_or(|name| tool.name() == name))
    }

    fn is_forced(&self) -> bool {
        self.tool_use.choice != ToolChoice::Auto
    }

    /// Whether a mark is a token that ends the answer, so that nothing can follow it.
    fn ends_answer(&self, mark: &str) -> bool {
        let Some(tokenizer) = self.tokenizer else { return false };
        let ends = tokenizer.vocabulary().end_of_generation();
        ends.iter().any(|end| tokenizer.vocabulary().text_of(Some(*end)) == mark)
    }

    /// The schema that a tool's arguments must match.
    fn schema(&self, tool: Tool<'_>) -> Value {
        if self.is_forced() || tool.is_strict() { tool.schema() } else { json!({"type": "object"}) }
    }

    /// A mark as the grammar has it: a special token by its number, or a text.
    fn mark(&self, mark: &str) -> String {
        let ids = self.tokenizer.and_then(|tokenizer| {
            let ids = tokenizer.encode(mark, EncodeOptions::RENDERED_CHAT).ok()?;
            let is_special = |kind| matches!(kind, TokenKind::Control);
            matches!(ids[..], [id] if is_special(tokenizer.vocabulary().kind(id))).then(|| ids[0])
        });
        ids.map_or_else(|| quoted(mark), |id| format!("<[{}]>", id.0))
    }
}

/// A text in Lark.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Arguments that match a schema, with the spaces that models write.
fn arguments_rule(schema: Value) -> String {
    json_rule(schema, json!({"whitespace_flexible": false, "item_separator": ", ", "key_separator": ": "}))
}

/// JSON that matches a schema.
fn json_rule(mut schema: Value, spaces: Value) -> String {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("x-guidance".to_owned(), spaces);
    }
    format!("%json {schema}")
}

/// Collects rules.
#[derive(Debug)]
struct Rules<'w> {
    wanted: Wanted<'w>,
    text: String,
    n_rules: usize,
}

impl Rules<'_> {
    /// Adds a rule of the grammar, and returns its name.
    fn rule(&mut self, body: &str) -> String {
        self.n_rules += 1;
        let name = format!("r{}", self.n_rules);
        self.text.push_str(&format!("{name}: {body}\n"));
        name
    }

    /// Adds a rule of the lexer.
    fn terminal(&mut self, body: &str) -> String {
        self.n_rules += 1;
        let name = format!("T{}", self.n_rules);
        self.text.push_str(&format!("{name}: {body}\n"));
        name
    }

    /// Any text, and the mark at its end.
    fn up_to(&mut self, mark: &str) -> String {
        let wanted = self.wanted;
        match wanted.mark(mark) {
            text if text.starts_with('"') => self.up_to_text(mark),
            token => {
                let text = self.terminal("/(?s:.+)/");
                format!("{text}? {token}")
            }
        }
    }

    /// Any text up to the first mark that is text too. One token of the lexer, within which nothing can follow the mark.
    fn up_to_text(&mut self, mark: &str) -> String {
        let mark = regex_literal(mark);
        self.terminal(&format!("/(?s:.*){mark}/ & ~/(?s:.*){mark}(?s:.+)/"))
    }

    fn start(&mut self) -> Result<String, String> {
        let thoughts = match (self.wanted.form, self.wanted.start.end_of_thoughts()) {
            (ToolForm::Harmony, _) if self.wanted.ends_answer("<|end|>") => String::new(),
            (ToolForm::Harmony, _) => {
                let head = self.header("analysis");
                let text = self.up_to("<|end|>");
                let next = self.wanted.mark("<|start|>");
                format!("({head} {text} {next} \"assistant\")? ")
            }
            (_, Some(end)) => format!("{} /\\s*/ ", self.up_to(end)),
            (_, None) => String::new(),
        };
        let answer = match (self.wanted.tools.is_empty(), self.wanted.is_forced()) {
            (true, _) => self.content()?.unwrap_or_default(),
            (_, true) => self.calls(&quoted("<tool_call>")),
            (_, false) => self.choice()?,
        };
        let answer = self.rule(&answer);
        Ok(format!("{thoughts}{answer}"))
    }

    /// Text or calls. Text may come before calls if it has no form of its own.
    fn choice(&mut self) -> Result<String, String> {
        let is_harmony = self.wanted.form == ToolForm::Harmony;
        let head = if is_harmony { self.header("final") + " " } else { String::new() };
        if let Some(content) = self.content()? {
            let calls = self.calls(&quoted("<tool_call>"));
            return Ok(format!("{head}{content} | {calls}"));
        }
        let marks = self.wanted.form.marks();
        let is_text = |mark: &&&str| self.wanted.mark(mark).starts_with('"');
        let texts: Vec<String> = marks.open.iter().filter(is_text).map(|mark| regex_literal(mark)).collect();
        if marks.open.first() == Some(&"<tool_call>") {
            // Text ends with the mark of the first call, if there is one.
            let prose = self.prose_without(&texts);
            let open = self.up_to("<tool_call>");
            return Ok(format!("{prose} | {}", self.calls(&open)));
        }
        let calls = self.calls("");
        if is_harmony || texts.is_empty() && !marks.is_bare {
            let prose = self.terminal("/(?s:.+)/");
            let before = if is_harmony { "" } else { "?" };
            return Ok(match before {
                "?" => format!("{prose}? ({calls})?"),
                _ => format!("{head}{prose} | {calls}"),
            });
        }
        let prose = match texts.is_empty() {
            true => self.terminal("/[^{<\\[](?s:.*)/"),
            false => self.prose_without(&texts),
        };
        Ok(format!("{prose} | {calls}"))
    }

    /// Text in which none of these regular expressions is found.
    fn prose_without(&mut self, marks: &[String]) -> String {
        self.terminal(&format!("/(?s:.+)/ & ~/(?s:.*)({})(?s:.*)/", marks.join("|")))
    }

    /// The form of an answer without calls, if it has one.
    fn content(&mut self) -> Result<Option<String>, String> {
        let schema = match self.wanted.content {
            None => return Ok(None),
            Some(Grammar::JsonSchema(text)) => {
                serde_json::from_str(text).map_err(|error| format!("the schema is no JSON: {error}"))?
            }
            Some(Grammar::JsonObject) => json!({"type": "object"}),
            Some(Grammar::Regex(expression)) => {
                return Ok(Some(self.terminal(&format!("/{}/", expression.replace('/', "\\/")))));
            }
            Some(_) => {
                return Err("a grammar excludes tools, and thoughts before the answer; leave it or them out".to_owned());
            }
        };
        let spaces = json!({"whitespace_flexible": false});
        Ok(Some(json_rule(schema, spaces)))
    }

    /// Beginning of a message in a channel of gpt-oss.
    fn header(&self, channel: &str) -> String {
        let [open, message] = ["<|channel|>", "<|message|>"].map(|mark| self.wanted.mark(mark));
        format!("{open} {} {message}", quoted(channel))
    }

    /// One call, or several. In forms whose mark is `<tool_call>`, `open` is the first one, with what may come before it.
    fn calls(&mut self, open: &str) -> String {
        let wanted = self.wanted;
        let in_parallel =
            wanted.tool_use.in_parallel && !matches!(wanted.tool_use.choice, ToolChoice::Named(_));
        let several = |rules: &mut Self, call: String, separator: &str| match in_parallel {
            true => {
                let call = rules.rule(&call);
                format!("{call} ({separator} {call})*")
            }
            false => call,
        };
        match wanted.form {
            ToolForm::Hermes => {
                let call = arguments_rule(self.object("arguments"));
                let call = format!("\"\\n\" {call} \"\\n</tool_call>\"");
                self.after_mark(open, &call, in_parallel)
            }
            ToolForm::Llama => {
                let call = arguments_rule(self.object("parameters"));
                several(self, call, "\"; \"")
            }
            ToolForm::Granite | ToolForm::Phi4 => {
                let mark = wanted.mark("<|tool_call|>");
                let list = self.list(in_parallel);
                let end =
                    if wanted.form == ToolForm::Phi4 { wanted.mark("<|/tool_call|>") } else { String::new() };
                format!("{mark} {list} {end}")
            }
            ToolForm::Mistral if wanted.mark("[ARGS]").starts_with('"') => {
                let mark = wanted.mark("[TOOL_CALLS]");
                format!("{mark} {}", self.list(in_parallel))
            }
            ToolForm::Mistral => {
                let [open, arguments] = ["[TOOL_CALLS]", "[ARGS]"].map(|mark| wanted.mark(mark));
                let call = self.named(|name| format!("{open} {} {arguments}", quoted(name)));
                several(self, call, "")
            }
            ToolForm::DeepSeek => {
                let marks = [
                    "<｜tool▁calls▁begin｜>",
                    "<｜tool▁call▁begin｜>",
                    "<｜tool▁sep｜>",
                    "<｜tool▁call▁end｜>",
                    "<｜tool▁calls▁end｜>",
                ];
                let [open, begin, separator, end, close] = marks.map(|mark| wanted.mark(mark));
                let named = self.named(|name| format!("{} {separator}", quoted(name)));
                let call = several(self, format!("{begin} ({named}) {end}"), "");
                format!("{open} {call} {close}")
            }
            ToolForm::KimiK2 => {
                let marks = [
                    "<|tool_calls_section_begin|>",
                    "<|tool_call_begin|>",
                    "<|tool_call_argument_begin|>",
                    "<|tool_call_end|>",
                    "<|tool_calls_section_end|>",
                ];
                let [open, begin, arguments, end, close] = marks.map(|mark| wanted.mark(mark));
                let named = self.named(|name| {
                    format!("{} /[0-9]{{1,3}}/ {arguments}", quoted(&format!("functions.{name}:")))
                });
                let call = several(self, format!("{begin} ({named}) {end}"), "");
                format!("{open} {call} {close}")
            }
            // A call ends the answer.
            ToolForm::Harmony => {
                let [open, constrain, message] =
                    ["<|channel|>", "<|constrain|>", "<|message|>"].map(|mark| wanted.mark(mark));
                self.named(|name| {
                    let head = quoted(&format!("commentary to=functions.{name} "));
                    format!("{open} {head} {constrain} \"json\" {message}")
                })
            }
            ToolForm::QwenCoder | ToolForm::Glm => {
                let call = self.tagged();
                self.after_mark(open, &call, in_parallel)
            }
        }
    }

    /// Calls that begin with `<tool_call>`, each on a line of its own.
    fn after_mark(&mut self, open: &str, call: &str, in_parallel: bool) -> String {
        let call = self.rule(call);
        let more = if in_parallel { format!("(\"\\n<tool_call>\" {call})*") } else { String::new() };
        format!("{open} {call} {more}")
    }

    /// A call as an object.
    fn object(&self, arguments: &str) -> Value {
        let call = |tool: Tool<'_>| {
            json!({
                "type": "object",
                "properties": {"name": {"const": tool.name()}, arguments: self.wanted.schema(tool)},
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        };
        let mut calls: Vec<Value> = self.wanted.callable().map(call).collect();
        if calls.len() == 1 { calls.swap_remove(0) } else { json!({ "anyOf": calls }) }
    }

    /// A list of calls as objects.
    fn list(&self, in_parallel: bool) -> String {
        let mut list = json!({"type": "array", "items": self.object("arguments"), "minItems": 1});
        if !in_parallel {
            list["maxItems"] = 1.into();
        }
        arguments_rule(list)
    }

    /// A call as a name, and arguments after it.
    fn named(&mut self, head: impl Fn(&str) -> String) -> String {
        let calls = self
            .wanted
            .callable()
            .map(|tool| format!("{} {}", head(tool.name()), arguments_rule(self.wanted.schema(tool))));
        calls.collect::<Vec<_>>().join(" | ")
    }
}
