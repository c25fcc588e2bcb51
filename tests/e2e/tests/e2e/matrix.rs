//! What this kernel and tier can see at all: the base line of the matrix.

use atalaya_e2e::{Setup, tell_event};
use atalaya_model::{Category, EVENT_TYPES};

/// One rule for each event type; the probe tells of each whether it sees it. Which are seen is for the tests of each.
#[test]
fn every_event_type_is_available_or_the_reason_is_told() {
    let types = || {
        EVENT_TYPES
            .iter()
            .filter(|kind| kind.category != Category::Internal)
    };
    let rule = |name: &str| format!("matrix_{name}");
    let setup = types().fold(Setup::new(), |setup, kind| {
        setup.rule(&rule(kind.name), kind.example)
    });
    let probe = setup.start();
    for kind in types() {
        let why = probe.unavailable(&rule(kind.name));
        tell_event(kind.name, why.as_deref());
    }
}
