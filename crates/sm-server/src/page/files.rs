//! The files that the page consists of, as they are embedded.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Content, tag};

/// A file of `ui/dist/`.
#[derive(Clone, Copy, Debug)]
pub(super) struct File {
    /// Its path there. What ends with `.gz` is served under the name without that, compressed.
    pub(super) path: &'static str,
    pub(super) bytes: &'static [u8],
}

macro_rules! files {
    ($($path:literal)*) => {
        &[$(File { path: $path, bytes: include_bytes!(concat!("../../ui/dist/", $path)) },)*]
    };
}

/// All files. Fonts are compressed as they are; what people may want to read without a browser is not.
pub(super) const FILES: &[File] = files![
    "index.html"
    "ui/icon.svg"
    "ui/tabs.json"
    "ui/licences.txt.gz"
    "ui/page.css.gz"
    "ui/page.js.gz"
    "ui/KaTeX_AMS-Regular.woff2"
    "ui/KaTeX_Caligraphic-Bold.woff2"
    "ui/KaTeX_Caligraphic-Regular.woff2"
    "ui/KaTeX_Fraktur-Bold.woff2"
    "ui/KaTeX_Fraktur-Regular.woff2"
    "ui/KaTeX_Main-Bold.woff2"
    "ui/KaTeX_Main-BoldItalic.woff2"
    "ui/KaTeX_Main-Italic.woff2"
    "ui/KaTeX_Main-Regular.woff2"
    "ui/KaTeX_Math-BoldItalic.woff2"
    "ui/KaTeX_Math-Italic.woff2"
    "ui/KaTeX_SansSerif-Bold.woff2"
    "ui/KaTeX_SansSerif-Italic.woff2"
    "ui/KaTeX_SansSerif-Regular.woff2"
    "ui/KaTeX_Script-Regular.woff2"
    "ui/KaTeX_Size1-Regular.woff2"
    "ui/KaTeX_Size2-Regular.woff2"
    "ui/KaTeX_Size3-Regular.woff2"
    "ui/KaTeX_Size4-Regular.woff2"
    "ui/KaTeX_Typewriter-Regular.woff2"
];

/// Extensions, and the types that they stand for.
const KINDS: [(&str, &str); 7] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("woff2", "font/woff2"),
];

/// The tags of all files by their paths.
static TAGS: LazyLock<HashMap<&'static str, String>> =
    LazyLock::new(|| FILES.iter().map(|file| (file.path, tag(file.bytes))).collect());

impl File {
    /// The file that is served under a name.
    pub(super) fn of_name(name: &str) -> Option<&'static Self> {
        FILES.iter().find(|file| file.name() == name)
    }

    /// The name under which it is served.
    pub(super) fn name(&self) -> &'static str {
        let path = self.path.strip_suffix(".gz").unwrap_or(self.path);
        path.rsplit('/').next().unwrap_or(path)
    }

    /// Its type, by its extension.
    pub(super) fn kind(&self) -> Option<&'static str> {
        let (_, extension) = self.name().rsplit_once('.')?;
        KINDS.iter().find(|(known, _)| *known == extension).map(|(_, kind)| *kind)
    }

    pub(super) fn content(&self) -> Content {
        Content {
            kind: self.kind().unwrap_or("application/octet-stream"),
            is_compressed: self.path.ends_with(".gz"),
            bytes: self.bytes.into(),
            tag: TAGS.get(self.path).cloned().unwrap_or_default(),
        }
    }
}
