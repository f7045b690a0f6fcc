//! Where models come from and go to: the variables that Python's `huggingface_hub` reads, and no others.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::HubError;

/// The hub itself.
const ENDPOINT: &str = "https://huggingface.co";

/// How a [`Hub`](crate::Hub) works. [`HubSettings::from_env`] reads the variables that Python's `huggingface_hub` reads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HubSettings {
    /// The folder of the cache (`HF_HUB_CACHE`, or `hub` in `HF_HOME`).
    pub cache: PathBuf,
    /// The hub (`HF_ENDPOINT`), without a slash at the end.
    pub endpoint: String,
    /// The token that is sent to the hub, and to no other host (`HF_TOKEN`, or the file that `hf auth login` writes).
    pub token: Option<Token>,
    /// Whether connections are forbidden (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Whether snapshots hold links to blobs, not the files themselves (unless `HF_HUB_DISABLE_SYMLINKS`).
    pub links: bool,
    /// Proxies.
    pub proxies: Proxies,
    /// Attempts without any progress before a connection is given up.
    pub attempts: u32,
    /// The pause after the first attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// How long a connection may be silent (`HF_HUB_DOWNLOAD_TIMEOUT`, in seconds).
    pub max_silence: Duration,
}

/// A secret for the hub. It is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub(crate) secret: String,
    pub(crate) origin: String,
}

impl Token {
    /// A token, and where it came from, for messages: `HF_TOKEN`, or a file.
    pub fn new(secret: impl Into<String>, origin: impl Into<String>) -> Self {
        Self { secret: secret.into(), origin: origin.into() }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.origin)
    }
}

/// Which proxies connections go through.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// For `http://` (`http_proxy`, or `all_proxy`).
    pub http: Option<String>,
    /// For `https://` (`https_proxy`, or `all_proxy`).
    pub https: Option<String>,
    /// Hosts without proxy, separated by commas (`no_proxy`).
    pub exempt: String,
}

impl fmt::Debug for Proxies {
    /// Without addresses, which may hold passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [http, https] = [&self.http, &self.https].map(Option::is_some);
        f.debug_struct("Proxies")
            .field("http", &http)
            .field("https", &https)
            .field("exempt", &self.exempt)
            .finish()
    }
}

impl HubSettings {
    /// Settings for a cache and a hub, with everything else at its default.
    pub fn new(cache: impl Into<PathBuf>, endpoint: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            endpoint: endpoint.into().trim_end_matches('/').to_owned(),
            token: None,
            offline: false,
            links: true,
            proxies: Proxies::default(),
            attempts: 6,
            first_pause: Duration::from_millis(500),
            max_silence: Duration::from_secs(30),
        }
    }

    /// The settings of the environment.
    ///
    /// # Errors
    /// If there is no home folder to put the cache in, or a variable has a value that makes no sense.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_variables(&|name| env::var_os(name), env::home_dir().as_deref())
    }

    fn from_variables(get: &dyn Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Result<Self, HubError> {
        let get_path = |name: &str| {
            let path = get(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
            Some(match (path.strip_prefix("~"), home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path,
            })
        };
        let text = |name: &str| get(name).and_then(|v| v.into_string().ok()).filter(|v| !v.trim().is_empty());
        let is_set = |name: &str| text(name).is_some_and(|value| is_true(&value));
        let default_home = || {
            let cache = get_path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")))?;
            Some(cache.join("huggingface"))
        };
        let hf_home = get_path("HF_HOME").or_else(default_home);
        let cache = get_path("HF_HUB_CACHE")
            .or_else(|| get_path("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(hf_home.as_ref()?.join("hub")));
        let Some(cache) = cache else {
            let reason = "there is no home folder; set it to the folder where models shall be";
            return Err(HubError::Setting { name: "HF_HUB_CACHE", value: String::new(), reason });
        };
        let mut settings = Self::new(cache, text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()));
        if !["http://", "https://"].iter().any(|scheme| settings.endpoint.starts_with(scheme)) {
            let reason = "it has to begin with https:// or http://";
            return Err(HubError::Setting { name: "HF_ENDPOINT", value: settings.endpoint, reason });
        }
        if !is_set("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
            let token_file = get_path("HF_TOKEN_PATH").or_else(|| Some(hf_home?.join("token")));
            let given = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]
                .into_iter()
                .find_map(|name| Token::checked(&text(name)?, name.to_owned()));
            settings.token = given.or_else(|| Token::of_file(&token_file?));
        }
        settings.offline = is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE");
        settings.links = !is_set("HF_HUB_DISABLE_SYMLINKS");
        let either = |names: [&str; 2]| names.into_iter().find_map(text);
        let any = either(["all_proxy", "ALL_PROXY"]);
        settings.proxies = Proxies {
            http: either(["http_proxy", "HTTP_PROXY"]).or_else(|| any.clone()),
            https: either(["https_proxy", "HTTPS_PROXY"]).or(any),
            exempt: either(["no_proxy", "NO_PROXY"]).unwrap_or_default(),
        };
        if let Some(value) = text("HF_HUB_DOWNLOAD_TIMEOUT") {
            let seconds = value.trim().parse().ok().filter(|seconds| (1..=86_400).contains(seconds));
            let reason = "it has to be a number of seconds from 1 to 86400";
            let refused = HubError::Setting { name: "HF_HUB_DOWNLOAD_TIMEOUT", value, reason };
            settings.max_silence = Duration::from_secs(seconds.ok_or(refused)?);
        }
        Ok(settings)
    }
}

impl Token {
    fn of_file(path: &Path) -> Option<Self> {
        // Without a file, or without the right to read it, nobody is logged in.
        Self::checked(&std::fs::read_to_string(path).ok()?, path.display().to_string())
    }

    /// A token that may stand in a header.
    fn checked(text: &str, origin: String) -> Option<Self> {
        let secret = text.trim();
        let is_token = !secret.is_empty() && secret.bytes().all(|byte| byte.is_ascii_graphic());
        is_token.then(|| Self::new(secret, origin))
    }
}

/// As `huggingface_hub` reads switches.
fn is_true(value: &str) -> bool {
    ["1", "ON", "YES", "TRUE"].contains(&value.trim().to_ascii_uppercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, HubError> {
        let get = |name: &str| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| OsString::from(value))
        };
        HubSettings::from_variables(&get, Some(Path::new("/h")))
    }

    #[test]
    fn the_cache_is_where_python_has_it() {
        for (variables, expected) in [
            (&[] as &[(&str, &str)], "/h/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")], "/h/hf/hub"),
            (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HF_HUB_CACHE", "/new"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/new"),
            (&[("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ] {
            assert_eq!(settings(variables).unwrap().cache, Path::new(expected), "{variables:?}");
        }
    }

    #[test]
    fn switches_tokens_and_proxies_are_read() {
        let all = settings(&[
            ("HF_ENDPOINT", "http://mirror:1/"),
            ("HF_TOKEN", " hf_x\n"),
            ("HF_HUB_OFFLINE", "yes"),
            ("HF_HUB_DISABLE_SYMLINKS", "1"),
            ("HTTPS_PROXY", "http://user:secret@p:1"),
            ("all_proxy", "http://q:1"),
            ("no_proxy", "a, .b"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "7"),
        ])
        .unwrap();
        assert_eq!((all.endpoint.as_str(), all.offline, all.links), ("http://mirror:1", true, false));
        assert_eq!(all.token, Some(Token::new("hf_x", "HF_TOKEN")));
        assert_eq!(all.proxies.http.as_deref(), Some("http://q:1"));
        assert_eq!(all.proxies.https.as_deref(), Some("http://user:secret@p:1"));
        assert_eq!(all.max_silence, Duration::from_secs(7));
        let shown = format!("{all:?}");
        assert!(!shown.contains("hf_x") && !shown.contains("secret"), "{shown}");
        let implicit = settings(&[("HF_TOKEN", "x"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]).unwrap();
        assert_eq!(implicit.token, None);
        for (name, value) in [("HF_ENDPOINT", "mirror"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")] {
            assert!(settings(&[(name, value)]).unwrap_err().to_string().contains(name));
        }
    }

    #[test]
    fn a_token_comes_from_the_file_of_a_login() {
        let dir = std::env::temp_dir().join(format!("sm-hub-token-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("token"), "hf_file\n").unwrap();
        let path = dir.to_str().unwrap();
        let found = settings(&[("HF_HOME", path)]).unwrap().token.unwrap();
        assert_eq!(found.secret, "hf_file");
        assert_eq!(settings(&[("HF_HOME", path), ("HF_TOKEN", "a")]).unwrap().token.unwrap().secret, "a");
        std::fs::remove_dir_all(dir).unwrap();
    }
}
