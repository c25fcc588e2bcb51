//! Asking a running security-agent for its own state: over its HTTP port on this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use atalaya_config::Config;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer.
const MAX: u64 = 64 << 10;

/// What security-agent says of itself.
///
/// Whoever else has the port may answer as well: what comes is for people to read, not to act on.
pub(crate) async fn status(config: &Config) -> Result<Value> {
    let port = u16::try_from(config.agent_expvar_port).unwrap_or(0);
    ensure!(
        port != 0,
        "it does not listen (security_agent.expvar_port is {})",
        config.agent_expvar_port
    );
    let address = SocketAddr::new(reachable(config.agent_expvar_host), port);
    match timeout(PATIENCE, get(address)).await {
        Ok(answer) => answer,
        Err(_) => bail!(
            "nothing answers on {address} within {} s",
            PATIENCE.as_secs()
        ),
    }
}

/// Where one that listens on all addresses is found.
fn reachable(host: IpAddr) -> IpAddr {
    match host {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        known => known,
    }
}

async fn get(address: SocketAddr) -> Result<Value> {
    let mut stream = TcpStream::connect(address)
        .await
        .with_context(|| format!("not running, or nobody listens on {address}"))?;
    let request = format!("GET /status HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX).read_to_end(&mut answer).await?;
    let other = || format!("what listens on {address} is no security-agent");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").with_context(other)?;
    ensure!(head.split(' ').nth(1) == Some("200"), other());
    let value: Value = serde_json::from_str(body).with_context(other)?;
    ensure!(value["program"] == "security-agent", other());
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Asks a server that answers this, and then says nothing more.
    fn ask(answer: &'static str) -> Result<Value> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config {
            agent_expvar_port: listener.local_addr().unwrap().port().into(),
            ..Config::default()
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        });
        let answer = crate::ask::runtime().unwrap().block_on(status(&config));
        server.join().unwrap();
        answer
    }

    #[test]
    fn another_program_on_the_port_is_not_taken_for_security_agent() {
        for other in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n{}",
            "HTTP/1.1 404 Not Found\r\n\r\n{\"program\":\"security-agent\"}",
            "SSH-2.0-OpenSSH_9.9\r\n",
        ] {
            let error = ask(other).unwrap_err().to_string();
            assert!(error.contains("is no security-agent"), "{other}: {error}");
        }
        let good = ask("HTTP/1.1 200 OK\r\n\r\n{\"program\":\"security-agent\",\"pid\":7}");
        assert_eq!(good.unwrap()["pid"], 7);
    }

    #[test]
    fn a_port_that_is_switched_off_is_not_asked() {
        let config = Config {
            agent_expvar_port: 0,
            ..Config::default()
        };
        let error = crate::ask::runtime().unwrap().block_on(status(&config));
        assert!(error.unwrap_err().to_string().contains("expvar_port is 0"));
    }
}
