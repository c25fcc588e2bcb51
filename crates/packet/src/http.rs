//! The beginning of a request or an answer of HTTP/1, as far as it was captured.

/// Headers beyond which no more are read.
const MAX_HEADERS: usize = 64;

/// A request or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// What is asked for.
    Request {
        /// `GET`, `PUT`, …
        method: &'a str,
        /// The path and the query.
        target: &'a str,
    },
    /// How it ended.
    Response {
        /// The status code.
        status: u16,
    },
}

/// A message. What follows the headers is there as far as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The first line.
    pub start: Start<'a>,
    headers: Vec<(&'a str, &'a str)>,
    /// The body, or its beginning.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a message. `None` for what begins as none, or whose first line was cut.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (first, mut rest) = line(bytes)?;
        let start = start_line(std::str::from_utf8(first).ok()?)?;
        let mut headers = Vec::new();
        // The last line may be cut: then it has no end, and is left out.
        while let Some((text, after)) = line(rest) {
            rest = after;
            if text.is_empty() {
                return Some(Self {
                    start,
                    headers,
                    body: rest,
                });
            }
            let header = std::str::from_utf8(text).ok();
            if let Some((name, value)) = header.and_then(|header| header.split_once(':'))
                && headers.len() < MAX_HEADERS
            {
                headers.push((name.trim(), value.trim()));
            }
        }
        Some(Self {
            start,
            headers,
            body: &[],
        })
    }

    /// The value of a header, whatever the case of its name; empty where it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &'a str {
        let found = self.headers.iter();
        found
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
            .next()
            .unwrap_or_default()
    }

    /// Whether the header is there.
    #[must_use]
    pub fn has_header(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }
}

/// A line, without its end, and what follows.
fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = (bytes.get(..end)?, bytes.get(end + 1..)?);
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

fn start_line(line: &str) -> Option<Start<'_>> {
    let mut words = line.split(' ').filter(|word| !word.is_empty());
    let (first, second) = (words.next()?, words.next()?);
    if first.starts_with("HTTP/") {
        let status = second.parse().ok().filter(|status| *status < 1000)?;
        return Some(Start::Response { status });
    }
    // The first version had no third word; such a request has no headers either.
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/"));
    let is_method = first.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_http && is_method).then_some(Start::Request {
        method: first,
        target: second,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_request() {
        let text = b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nuser-agent:  curl/8 \r\nX-Y:\r\n\r\nbody";
        let message = Message::parse(text).unwrap();
        assert_eq!(
            message.start,
            Start::Request {
                method: "PUT",
                target: "/latest/api/token"
            }
        );
        assert_eq!(message.header("host"), "169.254.169.254");
        assert_eq!(message.header("User-Agent"), "curl/8");
        assert!(message.has_header("x-y") && !message.has_header("z"));
        assert_eq!(message.body, b"body");
    }

    #[test]
    fn an_answer() {
        let message = Message::parse(b"HTTP/1.1 200 OK\nServer: EC2ws\n\n{}").unwrap();
        assert_eq!(message.start, Start::Response { status: 200 });
        assert_eq!(message.header("server"), "EC2ws");
        assert_eq!(message.body, b"{}");
    }

    #[test]
    fn what_was_cut() {
        let message = Message::parse(b"GET /a HTTP/1.1\r\nHost: x\r\nUser-Ag").unwrap();
        assert_eq!(message.header("host"), "x");
        assert!(!message.has_header("User-Ag"));
        assert!(Message::parse(b"GET /a HTTP/1.1").is_none());
    }

    #[test]
    fn what_is_no_http() {
        for text in [
            "",
            "\n",
            "GET\n",
            "get / HTTP/1.1\n",
            "GET / FTP\n",
            "HTTP/1.1 abc\n",
            "HTTP/1.1 65535\n",
        ] {
            assert!(Message::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
