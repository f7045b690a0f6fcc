//! TLS without C: rustls with graviola's cryptography, and the certificates that this machine trusts.
//!
//! graviola is Rust and the assembler of s2n-bignum, whose correctness is proved by machine; no compiler but rustc runs. It
//! exists for x86-64 (since about 2013) and 64-bit ARM. Rejected: aws-lc-rs and ring compile C; rustls-rustcrypto asks not
//! to be used in production. The machine's certificates, not a list in the program: that way a company's own authority
//! and a revoked one are known here as well, and `SSL_CERT_FILE` names others.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How our clients connect: with the certificates that this machine trusts.
///
/// # Errors
/// If it trusts none, or this processor lacks what the cryptography needs.
pub fn config() -> Result<TlsConfig, String> {
    let provider = crypto_provider().ok_or_else(unsupported)?;
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let cause = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "this machine has no list of certificates that it trusts{cause}; install ca-certificates, or set SSL_CERT_FILE to such a list"
        ));
    }
    let certificates =
        found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect::<Vec<_>>();
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(certificates)))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// The cryptography of TLS connections, also for a server; `None` if this processor lacks what it needs.
#[cfg(target_arch = "x86_64")]
pub fn crypto_provider() -> Option<Arc<CryptoProvider>> {
    // It panics without one of these.
    let is_supported = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq")
        && std::arch::is_x86_feature_detected!("bmi1")
        && std::arch::is_x86_feature_detected!("bmi2")
        && std::arch::is_x86_feature_detected!("adx")
        && std::arch::is_x86_feature_detected!("avx")
        && std::arch::is_x86_feature_detected!("avx2");
    is_supported.then(|| Arc::new(rustls_graviola::default_provider()))
}

/// The cryptography of TLS connections, also for a server; `None` if this processor lacks what it needs.
#[cfg(target_arch = "aarch64")]
pub fn crypto_provider() -> Option<Arc<CryptoProvider>> {
    let is_supported = std::arch::is_aarch64_feature_detected!("neon")
        && std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
    is_supported.then(|| Arc::new(rustls_graviola::default_provider()))
}

/// The cryptography of TLS connections, also for a server; `None` if this processor lacks what it needs.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn crypto_provider() -> Option<Arc<CryptoProvider>> {
    None
}

fn unsupported() -> String {
    "this processor lacks what our TLS needs (AES, AVX2 and ADX, or those of 64-bit ARM); set HF_ENDPOINT to a mirror with http://, or fetch the model with `hf download`, whose cache sm reads".to_owned()
}
