//! What a manager is started with, and what it tells of itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::netns::Places;
use crate::tc::{Direction, Hook};

/// What a manager is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The priority of filters, where there is no tcx. The kernel runs lower numbers first.
    pub priority: u16,
    /// Their handle; 0: the kernel's choice.
    pub handle: u32,
    /// Interfaces whose names begin with one of these do not make a namespace worth watching by themselves.
    pub lazy_prefixes: Vec<String>,
    /// So many namespaces are watched. What is beyond is reported, and taken when there is room.
    pub max_namespaces: usize,
    /// Use tcx where the kernel has it.
    pub prefer_tcx: bool,
    /// How often everything is looked at again.
    pub check_every: Duration,
    /// How long a namespace without a process, and without an interface that counts, is still watched.
    pub lonely_after: Duration,
    /// Where the numbers of programs in filters are written down, so that the next start can delete what a killed process has left;
    /// `None`: nowhere.
    pub journal: Option<PathBuf>,
    /// Where namespaces are found.
    pub places: Places,
    /// Only these namespaces are watched, by their numbers in `/proc/PID/ns/net`; `None`: all. Can be changed at any time.
    pub only: Option<Arc<RwLock<BTreeSet<u32>>>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            priority: 10,
            handle: 0,
            lazy_prefixes: Vec::new(),
            max_namespaces: 1024,
            prefer_tcx: true,
            check_every: Duration::from_secs(30),
            lonely_after: Duration::from_secs(30),
            journal: None,
            places: Places::default(),
            only: None,
        }
    }
}

impl Settings {
    /// Whether a namespace may be watched.
    pub(crate) fn admits(&self, inum: u32) -> bool {
        self.only.as_ref().is_none_or(|only| {
            only.read()
                .unwrap_or_else(PoisonError::into_inner)
                .contains(&inum)
        })
    }

    /// Whether an interface makes its namespace worth watching: it has an address, and no lazy name.
    pub(crate) fn counts(&self, name: &str, mac: Option<[u8; 6]>) -> bool {
        mac.is_some_and(|mac| mac != [0; 6])
            && !self
                .lazy_prefixes
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// The state of the classifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct NetworkStatus {
    /// Whether there are programs to attach.
    pub active: bool,
    /// How they are attached.
    pub hook: Option<Hook>,
    /// The namespaces that are watched.
    pub namespaces: Vec<NamespaceStatus>,
    /// Namespaces that were not taken because there are too many.
    pub refused: usize,
    /// Links that follow an interface whose new namespace is not known (yet).
    pub moved: usize,
    /// How often a program of ours was found gone, taken away by somebody else.
    pub taken_away: u64,
    /// How often the kernel had more news than fit, so that everything was looked at again.
    pub overflows: u64,
    /// What does not work as it should.
    pub warnings: Vec<String>,
}

/// One namespace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NamespaceStatus {
    /// The kernel's number of it.
    pub inum: u32,
    /// Whether it is the one that system-probe is in.
    pub own: bool,
    /// No process and no interface that counts: nothing is attached.
    pub lonely: bool,
    /// Its interfaces.
    pub interfaces: Vec<InterfaceStatus>,
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct InterfaceStatus {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// The sides that our programs are on.
    pub attached: Vec<Direction>,
    /// Why they are not on the others.
    pub errors: Vec<String>,
}

impl NetworkStatus {
    /// Every interface, in every namespace.
    pub fn interfaces(&self) -> impl Iterator<Item = &InterfaceStatus> {
        self.namespaces
            .iter()
            .flat_map(|namespace| &namespace.interfaces)
    }
}
