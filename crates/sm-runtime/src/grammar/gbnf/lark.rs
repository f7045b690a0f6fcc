//! Writes a grammar in Lark.

use std::fmt::Write;

use super::terminals::{Grammar, Node, write_repeat};

/// The grammar in Lark.
pub(super) fn of_grammar(grammar: &Grammar<'_>) -> String {
    let mut out = format!("start: r{}\n", grammar.root);
    for (index, body) in grammar.bodies.iter().enumerate() {
        let Some(body) = body else { continue };
        write!(out, "r{index}: ").expect("writing to a string cannot fail");
        write_node(grammar, body, &mut out);
        out.push('\n');
    }
    for index in grammar.used() {
        let terminal = &grammar.terminals[index];
        // A lexeme has characters; where there may be none, the rules say so.
        let filled = if terminal.is_nullable(grammar) { " & /(?s:.+)/" } else { "" };
        writeln!(out, "T{index}: /{}/{filled}", terminal.expression)
            .expect("writing to a string cannot fail");
    }
    out
}

fn write_node(grammar: &Grammar<'_>, node: &Node, out: &mut String) {
    match node {
        Node::Alt(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                out.push_str(if index == 0 { "(" } else { " | " });
                write_node(grammar, node, out);
            }
            out.push(')');
        }
        Node::Seq(nodes) if nodes.is_empty() => out.push_str("\"\""),
        Node::Seq(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { " " });
                write_node(grammar, node, out);
            }
        }
        Node::Repeat(node, repeat) => {
            out.push('(');
            write_node(grammar, node, out);
            out.push(')');
            write_repeat(*repeat, out);
        }
        Node::Rule(index) => write!(out, "r{index}").expect("writing to a string cannot fail"),
        Node::Terminal(index) => {
            write!(out, "T{index}").expect("writing to a string cannot fail");
            if grammar.terminals[*index].is_nullable(grammar) {
                out.push('?');
            }
        }
    }
}
