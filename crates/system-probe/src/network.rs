//! The classifiers of the sensor, attached by the manager of crates/network.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};

use anyhow::Result;
use atalaya_config::Config;
use atalaya_model::EventData;
use atalaya_model::capture::{Body, Capture};
use atalaya_network::manager::{Manager, NetworkStatus, Programs, Settings};
use atalaya_sensor::{InterfacePackets, Sensor};

use crate::preflight;

/// So many interfaces are listed by the status, and so many problems with them.
const LISTED: usize = 64;
const TOLD: usize = 16;

/// What attaches classifiers, and what configuration says of it.
#[derive(Clone)]
pub(crate) struct Network {
    manager: Arc<Manager>,
    switches: Arc<Switches>,
}

/// What can be changed while it runs.
struct Switches {
    enabled: AtomicBool,
    ingress: AtomicBool,
}

impl Network {
    /// Starts the thread that attaches them. To be called before capabilities are dropped: it keeps those that entering namespaces takes.
    /// Also while `network.enabled` is off: a reload may switch it on, and what a killed probe has left is taken away.
    pub(crate) fn start(config: &Config) -> Result<Self> {
        let prepare = || {
            if let Err(error) = preflight::drop_for_network() {
                tracing::warn!(
                    "the thread that attaches classifiers keeps what it does not need: {error:#}"
                );
            }
        };
        let manager = Manager::start(settings(config), prepare)?;
        let network = Self {
            manager: Arc::new(manager),
            switches: Arc::new(Switches {
                enabled: AtomicBool::new(true),
                ingress: AtomicBool::new(true),
            }),
        };
        network.configure(config);
        Ok(network)
    }

    /// How often somebody has taken a classifier away from an interface; it was attached again.
    pub(crate) fn taken_away(&self) -> u64 {
        let status = self.manager.status();
        status.map_or(0, |status| status.taken_away)
    }

    /// Takes over what a reload has changed. The next [`Network::attach`] acts on it.
    pub(crate) fn configure(&self, config: &Config) {
        let switches = &self.switches;
        let was = switches
            .enabled
            .swap(config.network_enabled, Ordering::AcqRel);
        if was != config.network_enabled {
            let state = if config.network_enabled { "on" } else { "off" };
            tracing::info!("network.enabled: {state}");
        }
        switches
            .ingress
            .store(config.network_ingress_enabled, Ordering::Release);
    }

    /// Whether packets are to be looked at.
    pub(crate) fn is_enabled(&self) -> bool {
        self.switches.enabled.load(Ordering::Acquire)
    }

    /// Attaches what the sensor has loaded; takes everything away if it has nothing, or must not.
    pub(crate) fn attach(&self, sensor: &Sensor) {
        let classifiers = sensor.classifiers().filter(|_| self.is_enabled());
        let ingress = self.switches.ingress.load(Ordering::Acquire);
        let result = match &classifiers {
            Some(classifiers) => {
                use std::os::fd::AsFd;
                self.manager.set_programs(Some(Programs {
                    egress: classifiers.egress.as_fd(),
                    ingress: ingress.then_some(classifiers.ingress.as_fd()),
                }))
            }
            None => self.manager.set_programs(None),
        };
        if let Err(error) = result {
            tracing::error!("classifiers cannot be attached: {error}");
        }
    }

    /// Takes everything away, and waits for it: before the sensor forgets the programs.
    pub(crate) fn detach(&self) {
        if let Err(error) = self.manager.set_programs(None) {
            tracing::error!("classifiers cannot be taken away: {error}");
        }
        self.settle();
    }

    /// Waits until what was asked for is done.
    pub(crate) fn settle(&self) {
        if !self.manager.settle(std::time::Duration::from_secs(10)) {
            tracing::warn!("classifiers are still being attached or taken away");
        }
    }

    /// Tells of the namespace that the process of a capture is in.
    pub(crate) fn saw(&self, capture: &Capture) {
        match &capture.body {
            Body::Fork(fork) => self
                .manager
                .namespace_seen(fork.child_pid, fork.namespaces.net),
            Body::Exec(_) => self
                .manager
                .namespace_seen(capture.header.tid, capture.header.netns),
            // A thread can do that alone.
            Body::Event(data) if matches!(**data, EventData::Unshare(_)) => self
                .manager
                .namespace_seen(capture.header.tid, capture.header.netns),
            _ => {}
        }
    }

    /// Lets the sensor forget what it has counted at interfaces that are gone.
    pub(crate) fn forget_gone(&self, sensor: &Sensor) {
        for (netns, index) in self.manager.take_gone() {
            sensor.forget_interface(netns, index);
        }
    }

    /// Adds its part to the status.
    pub(crate) fn report(
        &self,
        packets: &[InterfacePackets],
        details: &mut BTreeMap<String, String>,
        warnings: &mut Vec<String>,
    ) {
        if !self.is_enabled() {
            details.insert("network.classifiers".into(), "off (network.enabled)".into());
        }
        match self.manager.status() {
            Some(status) => describe(&status, packets, details, warnings),
            None => warnings.push("the thread that attaches classifiers does not answer".into()),
        }
    }
}

fn describe(
    status: &NetworkStatus,
    packets: &[InterfacePackets],
    details: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) {
    warnings.extend(
        status
            .warnings
            .iter()
            .take(TOLD)
            .map(|text| format!("network: {text}")),
    );
    if !status.active {
        let text = "no rule needs them".to_owned();
        details.entry("network.classifiers".into()).or_insert(text);
        return;
    }
    let hook = status.hook.map_or("none", |hook| hook.name());
    let watched = status
        .interfaces()
        .filter(|interface| !interface.attached.is_empty())
        .count();
    let text = format!(
        "{hook}, {watched} of {} interfaces in {} namespaces",
        status.interfaces().count(),
        status.namespaces.len()
    );
    details.insert("network.classifiers".into(), text);
    if status.taken_away > 0 {
        let text = format!("{} times, attached again", status.taken_away);
        details.insert("network.taken_away".into(), text);
    }
    let (mut listed, mut told) = (0, 0);
    for namespace in &status.namespaces {
        for interface in &namespace.interfaces {
            for error in &interface.errors {
                told += 1;
                if told <= TOLD {
                    warnings.push(format!(
                        "network: {} of namespace {} is not watched, {error}",
                        interface.name, namespace.inum
                    ));
                }
            }
            listed += 1;
            if listed > LISTED {
                continue;
            }
            let is_it = |count: &&InterfacePackets| {
                count.netns == namespace.inum && count.ifindex == interface.index
            };
            let seen = packets.iter().find(is_it).copied().unwrap_or_default();
            let sides: Vec<_> = interface.attached.iter().map(|side| side.name()).collect();
            let text = format!(
                "{}; packets seen: {} in, {} out",
                if sides.is_empty() {
                    "nothing attached".to_owned()
                } else {
                    sides.join(" and ")
                },
                seen.ingress,
                seen.egress
            );
            details.insert(
                format!("network.{}.{}", namespace.inum, interface.name),
                text,
            );
        }
    }
    if told > TOLD {
        warnings.push(format!(
            "network: {} further problems of interfaces",
            told - TOLD
        ));
    }
}

pub(crate) fn settings(config: &Config) -> Settings {
    let number = |name: &str, value: u64, least: u64, most: u64| {
        let taken = value.clamp(least, most);
        if taken != value {
            tracing::warn!(
                "network.{name}: {value} is not between {least} and {most}; {taken} is taken"
            );
        }
        taken
    };
    let priority = number(
        "classifier_priority",
        config.network_classifier_priority,
        1,
        u16::MAX.into(),
    );
    let handle = number(
        "classifier_handle",
        config.network_classifier_handle,
        0,
        u32::MAX.into(),
    );
    let only: Vec<&str> = config
        .network_namespaces
        .iter()
        .map(String::as_str)
        .collect();
    Settings {
        priority: u16::try_from(priority).unwrap_or(u16::MAX),
        handle: u32::try_from(handle).unwrap_or(u32::MAX),
        lazy_prefixes: config.network_lazy_interface_prefixes.clone(),
        max_namespaces: usize::try_from(config.network_max_namespaces).unwrap_or(usize::MAX),
        prefer_tcx: config.network_tcx_enabled,
        journal: Some(journal(&config.run_path)),
        only: (!only.is_empty()).then(|| {
            let numbers = only.iter().filter_map(|text| {
                let number = text
                    .trim_start_matches("net:[")
                    .trim_end_matches(']')
                    .parse()
                    .ok();
                if number.is_none() {
                    tracing::warn!("network.namespaces: `{text}` is no number of a namespace");
                }
                number
            });
            Arc::new(RwLock::new(numbers.collect()))
        }),
        ..Settings::default()
    }
}

/// Where the programs in filters are written down.
fn journal(run_path: &Path) -> std::path::PathBuf {
    run_path.join("classifiers")
}

#[cfg(test)]
mod tests {
    use atalaya_network::manager::{InterfaceStatus, NamespaceStatus};
    use atalaya_network::tc::{Direction, Hook};

    use super::*;

    #[test]
    fn a_host_of_many_interfaces_does_not_fill_the_status() {
        let interface = |index: u32| InterfaceStatus {
            index,
            name: format!("lxc{index}"),
            attached: vec![Direction::Egress],
            errors: vec!["ingress: refused".to_owned()],
        };
        let status = NetworkStatus {
            active: true,
            hook: Some(Hook::Tcx),
            namespaces: vec![NamespaceStatus {
                inum: 7,
                own: true,
                lonely: false,
                interfaces: (1..=1000).map(interface).collect(),
            }],
            ..NetworkStatus::default()
        };
        let packets = [InterfacePackets {
            netns: 7,
            ifindex: 2,
            egress: 5,
            ingress: 6,
        }];
        let (mut details, mut warnings) = (BTreeMap::new(), Vec::new());
        describe(&status, &packets, &mut details, &mut warnings);
        assert_eq!(details.len(), LISTED + 1);
        assert_eq!(warnings.len(), TOLD + 1);
        assert_eq!(
            details["network.7.lxc2"],
            "egress; packets seen: 6 in, 5 out"
        );
        assert_eq!(
            details["network.classifiers"],
            "tcx, 1000 of 1000 interfaces in 1 namespaces"
        );
    }

    #[test]
    fn a_priority_that_is_none_is_not_taken() {
        let config = Config {
            network_classifier_priority: 70_000,
            ..Config::default()
        };
        assert_eq!(settings(&config).priority, u16::MAX);
        let config = Config {
            network_classifier_priority: 0,
            ..Config::default()
        };
        assert_eq!(settings(&config).priority, 1);
        assert_eq!(settings(&Config::default()).priority, 10);
    }

    #[test]
    fn namespaces_can_be_named_as_readlink_shows_them() {
        let names = ["net:[4026531840]", "17", "x"].map(str::to_owned);
        let config = Config {
            network_namespaces: names.into(),
            ..Config::default()
        };
        let only = settings(&config).only.unwrap_or_default();
        let only = only
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        assert_eq!(
            only.iter().copied().collect::<Vec<_>>(),
            [17, 4_026_531_840]
        );
    }
}
