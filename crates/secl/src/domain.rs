//! The domain that somebody registered, of a host name.

use std::borrow::Cow;

/// The registrable domain of a host name, by the public suffix list: `b.co.uk` of `a.b.co.uk`. A name without one (`co.uk`,
/// `localhost`) is returned whole, without the dot at its end.
pub fn root_domain(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    // The list is in lower case; what it finds is an end of the name, as long in any case of letters.
    let lower = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    psl::domain_str(&lower)
        .and_then(|domain| host.len().checked_sub(domain.len()))
        .and_then(|start| host.get(start..))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::root_domain;

    #[test]
    fn root_domains() {
        for (host, root) in [
            ("www.example.com", "example.com"),
            ("example.com", "example.com"),
            ("a.b.c.example.co.uk", "example.co.uk"),
            ("A.Example.CO.UK", "Example.CO.UK"),
            ("example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("x.example.com.au.", "example.com.au"),
            ("a.b.de", "b.de"),
            ("x.y.kawasaki.jp", "x.y.kawasaki.jp"),
            ("x.y.tokyo.jp", "y.tokyo.jp"),
            ("a.user.github.io", "user.github.io"),
            ("a.b.notalisted", "b.notalisted"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(root_domain(host), root, "{host}");
        }
    }

    #[test]
    fn never_more_than_the_name_has() {
        for host in ["..", ".", "a..b", ".com", "é.com", "İ.co.uk", "a.\u{0}.com"] {
            assert!(host.contains(root_domain(host)), "{host}");
        }
    }
}
