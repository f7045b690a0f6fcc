//! The little that is needed of addresses: whose they are, where a redirect leads, and how to show them.

/// Scheme, host and port of an address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// The origin of an `http://` or `https://` address.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: ureq::http::Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = uri.authority()?;
        // What stands before an @ is no host, and nothing that we would send.
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().to_ascii_lowercase();
        Some(Self { host, port: authority.port_u16().unwrap_or(default_port), scheme })
    }
}

/// Where a redirect from `url` to `location` leads: an address, or a path on the same host.
pub(super) fn join(url: &str, location: &str) -> Option<String> {
    let origin = Origin::of(url)?;
    let next = if location.starts_with("//") {
        format!("{}:{location}", origin.scheme)
    } else if location.starts_with('/') {
        let (scheme, rest) = url.split_once("://")?;
        format!("{scheme}://{}{location}", rest.split(['/', '?', '#']).next()?)
    } else {
        location.to_owned()
    };
    Origin::of(&next)?;
    Some(next)
}

/// An address without its query, which may hold a signature.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_apart() {
        let same = |a, b| Origin::of(a).is_some() && Origin::of(a) == Origin::of(b);
        assert!(same("https://Hub.example/a", "https://hub.example:443/b?c"));
        for other in [
            "http://hub.example/a",
            "https://hub.example:8443/a",
            "https://hub.example.evil/a",
            "https://evil/hub.example",
            "https://hub.example@evil/a",
        ] {
            assert!(!same("https://hub.example/a", other), "{other}");
        }
    }

    #[test]
    fn redirects_lead_to_addresses_and_paths() {
        let from = "https://hub:8443/a/b?x=1";
        for (location, expected) in [
            ("/c/d?e", Some("https://hub:8443/c/d?e")),
            ("//cdn/x", Some("https://cdn/x")),
            ("http://cdn/x", Some("http://cdn/x")),
            ("c", None),
            ("file:///etc/passwd", None),
            ("", None),
        ] {
            assert_eq!(join(from, location).as_deref(), expected, "{location}");
        }
    }
}
