//! Proxies as curl and Python understand the variables for them.

use ureq::Proxy;

use crate::error::HubError;
use crate::settings::Proxies;

/// The proxy for addresses that begin with `scheme`.
pub(super) fn proxy(proxies: &Proxies, scheme: &str) -> Result<Option<Proxy>, HubError> {
    let (name, address) =
        if scheme == "https" { ("HTTPS_PROXY", &proxies.https) } else { ("HTTP_PROXY", &proxies.http) };
    let Some(address) = address else { return Ok(None) };
    let refused = || HubError::Setting {
        name,
        value: without_password(address),
        reason: "it has to be the address of an HTTP proxy, http://HOST:PORT",
    };
    let parsed = Proxy::new(address).map_err(|_| refused())?;
    // Only these are compiled in.
    if !matches!(parsed.protocol(), ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https) {
        return Err(refused());
    }
    let mut builder = Proxy::builder(parsed.protocol()).host(parsed.host()).port(parsed.port());
    if let Some(username) = parsed.username() {
        builder = builder.username(username);
    }
    if let Some(password) = parsed.password() {
        builder = builder.password(password);
    }
    for host in exempt_hosts(&proxies.exempt) {
        builder = builder.no_proxy(&host);
    }
    builder.build().map(Some).map_err(|_| refused())
}

/// The entries of `no_proxy`: `example.com` and `.example.com` both mean the domain and what is below it.
fn exempt_hosts(list: &str) -> Vec<String> {
    let entries = list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty());
    let both = entries.flat_map(|entry| match entry.trim_start_matches("*.").trim_start_matches('.') {
        "*" => vec!["*".to_owned()],
        domain => vec![domain.to_owned(), format!(".{domain}")],
    });
    both.collect()
}

fn without_password(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_exempt_with_what_is_below_them() {
        let proxies = Proxies {
            https: Some("http://me:secret@proxy:3128".to_owned()),
            exempt: "localhost, .internal.example, *.other".to_owned(),
            ..Proxies::default()
        };
        let proxy = super::proxy(&proxies, "https").unwrap().unwrap();
        assert_eq!((proxy.host(), proxy.port(), proxy.password()), ("proxy", 3128, Some("secret")));
        for (host, is_exempt) in [
            ("localhost", true),
            ("hub.internal.example", true),
            ("internal.example", true),
            ("x.other", true),
            ("notinternal.example", false),
            ("huggingface.co", false),
        ] {
            let address = format!("https://{host}/x").parse().unwrap();
            assert_eq!(proxy.is_no_proxy(&address), is_exempt, "{host}");
        }
        assert!(super::proxy(&proxies, "http").unwrap().is_none());
    }

    #[test]
    fn what_is_no_http_proxy_is_refused_without_its_password() {
        for address in ["socks5://me:secret@p:1", "://me:secret@p"] {
            let proxies = Proxies { https: Some(address.to_owned()), ..Proxies::default() };
            let error = super::proxy(&proxies, "https").unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
        }
    }
}
