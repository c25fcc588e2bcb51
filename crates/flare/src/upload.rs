//! Sending the archive.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use ureq::http::{Response, Uri};
use ureq::{Agent, Body as AnswerBody, SendBody};

use crate::multipart::{self, Body};
use crate::{Finished, answer, tls};

/// How long a connection, and an answer to a small request, may take.
const CONNECT: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(15);
/// How long sending may take, and how slow a receiver may be beyond that.
const SEND: Duration = Duration::from_secs(60);
const BYTES_PER_SECOND: u64 = 64 << 10;
/// How often is tried, redirects are followed, and how much of an answer is read.
const TRIES: u32 = 3;
const REDIRECTS: usize = 5;
const MAX_ANSWER: u64 = 64 << 10;

/// What is to be sent where.
#[derive(Debug)]
pub struct Upload<'a> {
    /// To whom.
    pub to: &'a Destination,
    /// The archive.
    pub archive: &'a Finished,
    /// Who sends; may be empty.
    pub api_key: &'a str,
    /// The case it belongs to; empty: a new one.
    pub case_id: &'a str,
    /// Whom to answer.
    pub email: &'a str,
    /// The version of this program.
    pub version: &'a str,
    /// The name of this host.
    pub hostname: &'a str,
    /// Certificates that the receiver's must come from.
    pub ca_file: Option<PathBuf>,
}

/// Why the archive has not arrived. It is what the person at the terminal reads.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// Nobody can be asked this way.
    #[error("{0}")]
    Setup(String),
    /// The address that it belongs to cannot be found.
    #[error("Could not determine flare URL via redirects: {0}")]
    Redirects(String),
    /// The receiver cannot be reached, or does not take it.
    #[error("cannot send the flare to {0}: {1}")]
    Unreachable(String, String),
    /// The receiver has answered, and not well.
    #[error("{0}")]
    Refused(String),
}

/// An address that archives may go to: `https`, or `http` on this machine only, because the archive and the key must not be read on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    base: String,
    host: String,
}

/// Why an address is none for archives.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is no address for flares: {why}")]
pub struct DestinationError {
    url: String,
    why: &'static str,
}

impl Destination {
    /// Reads an address.
    ///
    /// # Errors
    /// It is none, or what is sent there could be read on the way.
    pub fn new(url: &str) -> Result<Self, DestinationError> {
        let error = |why| DestinationError {
            url: shown(url),
            why,
        };
        let uri: Uri = url.trim().parse().map_err(|_| error("it is no URL"))?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| error("it names no host"))?;
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(error("it must not have a user or password"));
        }
        if uri.query().is_some() {
            return Err(error("it must not have a query"));
        }
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if matches!(host, "localhost" | "127.0.0.1" | "[::1]") => {}
            Some("http") => {
                return Err(error(
                    "http is readable on the way; it is allowed on this machine only, so use https",
                ));
            }
            _ => return Err(error("it must begin with https://")),
        }
        let port = uri
            .port_u16()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        Ok(Self {
            base: url.trim().trim_end_matches('/').to_owned(),
            host: format!("{host}{port}"),
        })
    }

    /// Where the support of a site takes flares.
    ///
    /// # Errors
    /// The site's name is none.
    pub fn of_site(site: &str, version: &str) -> Result<Self, DestinationError> {
        let version: Vec<&str> = version.split(['.', '-', '+']).take(3).collect();
        Self::new(&format!("https://{}-flare.agent.{site}", version.join("-")))
    }

    /// The host that gets it, for the question to a person.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn url(&self, case_id: &str) -> String {
        let case: String = case_id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect();
        let end = if case.is_empty() {
            String::new()
        } else {
            format!("/{case}")
        };
        format!("{}/support/flare{end}", self.base)
    }
}

/// Without what may be a password.
fn shown(url: &str) -> String {
    atalaya_scrub::Scrubber::default().scrub(url)
}

/// Sends the archive and returns what the receiver says. `progress` is told how many bytes have gone; `wait` of each failure that is followed by
/// another try.
///
/// # Errors
/// It has not arrived. The archive is still there.
pub fn upload(
    what: &Upload<'_>,
    progress: &mut dyn FnMut(u64),
    wait: &mut dyn FnMut(&str, Duration),
) -> Result<String, UploadError> {
    let tls = tls::config(what.ca_file.as_deref()).map_err(UploadError::Setup)?;
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(SEND))
        .user_agent(format!("atalaya-security-agent/{}", what.version))
        .build()
        .into();
    let url = resolve(&agent, what, wait)?;
    let host = Destination::new(&url).map_or_else(|_| url.clone(), |to| to.host);
    let mut pause = Duration::from_secs(1);
    for attempt in 1.. {
        let failure = match send(&agent, what, &url, progress) {
            Ok((status, _)) if attempt < TRIES && (status == 429 || status >= 500) => {
                format!("HTTP {status}")
            }
            Ok((status, body)) => {
                return answer::read(status, &body, what.api_key).map_err(UploadError::Refused);
            }
            Err(Failure::Final(why)) => return Err(UploadError::Unreachable(host, why)),
            Err(Failure::Again(why)) if attempt >= TRIES => {
                return Err(UploadError::Unreachable(host, why));
            }
            Err(Failure::Again(why)) => why,
        };
        wait(&failure, pause);
        std::thread::sleep(pause);
        pause *= 3;
    }
    Err(UploadError::Setup("it was never tried".into()))
}

/// Whether another try may help.
enum Failure {
    Again(String),
    Final(String),
}

impl Failure {
    fn of(error: &ureq::Error) -> Self {
        let text = error.to_string();
        match error {
            // Who is silent once will be silent again, and somebody waits at the terminal.
            ureq::Error::Timeout(what) => Self::Final(format!("no answer in time ({what})")),
            ureq::Error::Io(io)
                if io
                    .get_ref()
                    .is_some_and(|e| e.to_string().contains("certificate")) =>
            {
                Self::Final(format!(
                    "{io}; for an authority of your own set security_agent.ca_file or SSL_CERT_FILE"
                ))
            }
            ureq::Error::Io(_) | ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => {
                Self::Again(text)
            }
            _ => Self::Final(text),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Again(text) | Self::Final(text) => text,
        }
    }
}

/// Where the request must go at last: asks with HEAD, as often as it is sent elsewhere.
fn resolve(
    agent: &Agent,
    what: &Upload<'_>,
    wait: &mut dyn FnMut(&str, Duration),
) -> Result<String, UploadError> {
    let mut url = what.to.url(what.case_id);
    let secure = url.starts_with("https://");
    for _ in 0..=REDIRECTS {
        let mut pause = Duration::from_secs(1);
        let mut attempt = 1;
        let response = loop {
            let asked = agent
                .head(&url)
                .header("DD-API-KEY", what.api_key)
                .config()
                .timeout_global(Some(HEAD))
                .build()
                .call();
            match asked.map_err(|e| Failure::of(&e)) {
                Ok(response)
                    if attempt < TRIES
                        && (response.status().as_u16() == 429
                            || response.status().is_server_error()) =>
                {
                    wait(&format!("HTTP {}", response.status().as_u16()), pause);
                }
                Ok(response) => break response,
                Err(Failure::Again(why)) if attempt < TRIES => wait(&why, pause),
                Err(failure) => return Err(UploadError::Redirects(failure.text())),
            }
            std::thread::sleep(pause);
            pause *= 3;
            attempt += 1;
        };
        let status = response.status().as_u16();
        match status {
            // Not every receiver knows HEAD.
            200..=299 | 404 | 405 => return Ok(url),
            // The key is the receiver's to judge, with the words for it.
            403 => return Err(UploadError::Refused(refusal(status, what.api_key))),
            301 | 302 | 303 | 307 | 308 => {
                let next = location(&response, &url).map_err(UploadError::Redirects)?;
                if secure && !next.starts_with("https://") {
                    return Err(UploadError::Redirects(format!(
                        "{} sends elsewhere without encryption",
                        what.to.host
                    )));
                }
                Destination::new(&next).map_err(|e| UploadError::Redirects(e.to_string()))?;
                url = next;
            }
            _ => return Err(UploadError::Redirects(format!("HTTP {status}"))),
        }
    }
    Err(UploadError::Redirects(format!(
        "more than {REDIRECTS} redirects"
    )))
}

fn refusal(status: u16, key: &str) -> String {
    answer::read(status, b"", key).err().unwrap_or_default()
}

/// The absolute address of a redirect.
fn location(response: &Response<AnswerBody>, from: &str) -> Result<String, String> {
    let to = response
        .headers()
        .get("location")
        .and_then(|to| to.to_str().ok());
    let to = to
        .filter(|to| !to.is_empty())
        .ok_or_else(|| format!("HTTP {} without a location", response.status().as_u16()))?;
    if to.contains("://") {
        return Ok(to.to_owned());
    }
    let origin_end = from
        .find("://")
        .and_then(|at| from[at + 3..].find('/').map(|slash| at + 3 + slash));
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(format!("{}{to}", &from[..origin_end.unwrap_or(from.len())]));
    }
    Err(format!(
        "a redirect to `{}`, which is no address",
        shown(to)
    ))
}

fn send(
    agent: &Agent,
    what: &Upload<'_>,
    url: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<(u16, Vec<u8>), Failure> {
    let broken = |e: std::io::Error| {
        Failure::Final(format!("cannot read {}: {e}", what.archive.path.display()))
    };
    let file = what.archive.open().map_err(broken)?;
    let boundary = multipart::boundary().map_err(broken)?;
    let name = what
        .archive
        .path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy();
    let fields = [
        ("case_id", what.case_id),
        ("email", what.email),
        ("source", "security-agent"),
        ("agent_version", what.version),
        ("hostname", what.hostname),
    ];
    let mut body = Body::new(&boundary, &fields, &name, file, progress);
    let limit = SEND + Duration::from_secs(what.archive.bytes / BYTES_PER_SECOND);
    let response = agent
        .post(url)
        .header("DD-API-KEY", what.api_key)
        .header(
            "Content-Type",
            format!("multipart/form-data; boundary={boundary}"),
        )
        .config()
        .timeout_global(Some(limit))
        .build()
        // Without a length: in chunks.
        .send(SendBody::from_reader(&mut body))
        .map_err(|e| Failure::of(&e))?;
    let status = response.status().as_u16();
    let mut text = Vec::new();
    let read = response
        .into_body()
        .into_reader()
        .take(MAX_ANSWER)
        .read_to_end(&mut text);
    read.map_err(|e| Failure::Final(format!("HTTP {status}, and the answer broke off: {e}")))?;
    Ok((status, text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn addresses() {
        for (url, asked) in [
            ("https://h.example", "https://h.example/support/flare/12"),
            (
                "https://h.example:8443/base/",
                "https://h.example:8443/base/support/flare/12",
            ),
            (
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8080/support/flare/12",
            ),
        ] {
            assert_eq!(Destination::new(url).unwrap().url("12"), asked);
        }
        assert_eq!(
            Destination::new("https://h").unwrap().url("../x?y=1"),
            "https://h/support/flare/xy1"
        );
        assert_eq!(
            Destination::of_site("datadoghq.eu", "0.1.0")
                .unwrap()
                .url(""),
            "https://0-1-0-flare.agent.datadoghq.eu/support/flare"
        );
        for url in [
            "http://h.example",
            "ftp://h",
            "h.example",
            "",
            "https://",
            "https://bob:hunter2@h",
            "https://h/?a=1",
        ] {
            let error = Destination::new(url).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
