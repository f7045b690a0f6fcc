//! Numbers of the command line, with messages in the user's words.

use std::num::NonZeroUsize;

use sm_runtime::Threads;

/// Parses a whole number of 0 or more.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse::<i128>() {
        Ok(number) if number < 0 => Err("must be 0 or more".to_owned()),
        Ok(number) => usize::try_from(number).map_err(|_| format!("the largest value is {}", usize::MAX)),
        Err(_) => Err("must be a whole number".to_owned()),
    }
}

/// Parses a whole number of 1 or more.
pub(crate) fn at_least_one(text: &str) -> Result<NonZeroUsize, String> {
    let message = || "must be a whole number of 1 or more".to_owned();
    NonZeroUsize::new(count(text).map_err(|_| message())?).ok_or_else(message)
}

/// Parses a number of threads, such as 4, or 4! for exactly 4; -1 is one per core, as in llama.cpp.
pub(crate) fn threads(text: &str) -> Result<Threads, String> {
    if text == "-1" {
        return Ok(Threads::PerCore);
    }
    text.parse().map_err(|_| "it must be a whole number of 1 or more, or such as 4! for exactly 4".to_owned())
}

/// Parses a number of which -1 means `unlimited`, as in llama.cpp.
fn count_or(text: &str, unlimited: usize) -> Result<usize, String> {
    if text == "-1" {
        return Ok(unlimited);
    }
    count(text).map_err(|message| format!("{message}, or -1 for no limit"))
}

/// Parses a number of tokens to generate; -1 is as many as the context has room for.
pub(crate) fn n_tokens(text: &str) -> Result<usize, String> {
    count_or(text, usize::MAX)
}

/// Parses a limit that 0 and -1 disable.
pub(crate) fn limit_or_off(text: &str) -> Result<usize, String> {
    count_or(text, 0)
}

/// A window of the last tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    All,
    Last(NonZeroUsize),
    None,
}

impl Window {
    /// The number of tokens as the runtime takes it, for which 0 is all; `None` if there is no window.
    pub(crate) fn n_tokens(self) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::Last(n_tokens) => Some(n_tokens.get()),
            Self::None => None,
        }
    }
}

/// Parses a window; -1 is all and 0 is none, as in llama.cpp.
pub(crate) fn window(text: &str) -> Result<Window, String> {
    if text == "-1" {
        return Ok(Window::All);
    }
    let n_tokens = count(text).map_err(|message| format!("{message}, or -1 for all tokens"))?;
    Ok(NonZeroUsize::new(n_tokens).map_or(Window::None, Window::Last))
}

/// A seed, or the wish for a random one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(pub(crate) Option<u64>);

/// Parses a seed; -1 is a random one, as in llama.cpp.
pub(crate) fn seed(text: &str) -> Result<Seed, String> {
    if text == "-1" {
        return Ok(Seed(None));
    }
    match text.parse::<i128>() {
        Ok(number) => u64::try_from(number)
            .map(|seed| Seed(Some(seed)))
            .map_err(|_| format!("must lie between 0 and {}, or be -1 for a random seed", u64::MAX)),
        Err(_) => Err("must be a whole number, or -1 for a random seed".to_owned()),
    }
}

/// Parses a number.
pub(crate) fn real(text: &str) -> Result<f32, String> {
    text.parse().map_err(|_| "must be a number".to_owned())
}

/// A token and what is added to its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bias {
    pub(crate) token: u32,
    pub(crate) bias: f32,
}

/// Parses a token id with a bias: `42=-3.5`, or `42-3.5`, `42+1`, `42-inf` as in llama.cpp.
pub(crate) fn bias(text: &str) -> Result<Bias, String> {
    let message = || "must be a token id and a bias, as in 42=-1.5, 42+1 or 42-inf".to_owned();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(message)?;
    let (token, bias) = text.split_at(end);
    let bias = bias.strip_prefix('=').unwrap_or(bias);
    match (token.parse(), bias.parse()) {
        (Ok(token), Ok(bias)) => Ok(Bias { token, bias }),
        _ => Err(message()),
    }
}

/// Parses a token id.
pub(crate) fn token(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "must be a token id, as printed by sm tokenize".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_means_what_it_does_in_llama_cpp() {
        assert_eq!(n_tokens("-1"), Ok(usize::MAX));
        assert_eq!(limit_or_off("-1"), Ok(0));
        assert_eq!(seed("-1"), Ok(Seed(None)));
        assert_eq!((window("-1"), window("0")), (Ok(Window::All), Ok(Window::None)));
        assert_eq!(seed("7"), Ok(Seed(Some(7))));
    }

    #[test]
    fn biases_are_written_in_both_ways() {
        for (text, token, bias_of_token) in [
            ("42=-1.5", 42, -1.5),
            ("42+1", 42, 1.0),
            ("15043-inf", 15_043, f32::NEG_INFINITY),
            ("0=2", 0, 2.0),
        ] {
            assert_eq!(bias(text), Ok(Bias { token, bias: bias_of_token }), "{text}");
        }
        for text in ["", "42", "x=1", "42=", "=1", "42=x"] {
            assert!(bias(text).is_err(), "{text}");
        }
    }

    #[test]
    fn messages_have_no_words_of_the_programming_language() {
        let words = ["usize", "u64", "digit", "literal", "integer", "NonZero"];
        for message in [
            count("x").unwrap_err(),
            count("-3").unwrap_err(),
            count("99999999999999999999").unwrap_err(),
            at_least_one("0").unwrap_err(),
            n_tokens("-2").unwrap_err(),
            window("x").unwrap_err(),
            seed("1.5").unwrap_err(),
            real("hot").unwrap_err(),
            token("<s>").unwrap_err(),
        ] {
            assert!(words.iter().all(|word| !message.contains(word)), "{message}");
        }
    }
}
