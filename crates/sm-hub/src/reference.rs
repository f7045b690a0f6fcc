//! Names of models on the hub, as people write them.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;
use crate::names::{is_revision, is_segment};

/// Prefixes that people copy along from an address bar or from Ollama.
const PREFIXES: [&str; 6] = [
    "https://huggingface.co/",
    "https://hf.co/",
    "http://huggingface.co/",
    "huggingface.co/",
    "hf.co/",
    "hf://",
];

/// A model of the hub: `ORGANIZATION/NAME[:QUANT|:FILE][@REVISION]`.
///
/// ```
/// let model: sm_hub::HubRef = "Qwen/Qwen3-0.6B-GGUF:q8_0@main".parse()?;
/// assert_eq!(model.repo(), "Qwen/Qwen3-0.6B-GGUF");
/// # Ok::<(), sm_hub::HubError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HubRef {
    repo: String,
    pub(crate) wanted: Wanted,
    revision: Option<String>,
}

/// Which files of a repository make up the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wanted {
    /// What the repository offers.
    Default,
    /// The GGUF file of this quantization.
    Quant(String),
    /// This file, with the other parts if it is split.
    File(String),
}

impl HubRef {
    /// The repository: `ORGANIZATION/NAME`.
    pub fn repo(&self) -> &str {
        &self.repo
    }

    /// The branch, tag or commit, if one is given.
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The same repository with another file, at the commit or branch given.
    pub(crate) fn new(repo: &str, wanted: Wanted, revision: Option<&str>) -> Self {
        Self { repo: repo.to_owned(), wanted, revision: revision.map(str::to_owned) }
    }
}

impl FromStr for HubRef {
    type Err = HubError;

    fn from_str(text: &str) -> Result<Self, HubError> {
        let refuse = |reason| Err(HubError::Reference { text: text.to_owned(), reason });
        let rest = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let (rest, revision) = match rest.split_once('@') {
            Some((rest, revision)) => (rest, Some(revision)),
            None => (rest, None),
        };
        if revision.is_some_and(|revision| !is_revision(revision)) {
            return refuse("its revision is no name of a branch, tag or commit");
        }
        let (repo, wanted) = match rest.split_once(':') {
            Some((repo, wanted)) => (repo, Some(wanted)),
            None => (rest, None),
        };
        let is_repo = repo.split_once('/').is_some_and(|(organization, name)| {
            is_segment(organization) && is_segment(name) && !repo.contains("--") && !repo.contains("..")
        });
        if !is_repo || repo.len() > 96 {
            return refuse("a repository is an organization and a name of letters, digits, '-', '_' and '.'");
        }
        let wanted = match wanted {
            None => Wanted::Default,
            Some(file) if file.to_ascii_lowercase().ends_with(".gguf") && file.split('/').all(is_segment) => {
                Wanted::File(file.to_owned())
            }
            // Ollama's word for "whichever".
            Some(tag) if tag.eq_ignore_ascii_case("latest") => Wanted::Default,
            Some(quant) if is_segment(quant) => Wanted::Quant(quant.to_owned()),
            Some(_) => return refuse("what follows the colon is neither a quantization nor a GGUF file"),
        };
        Ok(Self { repo: repo.to_owned(), wanted, revision: revision.map(str::to_owned) })
    }
}

impl fmt::Display for HubRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match &self.wanted {
            Wanted::Default => {}
            Wanted::Quant(name) | Wanted::File(name) => write!(f, ":{name}")?,
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        for (text, repo, wanted, revision) in [
            ("a/b", "a/b", Wanted::Default, None),
            ("hf.co/a/b:q4_k_m", "a/b", Wanted::Quant("q4_k_m".into()), None),
            ("https://huggingface.co/a/b.c_d-1", "a/b.c_d-1", Wanted::Default, None),
            (
                "a/b:x/y-00001-of-00002.gguf@v1.0",
                "a/b",
                Wanted::File("x/y-00001-of-00002.gguf".into()),
                Some("v1.0"),
            ),
            ("a/b@refs/pr/7", "a/b", Wanted::Default, Some("refs/pr/7")),
            ("a/b:latest", "a/b", Wanted::Default, None),
        ] {
            let parsed: HubRef = text.parse().unwrap();
            assert_eq!(
                (parsed.repo(), &parsed.wanted, parsed.revision()),
                (repo, &wanted, revision),
                "{text}"
            );
        }
        assert_eq!("a/b:Q8_0@x".parse::<HubRef>().unwrap().to_string(), "a/b:Q8_0@x");
    }

    #[test]
    fn names_that_could_leave_the_cache_are_refused() {
        for text in [
            "",
            "a",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/b:",
            "a/b:../x.gguf",
            "a/b:/x.gguf",
            "a/b:.x",
            "a/b@",
            "a/b@../x",
            "a/b@/x",
            "a/b@x//y",
            "a/b@x\\y",
            "a/b\\c",
            "a/b c",
            "a--b/c",
            "a/b:x/y",
            "a/b\0",
            "a/b:..\\x.gguf",
            "./a",
            "~/a",
            "a/b@-x",
        ] {
            let error = text.parse::<HubRef>().unwrap_err();
            assert!(matches!(error, HubError::Reference { .. }), "{text}: {error}");
        }
    }
}
