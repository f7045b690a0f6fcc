//! GGUF files by their names: quantization, parts, and what is no model of its own.

/// Words in the names of files that go with a model: projectors for images, importance matrices, draft heads.
const NO_MODELS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];

/// What is taken if nothing is named, as in llama.cpp.
const PREFERRED: [&str; 2] = ["Q4_K_M", "Q8_0"];

/// What the names of quantizations begin with, before a number of bits.
const KINDS: [&str; 8] = ["Q", "IQ", "TQ", "F", "BF", "FP", "MXFP", "NVFP"];

/// A file's name, taken apart: `PREFIX-00001-of-00003.gguf`.
struct Name<'a> {
    /// The path without number and extension.
    prefix: &'a str,
    /// Number and count, if the model is split.
    part: Option<(u32, u32)>,
}

impl<'a> Name<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let at = path.len().checked_sub(".gguf".len())?;
        let (stem, extension) = (path.get(..at)?, path.get(at..)?);
        if !extension.eq_ignore_ascii_case(".gguf") {
            return None;
        }
        let split = stem.rsplit_once("-of-").and_then(|(rest, count)| {
            let (prefix, number) = rest.rsplit_once('-')?;
            let parse = |digits: &str| (digits.len() == 5).then(|| digits.parse::<u32>().ok()).flatten();
            let (number, count) = (parse(number)?, parse(count)?);
            (1..=count).contains(&number).then_some((prefix, (number, count)))
        });
        Some(match split {
            Some((prefix, part)) => Self { prefix, part: Some(part) },
            None => Self { prefix: stem, part: None },
        })
    }

    fn is_first(&self) -> bool {
        self.part.is_none_or(|(number, _)| number == 1)
    }
}

/// Whether a file is a model, or a part of one.
pub(super) fn is_model(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    Name::of(path).is_some() && !NO_MODELS.iter().any(|word| file.contains(word))
}

/// The quantization that a file's name ends with: `Q4_K_M` of `x-Q4_K_M-00001-of-00002.gguf`.
pub(crate) fn quant(path: &str) -> Option<String> {
    let prefix = Name::of(path)?.prefix;
    let tag = prefix.rsplit(['-', '.', '/']).next()?;
    let tag = tag.to_ascii_uppercase();
    let is_quant = KINDS.iter().any(|kind| {
        tag.strip_prefix(kind).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    (is_quant && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(tag)
}

/// The first file, in order, whose path has `tag` as a word.
pub(super) fn with_quant<'a>(models: &[&'a str], tag: &str) -> Option<&'a str> {
    let tag = tag.to_ascii_uppercase();
    let matching = |is_match: &dyn Fn(&str) -> bool| {
        models
            .iter()
            .copied()
            .find(|path| Name::of(path).is_some_and(|name| name.is_first()) && is_match(path))
    };
    // `x-Q4_0.gguf` is meant by `Q4_0` rather than `Q4_0/x-F16.gguf`.
    matching(&|path| quant(path).is_some_and(|quant| quant == tag))
        .or_else(|| matching(&|path| has_word(&path.to_ascii_uppercase(), &tag)))
}

/// Whether `tag` stands in `path` between separators. `F16` is no word of `x-BF16.gguf`.
fn has_word(path: &str, tag: &str) -> bool {
    path.match_indices(tag).any(|(at, _)| {
        let before = path[..at].chars().next_back();
        let after = path[at + tag.len()..].chars().next();
        before.is_none_or(|c| matches!(c, '-' | '.' | '_' | '/'))
            && after.is_some_and(|c| matches!(c, '-' | '.' | '/'))
    })
}

/// The file of this path, or of this name if only one has it.
pub(super) fn named<'a>(models: &[&'a str], file: &str) -> Option<&'a str> {
    let is_named = |path: &&str| path.rsplit('/').next().is_some_and(|name| name.eq_ignore_ascii_case(file));
    let exact = models.iter().copied().find(|path| path.eq_ignore_ascii_case(file));
    exact.or_else(|| {
        let mut named = models.iter().copied().filter(is_named);
        named.next().filter(|_| named.next().is_none())
    })
}

/// What is taken if nothing is named.
pub(super) fn default<'a>(models: &[&'a str]) -> Option<&'a str> {
    let preferred = PREFERRED.iter().find_map(|tag| with_quant(models, tag));
    preferred.or_else(|| {
        let firsts = models.iter().copied().filter(|path| Name::of(path).is_some_and(|name| name.is_first()));
        firsts.min_by_key(|path| bits(path).abs_diff(4))
    })
}

/// The bits per weight that a name promises: 4 of `IQ4_XS`; many if it says nothing.
fn bits(path: &str) -> u32 {
    let digits = quant(path).unwrap_or_default();
    let digits = digits.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(32)
}

/// All parts of the model that `path` belongs to, in order, or the name of one that is missing.
pub(super) fn parts(models: &[&str], path: &str) -> Result<Vec<String>, String> {
    let Some(Name { prefix, part: Some((_, count)) }) = Name::of(path) else {
        return Ok(vec![path.to_owned()]);
    };
    let extension = &path[path.len() - ".gguf".len()..];
    let part = |number| {
        let name = format!("{prefix}-{number:05}-of-{count:05}{extension}");
        if models.contains(&name.as_str()) { Ok(name) } else { Err(name) }
    };
    (1..=count).map(part).collect()
}

/// What can be asked for.
pub(super) fn offered(models: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for path in models {
        let name = quant(path).unwrap_or_else(|| (*path).to_owned());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
