//! What the hub means by a status, in words that say what to do.

use std::time::Duration;

use ureq::Body;
use ureq::http::Response;

use super::Failed;
use super::url::{Origin, shown};
use crate::error::HubError;
use crate::settings::Token;

/// What a request is about, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) repo: &'a str,
    pub(crate) revision: &'a str,
    /// The file, or nothing if the repository is listed.
    pub(crate) file: Option<&'a str>,
    pub(crate) token: Option<&'a Token>,
}

/// The failure that a response stands for.
pub(super) fn of(response: &Response<Body>, url: &str, subject: &Subject<'_>) -> Failed {
    let status = response.status().as_u16();
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let is_hub = Origin::of(url) == Origin::of(subject.endpoint);
    let &Subject { endpoint, repo, revision, .. } = subject;
    let has_token = subject.token.is_some();
    let page = format!("{endpoint}/{repo}");
    let general = || HubError::Status {
        url: shown(url),
        status,
        message: header("x-error-message")
            .map(|text| text.chars().filter(|c| !c.is_control()).take(300).collect()),
    };
    let no_repository =
        || HubError::NoRepository { endpoint: endpoint.to_owned(), repo: repo.to_owned(), has_token };
    let error = match (status, header("x-error-code")) {
        (429, _) => {
            let after_s = header("retry-after").and_then(|text| text.trim().parse::<u64>().ok());
            let after_s = after_s.or_else(|| seconds_of_rate_limit(header("ratelimit")?));
            let error = HubError::RateLimited { endpoint: endpoint.to_owned(), after_s, has_token };
            return Failed::Again(error, after_s.map(|s| Duration::from_secs(s.max(1))));
        }
        // Addresses of other hosts are signed for some time; the hub will give a new one.
        (401 | 403, _) if !is_hub => return Failed::Again(general(), None),
        (408 | 500 | 502..=504, _) => return Failed::Again(general(), None),
        (_, Some("GatedRepo")) => HubError::Gated { repo: repo.to_owned(), url: page, has_token },
        (_, Some("RevisionNotFound")) => no_revision(repo, revision, &page),
        (404, Some("EntryNotFound")) => HubError::NoSuchFile {
            repo: repo.to_owned(),
            wanted: subject.file.unwrap_or("such file").to_owned(),
            available: Vec::new(),
        },
        // The hub says 401 for what does not exist, too, so as not to tell what exists.
        (401, code) => match subject.token {
            Some(token) if code.is_none() => {
                HubError::Token { endpoint: endpoint.to_owned(), origin: token.origin.clone() }
            }
            _ => no_repository(),
        },
        (403, _) => HubError::Gated { repo: repo.to_owned(), url: page, has_token },
        (404, _) if is_hub => no_repository(),
        _ => general(),
    };
    Failed::Final(error)
}

fn no_revision(repo: &str, revision: &str, page: &str) -> HubError {
    let url = format!("{page}/tree/main");
    HubError::NoRevision { repo: repo.to_owned(), revision: revision.to_owned(), url }
}

/// `t` of `"api";r=0;t=123`: the seconds until requests are allowed again.
fn seconds_of_rate_limit(header: &str) -> Option<u64> {
    header.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_read_from_the_hubs_own_header() {
        assert_eq!(seconds_of_rate_limit("\"api\";r=0;t=123"), Some(123));
        assert_eq!(seconds_of_rate_limit("\"api\""), None);
    }
}
