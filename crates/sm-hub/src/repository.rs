//! What the hub says a repository holds.

use std::io::Read as _;

use serde::Deserialize;
use ureq::http::HeaderMap;

use crate::digest::Checksum;
use crate::error::HubError;
use crate::http::{Failed, Http, Subject, answer, interrupted};
use crate::names::{encoded, is_commit, is_path};

/// The largest list of files that is read.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// A repository at one commit.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(crate) commit: String,
    pub(crate) files: Vec<RemoteFile>,
}

/// A file of a repository.
#[derive(Clone, Debug)]
pub(crate) struct RemoteFile {
    /// Its path, with `/`.
    pub(crate) path: String,
    pub(crate) contents: Option<Contents>,
}

/// What a file has to be.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    pub(crate) size: u64,
    pub(crate) checksum: Checksum,
}

#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: Option<u64>,
}

impl Repository {
    /// Lists the repository.
    pub(crate) fn list(http: &Http, subject: &Subject<'_>) -> Result<Self, HubError> {
        let Subject { endpoint, repo, revision, .. } = *subject;
        let url = format!("{endpoint}/api/models/{repo}/revision/{}?blobs=true", encoded(revision, ""));
        let bytes = http.retrying(&url, |_| {
            let body = http.get(&url, 0, subject)?.into_body();
            let mut bytes = Vec::new();
            let read = body.into_reader().take(MAX_LIST_BYTES + 1).read_to_end(&mut bytes);
            read.map_err(|error| interrupted(&url, error))?;
            Ok::<_, Failed>(bytes)
        })?;
        if bytes.len() as u64 > MAX_LIST_BYTES {
            return Err(answer(&url, "a list of files without end"));
        }
        let listing: Listing = serde_json::from_slice(&bytes)
            .map_err(|error| answer(&url, &format!("what is no list of files ({error})")))?;
        if !is_commit(&listing.sha) {
            return Err(answer(&url, &format!("a commit called {:?}", listing.sha)));
        }
        // Names that could leave the folder of the model are no files of it.
        let siblings = listing.siblings.into_iter().filter(|sibling| is_path(&sibling.rfilename));
        let mut files: Vec<_> = siblings.map(RemoteFile::from).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { commit: listing.sha, files })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

impl From<Sibling> for RemoteFile {
    fn from(sibling: Sibling) -> Self {
        let Sibling { rfilename, size, blob_id, lfs } = sibling;
        let (size, hex) = match lfs {
            Some(lfs) => (lfs.size.or(size), Some(lfs.sha256)),
            None => (size, blob_id),
        };
        let checksum = hex.as_deref().and_then(Checksum::of_hex);
        let contents = size.zip(checksum).map(|(size, checksum)| Contents { size, checksum });
        Self { path: rfilename, contents }
    }
}

/// The address of a file.
pub(crate) fn address(endpoint: &str, repo: &str, commit: &str, path: &str) -> String {
    format!("{endpoint}/{repo}/resolve/{commit}/{}", encoded(path, "/"))
}

impl Contents {
    /// Asks for the file alone, where the list did not say enough, as mirrors' may.
    pub(crate) fn ask(http: &Http, url: &str, subject: &Subject<'_>) -> Result<Self, HubError> {
        let headers = http.retrying(url, |_| http.head(url, subject))?;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // A redirect has an etag and a length of its own.
        let is_redirect = headers.contains_key("location");
        let own = |name: &str| text(name).filter(|_| !is_redirect);
        let etag = text("x-linked-etag").or_else(|| own("etag"));
        let size = text("x-linked-size").or_else(|| own("content-length"));
        let checksum =
            etag.and_then(|etag| Checksum::of_hex(etag.trim_start_matches("W/").trim_matches('"')));
        match (size.and_then(|size| size.trim().parse().ok()), checksum) {
            (Some(size), Some(checksum)) => Ok(Self { size, checksum }),
            _ => Err(answer(url, &format!("neither size nor checksum ({})", names(&headers)))),
        }
    }
}

fn names(headers: &HeaderMap) -> String {
    headers.keys().map(|name| name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_are_known_by_sha256_and_small_ones_by_gits_hash() {
        let (long, short) = ("ab".repeat(32), "cd".repeat(20));
        let listing: Listing = serde_json::from_str(&format!(
            r#"{{"sha": "x", "siblings": [
                {{"rfilename": "a", "size": 9, "blobId": "{short}", "lfs": {{"sha256": "{long}", "size": 7, "pointerSize": 1}}}},
                {{"rfilename": "b", "size": 9, "blobId": "{short}"}}, {{"rfilename": "c"}}]}}"#
        ))
        .unwrap();
        let files: Vec<_> = listing.siblings.into_iter().map(RemoteFile::from).collect();
        let known = |index: usize| {
            files[index].contents.as_ref().map(|contents| (contents.size, contents.checksum.hex().len()))
        };
        assert_eq!([known(0), known(1), known(2)], [Some((7, 64)), Some((9, 40)), None]);
    }
}
