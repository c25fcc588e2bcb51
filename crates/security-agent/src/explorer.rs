//! The explorer as a part of `start`, and the command `explorer`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use atalaya_api::Account;
use atalaya_cli::ask::{out, patiently, runtime};
use atalaya_config::Config;
use atalaya_explorer::{Hooks, Listeners, Settings};
use atalaya_store::Options;
use tokio::sync::watch;

use crate::events::ask::Explorer;
use crate::record;
use crate::reload::Live;
use crate::state::State;

/// `explorer …`
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Command {
    /// Print the address of the web page, with a token that is good for one browser within ten minutes
    #[command(after_help = "Examples:
  explorer url
  xdg-open \"$(security-agent explorer url)\"
  ssh -L 5012:127.0.0.1:5012 root@node security-agent explorer url     then open it here, while this goes on")]
    Url,
}

impl Command {
    pub(crate) fn run(&self, config: &Config) -> Result<ExitCode> {
        let Self::Url = self;
        let explorer = Explorer::of(config)?;
        let token = runtime()?.block_on(patiently(explorer.post("/token")))?;
        let (port, token) = (&token["port"], token["token"].as_str().unwrap_or_default());
        let host = match config.explorer_host {
            host if host.is_unspecified() => "127.0.0.1".to_owned(),
            host if host.is_ipv6() => format!("[{host}]"),
            host => host.to_string(),
        };
        out(&format!("http://{host}:{port}/#token={token}\n"));
        Ok(ExitCode::SUCCESS)
    }
}

fn settings(config: &Config) -> Option<Settings> {
    let Ok(port) = u16::try_from(config.explorer_port) else {
        tracing::error!(
            "explorer.port: {} is no port: no explorer",
            config.explorer_port
        );
        return None;
    };
    let mega = |mega: u64| mega.saturating_mul(1 << 20);
    Some(Settings {
        dir: config.explorer_dir.clone(),
        socket: config.explorer_socket.clone(),
        host: config.explorer_host,
        port,
        probe: config.socket.clone(),
        store: Options {
            max_bytes: mega(config.explorer_max_size_mb),
            max_age: config.explorer_max_age.get(),
            memory_bytes: usize::try_from(mega(config.explorer_memory_mb.clamp(15, 1024)))
                .unwrap_or(15 << 20),
            min_free_bytes: mega(config.explorer_min_free_mb),
            ..Options::default()
        },
    })
}

/// Begins to listen. To be called before anything is forbidden to this process. Where that cannot be done events are stored all the same.
pub(crate) fn listen(config: &Config) -> Option<Listeners> {
    if !config.explorer_enabled {
        return None;
    }
    let settings = settings(config)?;
    let group = match Account::own().0 {
        0 => Account::of_agent(&config.agent_user).map(|user| user.gid),
        _ => None,
    };
    atalaya_explorer::listen(&settings, group)
        .inspect_err(|error| tracing::warn!("no explorer: {error}"))
        .ok()
}

/// Takes events and answers from now on. That it cannot is told, and is no reason not to store events in the file.
pub(crate) fn start(
    config: &Config,
    listeners: Listeners,
    state: &Arc<State>,
    live: watch::Receiver<Live>,
) {
    let Some(settings) = settings(config) else {
        return;
    };
    let state = Arc::clone(state);
    let hooks = Hooks {
        document: Box::new(move |message| record::line(message, &live.borrow().host)),
        agent_status: Box::new(move || state.json()),
        probe_status: |status| serde_json::to_value(status).unwrap_or_default(),
    };
    if let Err(error) = atalaya_explorer::start(&settings, listeners, hooks) {
        tracing::error!("no explorer: {error}");
    }
}

/// How long a search of the command line may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
