//! The tokens of a tag's code.

/// What a token is to the expressions around it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Name,
    Literal,
    Open,
    Close,
    /// What separates expressions that know nothing of each other: `,`, `=`, `:`, `and`, `if`, …
    Separator,
    Compare,
    /// A binary plus or minus, which binds weaker than `~`.
    Sum,
    Times,
    Concat,
    Is,
    /// The name of a test, which a list may follow as its argument.
    Test,
    Pipe,
    Other,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// For an opening bracket, the index of the one that closes it.
    pub(super) close: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub(super) fn ends_value(&self) -> bool {
        matches!(self.kind, Kind::Name | Kind::Literal | Kind::Close)
    }
}

/// Cuts code into tokens; false if its brackets do not match.
pub(super) fn tokenize<'a>(code: &'a str, start: usize, tokens: &mut Vec<Token<'a>>) -> bool {
    let mut open = Vec::new();
    let mut at = start;
    while let Some(first) = code[at..].chars().next() {
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let text = &code[at..at + token_len(&code[at..], first)];
        let previous = tokens.last().copied();
        let kind = kind(text, first, tokens);
        at += text.len();
        if kind == Kind::Compare && text == "in" && previous.is_some_and(|token| token.text == "not") {
            let not = tokens.pop().map_or(at, |token| token.at);
            tokens.push(Token { kind, text: &code[not..at], at: not, close: 0 });
            continue;
        }
        match kind {
            Kind::Open => open.push(tokens.len()),
            Kind::Close => match open.pop() {
                Some(opening) => tokens[opening].close = tokens.len(),
                None => return false,
            },
            _ => {}
        }
        tokens.push(Token { kind, text, at: at - text.len(), close: 0 });
    }
    open.is_empty()
}

fn token_len(rest: &str, first: char) -> usize {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match first {
        '"' | '\'' => {
            let mut escaped = false;
            let end = rest.char_indices().skip(1).find(|&(_, c)| {
                let ends = c == first && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(at, quote)| at + quote.len_utf8())
        }
        _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        _ if ["==", "!=", "<=", ">=", "**", "//"].iter().any(|operator| rest.starts_with(operator)) => 2,
        _ => first.len_utf8(),
    }
}

fn kind(text: &str, first: char, before: &[Token<'_>]) -> Kind {
    let previous = before.last();
    let follows = |kind: Kind| previous.is_some_and(|token| token.kind == kind);
    let negates = follows(Kind::Other) && previous.is_some_and(|token| token.text == "not");
    match text {
        _ if matches!(first, '"' | '\'') || first.is_ascii_digit() => Kind::Literal,
        // Names of attributes, filters and tests may be words of the language.
        _ if first.is_alphabetic()
            && (previous.is_some_and(|token| token.text == ".") || follows(Kind::Pipe)) =>
        {
            Kind::Name
        }
        "not" if follows(Kind::Is) => Kind::Other,
        _ if first.is_alphabetic() && (follows(Kind::Is) || negates) => Kind::Test,
        "true" | "True" | "false" | "False" | "none" | "None" => Kind::Literal,
        "and" | "or" | "not" | "if" | "else" | "," | ":" | "=" => Kind::Separator,
        "in" | "==" | "!=" | "<" | "<=" | ">" | ">=" => Kind::Compare,
        "is" => Kind::Is,
        "(" | "[" | "{" => Kind::Open,
        ")" | "]" | "}" => Kind::Close,
        "+" | "-" if previous.is_some_and(Token::ends_value) => Kind::Sum,
        "*" if previous.is_some_and(Token::ends_value) => Kind::Times,
        "~" => Kind::Concat,
        "|" => Kind::Pipe,
        _ if first.is_alphabetic() || first == '_' => Kind::Name,
        _ => Kind::Other,
    }
}
