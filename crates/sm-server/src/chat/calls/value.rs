//! Where a JSON value in a text ends.

/// Follows a JSON value character by character. It does not check the value: models make mistakes, and callers want to see them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Value {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
}

/// Whether a value goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Open,
    /// The character was the last one.
    With,
    /// The character before was the last one.
    Before,
}

impl Value {
    /// Takes the next character, of which the first is no white space.
    pub(super) fn push(&mut self, next: char) -> End {
        if self.is_text {
            match next {
                _ if self.is_escaped => self.is_escaped = false,
                '\\' => self.is_escaped = true,
                '"' => {
                    self.is_text = false;
                    return self.end();
                }
                _ => {}
            }
            return End::Open;
        }
        match next {
            '"' => self.is_text = true,
            '{' | '[' => self.depth += 1,
            '}' | ']' if self.depth > 0 => {
                self.depth -= 1;
                return self.end();
            }
            '}' | ']' | ',' if self.depth == 0 => return End::Before,
            _ if self.depth == 0 && next.is_whitespace() => return End::Before,
            _ => {}
        }
        End::Open
    }

    fn end(self) -> End {
        if self.depth == 0 { End::With } else { End::Open }
    }
}
