//! What security-agent answers by HTTP: `/metrics`, `/healthz`, `/livez`, `/status`. Nothing can be changed by it.
//!
//! It has a thread of its own, so that an answer does not wait for a disk, and storing does not wait for who asks.

mod metrics;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use atalaya_api::Client;
use atalaya_api::proto::{GetStatusParams, Status};
use atalaya_config::Config;
use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::state::State;
use atalaya_explorer::Bounded;

/// How long system-probe may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// For how long its answer is good: many who ask at once are one who asks.
const FRESH: Duration = Duration::from_millis(500);

/// Connections at once. Others wait.
const AT_ONCE: usize = 32;
/// How long one may last; who scrapes connects again.
const LONGEST: Duration = Duration::from_secs(15);

/// What a scraper of metrics expects.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Begins to listen. To be called before anything is forbidden to this process. That the port is taken is no reason not to store
/// events.
pub(crate) fn listen(config: &Config) -> Option<TcpListener> {
    let port = u16::try_from(config.agent_expvar_port).ok();
    let Some(port) = port else {
        tracing::error!(
            "security_agent.expvar_port: {} is no port: no metrics",
            config.agent_expvar_port
        );
        return None;
    };
    if port == 0 {
        return None;
    }
    let address = SocketAddr::new(config.agent_expvar_host, port);
    if !address.ip().is_loopback() {
        tracing::warn!(
            "metrics are not on loopback but on {address}: everybody who reaches it can read them"
        );
    }
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound
        .inspect_err(|error| {
            tracing::warn!("no metrics on {address}: {error} (security_agent.expvar_port)");
        })
        .ok()
}

/// Answers, on a thread of its own, for as long as the process lives.
pub(crate) fn serve(config: &Config, listener: TcpListener, state: Arc<State>) -> Result<()> {
    let address = listener.local_addr().context("cannot listen")?;
    let runtime = atalaya_cli::ask::runtime()?;
    let server = Arc::new(Server {
        socket: config.socket.clone(),
        local: address.ip(),
        state,
        known: Mutex::new(None),
    });
    std::thread::Builder::new()
        .name("http".into())
        .spawn(move || {
            let ended = runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                let listener = Bounded::new(listener, AT_ONCE, LONGEST);
                axum::serve(listener, routes(server)).await
            });
            if let Err(error) = ended {
                tracing::error!("no metrics any more: {error}");
            }
        })
        .context("cannot start the thread that answers")?;
    tracing::info!("metrics and health on http://{address}");
    Ok(())
}

struct Server {
    socket: PathBuf,
    local: IpAddr,
    state: Arc<State>,
    known: Mutex<Option<(Instant, Answer)>>,
}

/// What system-probe said, or why it did not.
type Answer = Result<Arc<Status>, String>;

fn routes(server: Arc<Server>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/status", get(status))
        .layer(from_fn_with_state(Arc::clone(&server), known_names))
        .with_state(server)
}

/// Refuses who came here by another name: a page in a browser that has its own name point to this host.
async fn known_names(
    Shared(server): Shared<Arc<Server>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    if server.local.is_loopback() && !host.is_none_or(is_loopback) {
        let text = "this is for programs on this host: http://127.0.0.1\n";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    next.run(request).await
}

/// Whether this is a name of this host, with or without a port.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Server {
    /// What system-probe says of itself.
    async fn probe(&self) -> Answer {
        let mut known = self.known.lock().await;
        if let Some((at, answer)) = known.as_ref()
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match tokio::time::timeout(PATIENCE, ask(&self.socket)).await {
            Ok(Ok(status)) => Ok(Arc::new(status)),
            Ok(Err(error)) => Err(atalaya_api::chain(error.as_ref())),
            Err(_) => Err(format!(
                "system-probe does not answer within {} s",
                PATIENCE.as_secs()
            )),
        };
        *known = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Why not all is well, with both programs.
    async fn unhealthy_because(&self) -> Vec<String> {
        let mut reasons = self.state.unhealthy_because();
        match self.probe().await {
            Ok(status) => {
                let of_probe = status.reasons.iter();
                reasons.extend(of_probe.map(|reason| format!("system-probe: {reason}")));
            }
            Err(error) => reasons.push(error),
        }
        reasons
    }
}

async fn ask(socket: &std::path::Path) -> Result<Status> {
    let mut client = Client::connect(socket).await?;
    let answered = client.commands.get_status(GetStatusParams::default()).await;
    Ok(answered
        .map_err(|status| anyhow::anyhow!("{}", status.message()))?
        .into_inner())
}

async fn metrics(Shared(server): Shared<Arc<Server>>) -> Response {
    let probe = server.probe().await;
    match metrics::text(probe.ok().as_deref(), &server.state) {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// 200 while both programs are well, 503 with the reasons when not.
async fn healthz(Shared(server): Shared<Arc<Server>>) -> Response {
    health(server.unhealthy_because().await)
}

/// 200 while this program goes on, whatever system-probe does: for who restarts it when not.
async fn livez(Shared(server): Shared<Arc<Server>>) -> Response {
    let hangs = "security-agent hangs".to_owned();
    health(if server.state.is_alive() {
        Vec::new()
    } else {
        vec![hangs]
    })
}

fn health(reasons: Vec<String>) -> Response {
    let code = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    answer(
        code,
        &json!({"healthy": reasons.is_empty(), "reasons": reasons}),
    )
}

/// What security-agent knows of itself.
async fn status(Shared(server): Shared<Arc<Server>>) -> Response {
    answer(StatusCode::OK, &server.state.json())
}

fn answer(code: StatusCode, value: &Value) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    (code, json, format!("{value}\n")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_host_are_known() {
        for known in [
            "localhost",
            "localhost:5011",
            "127.0.0.1:5011",
            "[::1]:5011",
            "[::1]",
            "127.0.0.1",
        ] {
            assert!(is_loopback(known), "{known}");
        }
        for other in [
            "evil.example:5011",
            "10.0.0.1",
            "localhost.evil.example",
            "",
            "[",
            "[::2]:1",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
