//! Bodies that clients have compressed. Codex sends zstd.

use std::io::Read;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use ruzstd::decoding::StreamingDecoder;

use crate::error::ApiError;

/// The body as it was before it was compressed, of at most `limit` bytes.
///
/// # Errors
/// If the compression is unknown or damaged, or the body is larger.
pub(super) async fn decoded(parts: &mut Parts, body: Bytes, limit: usize) -> Result<Bytes, ApiError> {
    let encoding =
        parts.headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes().to_ascii_lowercase());
    match encoding.as_deref() {
        None | Some(b"" | b"identity") => return Ok(body),
        Some(b"zstd") => {}
        Some(other) => {
            let encoding = String::from_utf8_lossy(other);
            let message =
                format!("bodies compressed as {encoding:?} are not read; use zstd, or send it as it is");
            return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
    }
    parts.headers.remove(header::CONTENT_ENCODING);
    parts.headers.remove(header::CONTENT_LENGTH);
    let decoding = tokio::task::spawn_blocking(move || unzstd(&body, limit));
    let broken = |_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "decompressing the body failed");
    decoding.await.map_err(broken)?.map(Bytes::from)
}

fn unzstd(body: &[u8], limit: usize) -> Result<Vec<u8>, ApiError> {
    let damaged = |reason: String| {
        ApiError::new(StatusCode::BAD_REQUEST, format!("the body is not valid zstd: {reason}"))
    };
    let decoder = StreamingDecoder::new(body).map_err(|error| damaged(error.to_string()))?;
    let mut decoded = Vec::new();
    // A small body may hold a large one: no more is decoded than may be read.
    let mut bounded = decoder.take(limit as u64 + 1);
    bounded.read_to_end(&mut decoded).map_err(|error| damaged(error.to_string()))?;
    if decoded.len() > limit {
        let message = format!(
            "the body has more than {limit} bytes when decompressed; shorten it, or raise --max-body"
        );
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `zstd` makes of `{"input": "Hi"}`.
    const HI: &[u8] = &[
        40, 181, 47, 253, 36, 15, 121, 0, 0, 123, 34, 105, 110, 112, 117, 116, 34, 58, 32, 34, 72, 105, 34,
        125, 204, 193, 114, 218,
    ];

    #[test]
    fn a_body_is_decompressed_up_to_the_limit() {
        assert_eq!(unzstd(HI, 100).unwrap(), b"{\"input\": \"Hi\"}");
        assert!(unzstd(HI, 10).unwrap_err().to_string().contains("more than 10 bytes"));
        assert!(unzstd(b"no zstd", 10).unwrap_err().to_string().contains("not valid zstd"));
        assert!(unzstd(&HI[..HI.len() - 6], 100).is_err());
    }
}
