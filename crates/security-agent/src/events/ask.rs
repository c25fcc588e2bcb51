//! Asking the running security-agent, by HTTP over its unix socket.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atalaya_api::Sanitized;
use atalaya_config::Config;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// The longest answer.
const MAX: usize = 256 << 20;

/// The way to the explorer.
#[derive(Debug)]
pub(crate) struct Explorer {
    socket: PathBuf,
}

impl Explorer {
    pub(crate) fn of(config: &Config) -> Result<Self> {
        ensure!(
            config.explorer_enabled,
            "the explorer is off (explorer.enabled)"
        );
        Ok(Self {
            socket: config.explorer_socket.clone(),
        })
    }

    /// The answer to a question.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<Value> {
        self.ask(Method::GET, path, parameters).await
    }

    pub(crate) async fn post(&self, path: &str) -> Result<Value> {
        self.ask(Method::POST, path, &[]).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Value> {
        let query = parameters
            .iter()
            .find(|(name, _)| *name == "query")
            .map(|(_, query)| query.as_str());
        let response = self.send(method, path, parameters);
        let response = tokio::time::timeout(crate::explorer::PATIENCE, response);
        let late = || {
            format!(
                "security-agent does not answer within {} s",
                crate::explorer::PATIENCE.as_secs()
            )
        };
        let response = response.await.with_context(late)??;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX)
            .collect()
            .await
            .map_err(|error| match error.downcast_ref::<LengthLimitError>() {
                Some(_) => anyhow::anyhow!("the answer is longer than {} MiB", MAX >> 20),
                None => anyhow::anyhow!("the answer broke off: {error}"),
            })?;
        let answer: Value = serde_json::from_slice(&body.to_bytes())
            .context("what answers is no security-agent")?;
        if !status.is_success() {
            bail!(explained(&answer, query.unwrap_or_default()));
        }
        Ok(answer)
    }

    /// A stream of events; each of its lines as it comes.
    pub(crate) async fn lines(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        mut see: impl FnMut(&str) -> Result<bool>,
    ) -> Result<()> {
        let response = self.send(Method::GET, path, parameters).await?;
        if !response.status().is_success() {
            let body = Limited::new(response.into_body(), MAX).collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            let query = parameters.iter().find(|(name, _)| *name == "query");
            bail!(explained(
                &serde_json::from_slice(&body).unwrap_or_default(),
                query.map_or("", |(_, query)| query)
            ));
        }
        let mut body = response.into_body();
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.context("security-agent ended the stream")?;
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            ensure!(rest.len() < MAX, "a line is longer than {} MiB", MAX >> 20);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !see(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Response<Incoming>> {
        let socket = self.socket.display();
        let connected =
            tokio::time::timeout(Duration::from_secs(5), UnixStream::connect(&self.socket)).await;
        let stream = match connected
            .with_context(|| format!("nobody accepts connections at {socket}"))?
        {
            Ok(stream) => stream,
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                bail!(
                    "no permission to open {socket} (run this as root or as the user `security_agent.user`)"
                )
            }
            Err(_) => bail!(
                "security-agent is not running, or runs without its explorer: nobody answers at {socket} (start it with `security-agent \
                 start`, or check `explorer.socket`)"
            ),
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let parameters: Vec<String> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}?{}", parameters.join("&")))
            .header(header::HOST, "localhost")
            .body(Empty::<Bytes>::new())?;
        sender
            .send_request(request)
            .await
            .context("security-agent does not answer")
    }
}

/// The error in an answer, in the words of the API. Its place is shown on standard error.
fn explained(answer: &Value, query: &str) -> String {
    let error = &answer["error"];
    let text = |key: &str| error[key].as_str();
    let message = text("message").unwrap_or("security-agent refused, and does not say why");
    let mut explained = message.to_owned();
    let place = |key: &str| {
        error["position"][key]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok())
    };
    if let (Some(start), Some(end)) = (place("start"), place("end")) {
        let located = atalaya_store::QueryError {
            message: message.to_owned(),
            start,
            end,
            hint: text("hint").map(str::to_owned),
        };
        for line in located.snippet(query).lines() {
            eprintln!("{}", Sanitized(line));
        }
        return located.to_string();
    }
    if let Some(hint) = text("hint") {
        explained.push_str(&format!(" ({hint})"));
    }
    explained
}

/// As a part of an address.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
