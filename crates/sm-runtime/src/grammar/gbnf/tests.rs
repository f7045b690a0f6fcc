//! A translated grammar derives exactly the texts that GBNF derives.

use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::ApproximateTokEnv;
use llguidance::{Matcher, ParserFactory};
use proptest::prelude::*;

use super::parser::{Class, Expr, Rules};
use super::*;

/// llama.cpp's `grammars/json.gbnf`.
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws

object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws

array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws

string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws

number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws

# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;

/// llama.cpp's `grammars/arithmetic.gbnf`.
const ARITHMETIC: &str = r#"
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"#;

/// llama.cpp's `grammars/list.gbnf`.
const LIST: &str = r#"
root ::= item+

# Excludes various line break characters
item ::= "- " [^\r\n\x0b\x0c\x85\u2028\u2029]+ "\n"
"#;

/// llama.cpp's `grammars/japanese.gbnf`, shortened.
const JAPANESE: &str = r#"
# A probably incorrect grammar for Japanese
root        ::= jp-char+ ([ \t\n] jp-char+)*
jp-char     ::= hiragana | katakana | punctuation | cjk
hiragana    ::= [ぁ-ゟ]
katakana    ::= [ァ-ヿ]
punctuation ::= [、-〾]
cjk         ::= [一-鿿]
"#;

/// llama.cpp's `grammars/chess.gbnf`.
const CHESS: &str = r#"
# Specifies chess moves as a list in algebraic notation, using PGN conventions

# Force first move to "1. ", then any 1-2 digit number after, relying on model to follow the pattern
root    ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n")+
move    ::= (pawn | nonpawn | castle) [+#]?

# piece type, optional file/rank, optional capture, dest file & rank
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]

# optional file & capture, dest file & rank, optional promotion
pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?

castle  ::= "O-O" "-O"?
"#;

/// Whether the compiler accepts a text as a whole.
fn accepts(text: &str, translated: &Translated) -> bool {
    let environment = ApproximateTokEnv::single_byte_env();
    let mut factory = ParserFactory::new_simple(&environment).unwrap();
    factory.quiet();
    let top = match translated {
        Translated::Regex(expression) => TopLevelGrammar::from_regex(expression),
        Translated::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    };
    let mut matcher = Matcher::new(factory.create_parser(top));
    assert_eq!(matcher.get_error(), None, "{translated:?}");
    let is_possible =
        text.bytes().all(|byte| !matcher.is_stopped() && matcher.consume_token(u32::from(byte)).is_ok());
    is_possible && (matcher.is_stopped() || matcher.is_accepting().unwrap())
}

/// The offsets at which an expression that begins at `start` may end, by definition. For grammars without left recursion.
fn ends(rules: &Rules, expr: &Expr, text: &[char], start: usize) -> Vec<usize> {
    let mut found = match expr {
        Expr::Class(Class { is_negated, ranges }) => match text.get(start) {
            Some(c) if ranges.iter().any(|(first, last)| first <= c && c <= last) != *is_negated => {
                vec![start + 1]
            }
            _ => Vec::new(),
        },
        Expr::Alt(parts) => parts.iter().flat_map(|part| ends(rules, part, text, start)).collect(),
        Expr::Seq(parts) => parts.iter().fold(vec![start], |starts, part| {
            starts.into_iter().flat_map(|start| ends(rules, part, text, start)).collect()
        }),
        Expr::Rule(index) => ends(rules, &rules.bodies[*index], text, start),
        Expr::Repeat(part, repeat) => {
            let (mut all, mut current) = (Vec::new(), vec![start]);
            for n in 0..=repeat.max.unwrap_or(text.len() as u32 + repeat.min + 1) {
                if n >= repeat.min {
                    all.extend(&current);
                }
                current = current.into_iter().flat_map(|start| ends(rules, part, text, start)).collect();
                current.sort_unstable();
                current.dedup();
            }
            all
        }
    };
    found.sort_unstable();
    found.dedup();
    found
}

fn derives(grammar: &str, text: &str) -> bool {
    let rules = parser::parse(grammar).unwrap();
    let text: Vec<char> = text.chars().collect();
    ends(&rules, &Expr::Rule(rules.root), &text, 0).contains(&text.len())
}

#[test]
fn grammars_of_llama_cpp_derive_what_they_say() {
    for (grammar, right, wrong) in [
        (
            JSON,
            &["{}", "{\"a\": [1, -2.5e3, \"\\u00e9x\"]}", "{ \"b\":{\n  \"c\":true}}", "{\"é\":null }"]
                as &[&str],
            &["[]", "{\"a\"::1}", "{\"a\":1,}", "{\"a\":01}", "{\"a\": tru}", "{\"a\":\"\n\"}"] as &[&str],
        ),
        (ARITHMETIC, &["1=2\n", "a_1 +(b*2)\n=\n 7 \n", "x=y\n1=1\n"], &["1=2", "=1\n", "1+=2\n", "(1=2\n"]),
        (LIST, &["- a\n", "- a b\n- é\n"], &["- \n", "a\n", "- a\r\n", "- a"]),
        (JAPANESE, &["こんにちは 世界", "カ"], &["a", " カ", "カ "]),
        (
            CHESS,
            &["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O-O O-O\n12. exd8=Q+ Raxd8\n"],
            &["1. e4 e5\n", "1. e9 e5\n2. a1 a1\n"],
        ),
        ("root ::= \"a\" root \"b\" |\n  \"!\"", &["!", "aa!bb"], &["a!", "", "a!bb"]),
        (
            "root ::= a{2,3} | \"(\" root \")\"\na ::= [^x(]\n",
            &["yy", "(yyy)", "éé"],
            &["y", "yyyy", "xy", "(yy"],
        ),
    ] {
        let translated = translate(grammar).unwrap();
        for (texts, expected) in [(right, true), (wrong, false)] {
            for text in texts {
                assert_eq!(derives(grammar, text), expected, "by definition: {text:?}");
                assert_eq!(accepts(text, &translated), expected, "{text:?} in {translated:?}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_said_with_the_line() {
    for (grammar, message) in [
        ("root ::= \"a\" b\n", "line 1: the rule b is not defined"),
        ("x ::= \"a\"", "there is no rule root"),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2: the rule above is defined twice"),
        ("root ::= \"a", "line 1: expected a closing \", found the end"),
        ("\nroot ::= [a", "line 2: expected a closing ], found the end"),
        ("root ::= (\"a\"\n", "line 2: expected a closing ), found the end"),
        ("root ::= [b-a]", "line 1: the range 'b' to 'a' is empty"),
        ("root ::= \"a\"{3,2}", "line 1: {3,2} is empty"),
        ("root ::= \"a\"{200000}", "line 1: 200000 repetitions are more than 100000"),
        ("root ::= \"\\q\"", "line 1: unknown escape \\q"),
        ("root ::= \"\\uD800\"", "line 1: 0xd800 is no character"),
        ("root ::= <think>", "line 1: tokens such as <think> are not possible; write their text"),
        ("root := \"a\"", "line 1: expected ::=, found ':'"),
    ] {
        assert_eq!(translate(grammar).unwrap_err(), message, "{grammar}");
    }
    let nested = format!("root ::= {}\"a\"{}", "(".repeat(1000), ")".repeat(1000));
    assert!(translate(&nested).unwrap_err().contains("nested"));
}

/// Grammars in which a longest match would go wrong.
const TRICKY: [&str; 7] = [
    "root ::= [ab]+ \"b\" root | \"!\"",
    "root ::= \"ab\" root | \"a\" root2 | \"!\"\nroot2 ::= \"b!\" root | \"!\"",
    "root ::= x \"(\" root | x \"!\"\nx ::= \"a\"* \"b\"? [a(]?",
    "root ::= (\"a\" | \"ab\" | \"abb\") root | \"b\" root | \"!\"",
    "root ::= \"(\" root \")\" | [ab]* [b!]{0,2} | root2 \"!\"\nroot2 ::= \"a\" root2 \"b\" | \"\"",
    "root ::= (\"a\" (\"b\" root)?)? \"a\"",
    "root ::= [^a] root [^b] | \"a\" | \"\"",
];

/// What a rule derives, with recursion only after a character.
fn bodies() -> impl Strategy<Value = String> {
    let part =
        prop::sample::select(vec!["[ab]", "\"a\"", "\"ab\"", "[^a]", "\"\"", "\"b\" x", "\"a\" root \"b\""]);
    part.prop_map(str::to_owned).prop_recursive(3, 12, 3, |body| {
        prop_oneof![
            prop::collection::vec(body.clone(), 1..4).prop_map(|parts| parts.join(" ")),
            prop::collection::vec(body.clone(), 2..4).prop_map(|parts| format!("({})", parts.join(" | "))),
            (body, prop::sample::select(vec!["*", "+", "?", "{2}", "{0,2}"]))
                .prop_map(|(body, repeat)| format!("({body}){repeat}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_grammar_is_translated_exactly(
        root in bodies(), other in bodies(), texts in prop::collection::vec("[ab]{0,7}", 8),
    ) {
        let grammar = format!("root ::= {root}\nx ::= {other}\n");
        let translated = translate(&grammar).unwrap();
        for text in texts {
            let is_derived = derives(&grammar, &text);
            prop_assert_eq!(accepts(&text, &translated), is_derived, "{:?} in {} as {:?}", text, grammar, translated);
        }
    }

    #[test]
    fn a_translation_derives_what_its_grammar_derives(text in "[ab!()]{0,7}") {
        for grammar in TRICKY {
            let translated = translate(grammar).unwrap();
            prop_assert_eq!(accepts(&text, &translated), derives(grammar, &text), "{:?} in {} as {:?}", text, grammar, translated);
        }
    }
}
