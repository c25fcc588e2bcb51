//! The Log Explorer: takes every event from system-probe into a store, and answers a web page and the command line.
//!
//! It is a part of security-agent, on a thread of its own with a consumer of the spool of its own: that it is slow or broken concerns
//! neither detection nor the events file. What it says to browsers is for people who have a token ([`sessions`]); what it says on its unix
//! socket is for root and security-agent's user.
//!
//! | file | what |
//! | --- | --- |
//! | `listen.rs` | the two sockets, bound before anything is forbidden to this process |
//! | `guard.rs`, `sessions.rs` | who may ask |
//! | `ingest.rs`, `live.rs` | from the spool to the store and to who watches |
//! | `probe.rs` | what system-probe is asked |
//! | `routes/` | the API; `openapi.json` describes it, and a test holds one against the other |
//! | `page.rs` | the web page, a part of the program |
#![forbid(unsafe_code)]

mod connections;
mod error;
mod guard;
mod ingest;
mod listen;
mod live;
mod page;
mod probe;
mod routes;
mod sessions;
mod settings;

use std::sync::{Arc, Mutex, PoisonError};

use atalaya_store::{StateDb, Store, StoreError};

pub use connections::Bounded;
pub use ingest::CONSUMER;
pub use listen::{ListenError, Listeners, listen};
pub use routes::OPENAPI;
pub use settings::{Document, Hooks, Settings};

use live::Live;
use probe::Probe;
use sessions::Sessions;

/// Everything that answers need.
pub(crate) struct Explorer {
    pub(crate) store: Store,
    pub(crate) state: StateDb,
    pub(crate) probe: Probe,
    pub(crate) sessions: Sessions,
    pub(crate) live: Live,
    pub(crate) hooks: Hooks,
    pub(crate) port: u16,
    /// Why events cannot be stored now.
    pub(crate) trouble: Mutex<Option<String>>,
}

impl Explorer {
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// Opens the store, and takes events and answers from now on, on a thread that lives as long as the process.
///
/// # Errors
/// The store cannot be opened, or there is no thread.
pub fn start(settings: &Settings, listeners: Listeners, hooks: Hooks) -> Result<(), StoreError> {
    let store = Store::open(&settings.dir, settings.store.clone())?;
    let state = StateDb::open(&settings.dir)?;
    let explorer = Arc::new(Explorer {
        store,
        state,
        probe: Probe::new(settings.probe.clone()),
        sessions: Sessions::default(),
        live: Live::default(),
        hooks,
        port: listeners.port(),
        trouble: Mutex::new(None),
    });
    let thread = std::thread::Builder::new().name("explorer".into());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            // Searches, and one that stores.
            .max_blocking_threads(4)
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                tokio::join!(
                    ingest::run(Arc::clone(&explorer)),
                    routes::serve(Arc::clone(&explorer), listeners)
                );
            }),
            Err(error) => tracing::error!("no explorer: {error}"),
        }
    });
    spawned.map(drop).map_err(|source| StoreError::File {
        path: settings.dir.clone(),
        source,
    })
}
