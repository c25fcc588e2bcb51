//! The domain that somebody registered, of a host name.

/// Labels that registries of two-letter domains use for a second level (`co.uk`). A short stand-in for the public suffix
/// list: enough for what rules compare with, at no cost in memory.
const SECOND_LEVEL: [&str; 24] = [
    "ac", "co", "com", "edu", "go", "gob", "gov", "govt", "gub", "id", "info", "ltd", "me", "mil",
    "ne", "net", "nhs", "nom", "or", "org", "plc", "police", "sch", "web",
];

/// The registrable domain of a host name: `b.co.uk` of `a.b.co.uk`. A name with fewer labels is returned whole.
pub fn root_domain(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut dots = host
        .bytes()
        .enumerate()
        .rev()
        .filter(|(_, byte)| *byte == b'.')
        .map(|(at, _)| at);
    let (Some(last), Some(second)) = (dots.next(), dots.next()) else {
        return host;
    };
    let country = host.len() - last - 1 == 2;
    let label = &host[second + 1..last];
    if country
        && SECOND_LEVEL
            .iter()
            .any(|known| known.eq_ignore_ascii_case(label))
    {
        return dots.next().map_or(host, |third| &host[third + 1..]);
    }
    &host[second + 1..]
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
            ("example.co.uk", "example.co.uk"),
            ("x.example.com.au.", "example.com.au"),
            ("a.b.de", "b.de"),
            ("localhost", "localhost"),
            ("", ""),
            ("..", "."),
        ] {
            assert_eq!(root_domain(host), root, "{host}");
        }
    }
}
