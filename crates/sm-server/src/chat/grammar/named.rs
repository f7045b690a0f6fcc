//! Grammars of calls that are a name, and then the arguments.

use super::{Rules, ToolForm, arguments_rule, quoted};

impl Rules<'_> {
    /// One call, or several.
    pub(super) fn named_calls(&mut self) -> String {
        let wanted = self.wanted;
        match wanted.form {
            ToolForm::DeepSeek => {
                let marks = ["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"];
                let [begin, separator, end] = marks.map(|mark| wanted.mark(mark));
                let named = self.named(|name| format!("{} {separator}", quoted(name)));
                let calls = self.several(format!("{begin} ({named}) {end}"), "");
                self.section("<｜tool▁calls▁begin｜>", &calls, "<｜tool▁calls▁end｜>")
            }
            ToolForm::KimiK2 => {
                let marks = ["<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"];
                let [begin, arguments, end] = marks.map(|mark| wanted.mark(mark));
                let named = self.named(|name| {
                    format!("{} /[0-9]{{1,3}}/ {arguments}", quoted(&format!("functions.{name}:")))
                });
                let calls = self.several(format!("{begin} ({named}) {end}"), "");
                self.section("<|tool_calls_section_begin|>", &calls, "<|tool_calls_section_end|>")
            }
            // A call ends the answer.
            ToolForm::Harmony => {
                let marks = ["<|channel|>", "<|constrain|>", "<|message|>"];
                let [open, constrain, message] = marks.map(|mark| wanted.mark(mark));
                self.named(|name| {
                    let head = quoted(&format!("commentary to=functions.{name} "));
                    format!("{open} {head} {constrain} \"json\" {message}")
                })
            }
            _ => {
                let [open, arguments] = ["[TOOL_CALLS]", "[ARGS]"].map(|mark| wanted.mark(mark));
                let call = self.named(|name| format!("{open} {} {arguments}", quoted(name)));
                self.several(call, "")
            }
        }
    }

    fn section(&self, open: &str, calls: &str, close: &str) -> String {
        format!("{} {calls} {}", self.wanted.mark(open), self.wanted.mark(close))
    }

    /// A call of one of the tools: what comes before the arguments, and the arguments.
    fn named(&self, head: impl Fn(&str) -> String) -> String {
        let calls = self
            .wanted
            .callable()
            .map(|tool| format!("{} {}", head(tool.name()), arguments_rule(self.wanted.schema(tool))));
        calls.collect::<Vec<_>>().join(" | ")
    }
}
