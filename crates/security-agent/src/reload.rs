//! The configuration of a running security-agent: read again on SIGHUP, and when system-probe says so (`config reload`, `config set`).

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use atalaya_api::{Client, proto};
use atalaya_cli::logging::{self, LogControl};
use atalaya_config::{Config, Loaded, Severity};
use atalaya_host::Notifier;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::record::Host;
use crate::store::Rotation;

/// How long after an end of the stream another one is asked for.
const PAUSE: Duration = Duration::from_secs(2);

/// Values that were set at run time.
type Overrides = Vec<(&'static str, String)>;
/// Reads the configuration, with these values over it.
pub(crate) type Read = Box<dyn Fn(&[(&'static str, String)]) -> Result<Loaded>>;

/// What of the configuration counts at once.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) rotation: Rotation,
    pub(crate) host: Host,
}

impl Live {
    pub(crate) fn of(config: &Config) -> Self {
        let from_environment = config.env_as_tags.iter().filter_map(|name| {
            let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
            Some(format!("{name}:{value}"))
        });
        Self {
            rotation: Rotation {
                max_bytes: config.events_file_max_size_mb.saturating_mul(1 << 20),
                max_files: config.events_file_max_files,
            },
            host: Host {
                name: match config.hostname.as_str() {
                    "" => rustix::system::uname()
                        .nodename()
                        .to_string_lossy()
                        .into_owned(),
                    name => name.to_owned(),
                },
                tags: config
                    .tags
                    .iter()
                    .cloned()
                    .chain(from_environment)
                    .collect(),
            },
        }
    }
}

/// What is needed to read the configuration again.
pub(crate) struct Reloader {
    pub(crate) loaded: Loaded,
    pub(crate) read: Read,
    pub(crate) log: LogControl,
    pub(crate) live: watch::Sender<Live>,
}

impl Reloader {
    /// Reads it again whenever somebody asks.
    pub(crate) async fn follow(mut self, notifier: &Notifier) -> Result<Infallible> {
        let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
        let (forward, mut told) = mpsc::channel(1);
        tokio::spawn(listen(self.loaded.config.socket.clone(), forward));
        let mut overrides = Overrides::new();
        let mut generation = 0;
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                Some(change) = told.recv() => {
                    let now = overrides_of(&change);
                    // The first word of a connection tells what was set before; mostly nothing.
                    let is_news = change.generation > generation || now != overrides;
                    generation = change.generation;
                    overrides = now;
                    if !is_news {
                        continue;
                    }
                }
            }
            notifier.reloading();
            self.renew(&overrides);
            notifier.ready("storing events");
        }
    }

    /// Reads it again. What cannot be understood changes nothing: with it all its settings would fall back to their defaults.
    fn renew(&mut self, overrides: &Overrides) {
        let newer = match (self.read)(overrides) {
            Ok(newer) => newer,
            Err(error) => {
                tracing::error!(
                    "cannot read the configuration again: {error:#}; the former one stays"
                );
                return;
            }
        };
        logging::problems(&newer.problems);
        let is_error = |p: &atalaya_config::Problem| p.severity == Severity::Error;
        if newer.problems.iter().any(is_error) {
            tracing::error!("the configuration has errors; the former one stays");
            return;
        }
        let changes = self.loaded.take_over(newer);
        self.log.set(self.loaded.config.log_level);
        for change in &changes {
            let (key, before, after) = (change.key, &change.before, &change.after);
            if change.in_force {
                tracing::info!("{key}: {after} (was {before})");
            } else {
                tracing::warn!("{key}: {after} counts after a restart; until then it is {before}");
            }
        }
        self.live.send_replace(Live::of(&self.loaded.config));
        tracing::info!("the configuration was read again");
    }
}

fn overrides_of(change: &proto::ConfigChange) -> Overrides {
    let set = change.overrides.iter();
    set.filter_map(|set| Some((atalaya_config::key(&set.key)?.name, set.value.clone())))
        .collect()
}

/// Hears from system-probe, again and again; ends with who listens.
async fn listen(socket: PathBuf, forward: mpsc::Sender<proto::ConfigChange>) {
    loop {
        let mut client = Client::connect_patiently(&socket, |_, _| {}).await;
        let asked = client.commands.watch_config(proto::WatchConfigParams {});
        if let Ok(stream) = asked.await {
            let mut stream = stream.into_inner();
            while let Ok(Some(change)) = stream.message().await {
                if forward.send(change).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
