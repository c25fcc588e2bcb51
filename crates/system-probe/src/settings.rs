//! The configuration of a running system-probe: read again on SIGHUP and `config reload`, changed by `config set`, told by `config`.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use atalaya_api::{ControlError, SettingsControl, proto};
use atalaya_cli::logging::{self, LogControl};
use atalaya_config::{Change, Config, Effect, KEYS, Loaded, Origin, Severity};
use tokio::sync::watch;

/// Reads the configuration, with values that were set at run time.
pub(crate) type Read = Box<dyn Fn(&[(&'static str, String)]) -> Result<Loaded> + Send + Sync>;
/// Puts it in force. Returns how many rules are loaded and how many were refused.
pub(crate) type Apply = Box<dyn Fn(&Config) -> Result<(u32, u32), String> + Send + Sync>;

/// The configuration of a running system-probe.
pub(crate) struct Settings {
    read: Read,
    apply: Apply,
    log: LogControl,
    state: Mutex<State>,
    changed: watch::Sender<proto::ConfigChange>,
}

struct State {
    loaded: Loaded,
    runtime: Vec<(&'static str, String)>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

impl Settings {
    /// With what the program was started with.
    pub(crate) fn new(loaded: Loaded, log: LogControl, read: Read, apply: Apply) -> Arc<Self> {
        Arc::new(Self {
            read,
            apply,
            log,
            state: Mutex::new(State {
                loaded,
                runtime: Vec::new(),
            }),
            changed: watch::Sender::default(),
        })
    }

    /// SIGHUP: reads it again, and logs what came of it.
    pub(crate) fn hangup(&self) {
        let mut state = self.state();
        let runtime = state.runtime.clone();
        if let Err(error) = self.renew(&mut state, runtime) {
            tracing::error!("{error}");
            // That the configuration is broken is no reason not to read the policies.
            match (self.apply)(&state.loaded.config) {
                Ok((loaded, refused)) => tracing::info!(
                    "policies were read again: {loaded} rules loaded, {refused} rejected"
                ),
                Err(error) => {
                    tracing::error!(
                        "cannot read the policies again: {error}; the former rules stay"
                    );
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads everything again with these values over it. A file that cannot be understood changes nothing: with it all its settings would
    /// fall back to their defaults.
    fn renew(
        &self,
        state: &mut State,
        runtime: Vec<(&'static str, String)>,
    ) -> Result<proto::ReloadConfigMessage, ControlError> {
        let stays = "the former configuration stays";
        let newer = (self.read)(&runtime).map_err(|error| {
            ControlError::Failed(format!(
                "cannot read the configuration again: {error:#}; {stays}"
            ))
        })?;
        let mut errors = newer
            .problems
            .iter()
            .filter(|p| p.severity == Severity::Error);
        if let Some(first) = errors.next() {
            let more = match errors.count() {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            return Err(ControlError::Failed(format!("{first}{more}; {stays}")));
        }
        let problems = told(&newer);
        logging::problems(&newer.problems);
        let changes = state.loaded.take_over(newer);
        state.runtime = runtime;
        self.log.set(state.loaded.config.log_level);
        for change in &changes {
            log(change);
        }
        // The policies are read again whether or not a setting is different: that is what SIGHUP always meant.
        let (rules_loaded, rules_failed) = match (self.apply)(&state.loaded.config) {
            Ok(counts) => {
                tracing::info!(
                    "policies were read again: {} rules loaded, {} rejected",
                    counts.0,
                    counts.1
                );
                counts
            }
            Err(error) => {
                let error =
                    format!("cannot read the policies again: {error}; the former rules stay");
                return Err(ControlError::Failed(error));
            }
        };
        Ok(proto::ReloadConfigMessage {
            changes: changes.into_iter().map(change).collect(),
            problems,
            rules_loaded,
            rules_failed,
            told: 0,
        })
    }

    /// Lets those that watch read theirs. Returns how many these are.
    fn tell(&self, state: &State) -> u32 {
        let overrides = state.runtime.iter();
        let overrides = overrides
            .map(|(key, value)| proto::SetSettingParams {
                key: (*key).to_owned(),
                value: value.clone(),
                unset: false,
            })
            .collect();
        self.changed.send_modify(|change| {
            change.generation += 1;
            change.overrides = overrides;
        });
        u32::try_from(self.changed.receiver_count()).unwrap_or(u32::MAX)
    }
}

fn told(loaded: &Loaded) -> Vec<String> {
    let problems = loaded.problems.iter();
    problems
        .filter(|p| p.severity >= Severity::Warning)
        .map(ToString::to_string)
        .collect()
}

fn change(change: Change) -> proto::SettingChange {
    proto::SettingChange {
        key: change.key.to_owned(),
        before: change.before,
        after: change.after,
        in_force: change.in_force,
    }
}

fn log(change: &Change) {
    let Change {
        key, before, after, ..
    } = change;
    if change.in_force {
        tracing::info!("{key}: {after} (was {before})");
    } else {
        tracing::warn!("{key}: {after} counts after a restart; until then it is {before}");
    }
}

impl SettingsControl for Settings {
    fn settings(&self) -> proto::SettingsMessage {
        let state = self.state();
        let setting = |key: &atalaya_config::Key| proto::SettingMessage {
            key: key.name.to_owned(),
            value: key.value(&state.loaded.config),
            origin: state.loaded.origin(key).to_string(),
            default: key.default(),
            live: key.effect == Effect::Live,
            pending: state.loaded.pending(key).unwrap_or_default(),
        };
        proto::SettingsMessage {
            settings: KEYS.iter().map(setting).collect(),
            problems: told(&state.loaded),
        }
    }

    fn set(
        &self,
        params: proto::SetSettingParams,
    ) -> Result<proto::ReloadConfigMessage, ControlError> {
        let Some(key) = atalaya_config::key(&params.key) else {
            let text = format!("there is no setting `{}`", params.key);
            return Err(ControlError::Invalid(text));
        };
        if key.effect != Effect::Live {
            let text = format!(
                "`{}` takes effect {}: it cannot be set at run time",
                key.name,
                key.effect.text()
            );
            return Err(ControlError::Invalid(text));
        }
        let mut state = self.state();
        let mut runtime = state.runtime.clone();
        runtime.retain(|(name, _)| *name != key.name);
        if !params.unset {
            runtime.push((key.name, params.value));
        }
        let mut answer = self.renew(&mut state, runtime)?;
        debug_assert!(params.unset || *state.loaded.origin(key) == Origin::Runtime);
        answer.told = self.tell(&state);
        Ok(answer)
    }

    fn reload(&self) -> Result<proto::ReloadConfigMessage, ControlError> {
        let mut state = self.state();
        let runtime = state.runtime.clone();
        let mut answer = self.renew(&mut state, runtime)?;
        answer.told = self.tell(&state);
        Ok(answer)
    }

    fn watch(&self) -> watch::Receiver<proto::ConfigChange> {
        self.changed.subscribe()
    }
}
