//! Files of keys.
//!
//! ```toml
//! [[key]]
//! name = "alice"
//! hash = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0bd822cd15d6c15b0f00a0"
//! requests_per_minute = 60
//! tokens_per_minute = 100_000
//! max_concurrent = 4
//! priority = "high"
//! models = ["demo"]
//!
//! [[key]]
//! name = "operator"
//! hash = "sha256:…"
//! admin = true
//! ```

use serde::Deserialize;
use sm_runtime::Priority;

use super::secret::KeyDigest;

/// What a key allows. By default everything but administration, without limits.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) name: String,
    /// Requests in a minute.
    pub(crate) requests_per_minute: Option<u32>,
    /// Tokens of prompts and answers in a minute.
    pub(crate) tokens_per_minute: Option<u32>,
    /// Requests at a time.
    pub(crate) max_concurrent: Option<u32>,
    /// The priority of requests that ask for none. One below `normal` is also the highest.
    #[serde(default)]
    pub(crate) priority: KeyPriority,
    /// The models that it may use; `None` is all.
    pub(crate) models: Option<Vec<String>>,
    /// Whether its cached prefixes are kept apart from those of others.
    #[serde(default)]
    pub(crate) private_cache: bool,
    /// Whether it may call `/admin`.
    #[serde(default)]
    pub(crate) admin: bool,
}

/// A priority as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum KeyPriority {
    Low,
    #[default]
    Normal,
    High,
    Critical,
}

impl From<KeyPriority> for Priority {
    fn from(priority: KeyPriority) -> Self {
        match priority {
            KeyPriority::Low => Self::Low,
            KeyPriority::Normal => Self::Normal,
            KeyPriority::High => Self::High,
            KeyPriority::Critical => Self::Critical,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

/// Serde does not refuse unknown fields of a flattened struct, so the hash is taken out first.
#[derive(Deserialize)]
struct Entry {
    hash: String,
    #[serde(flatten)]
    rules: toml::Table,
}

/// The keys of a file.
///
/// # Errors
/// What is wrong, and with which key.
pub(super) fn parse(text: &str) -> Result<Vec<(KeyDigest, Rules)>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut keys: Vec<(KeyDigest, Rules)> = Vec::new();
    for (number, Entry { hash, rules }) in (1..).zip(file.key) {
        let rules: Rules = rules.try_into().map_err(|error| format!("key {number}: {error}"))?;
        let name = &rules.name;
        let Some(digest) = KeyDigest::parse(&hash) else {
            return Err(format!(
                "key {name:?}: hash must be \"sha256:\" and 64 hexadecimal digits, as `sm keys new` prints it"
            ));
        };
        if let Some((_, other)) = keys.iter().find(|(known, _)| known.matches(&digest)) {
            return Err(format!("the keys {:?} and {name:?} have the same hash; remove one", other.name));
        }
        keys.push((digest, rules));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_key_has_what_its_table_says_and_no_limits_otherwise() {
        let text = format!(
            "[[key]]\nname = \"a\"\nhash = \"{HASH}\"\nrequests_per_minute = 6\nmodels = [\"demo\"]\npriority = \"high\"\n"
        );
        let [(digest, rules)] = &parse(&text).unwrap()[..] else { panic!("one key") };
        assert!(digest.matches(&KeyDigest::of("abc")));
        let expected = Rules {
            name: "a".into(),
            requests_per_minute: Some(6),
            models: Some(vec!["demo".into()]),
            priority: KeyPriority::High,
            ..Rules::default()
        };
        assert_eq!(*rules, expected);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |rest: &str| format!("[[key]]\nhash = \"{HASH}\"\n{rest}\n");
        for (text, part) in [
            (key(""), "name"),
            (key("name = \"a\"\nreqests_per_minute = 3"), "reqests_per_minute"),
            (key("name = \"a\"\ntokens_per_minute = -1"), "-1"),
            (key("name = \"a\"\npriority = \"huge\""), "huge"),
            (key("name = \"a\"") + &key("name = \"b\""), "same hash"),
            ("[[key]]\nname = \"a\"\nhash = \"abc\"".into(), "sm keys new"),
            ("[[keys]]".into(), "keys"),
            ("[[key]".into(), "line 1"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
