//! How long it takes to decide an event, and to load the rules: `cargo bench -p atalaya-policy`.
//!
//! `index` is what the agent does, `linear` the same rules one after the other. `alloc` columns count allocations for one
//! event. The rules of the reference agent are read from beside the repository; without them their rows are missing.

#[path = "../tests/world/mod.rs"]
mod world;

use atalaya_model::Event;
use atalaya_policy::{RuleSet, Scratch};
use atalaya_secl::NoVariables;
use divan::{AllocProfiler, Bencher};

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// The rule sets: synthetic ones by their number of rules.
const SETS: [&str; 5] = ["reference", "shipped", "10", "100", "1000"];

fn text(set: &str) -> Option<String> {
    match set {
        "reference" => {
            world::reference_policy().map(|path| std::fs::read_to_string(path).unwrap_or_default())
        }
        "shipped" => std::fs::read_to_string(world::shipped_policy()).ok(),
        count => Some(world::synthetic(count.parse().ok()?)),
    }
}

fn index(bencher: Bencher<'_, '_>, set: &str, event: &Event) {
    let Some((rules, _)) = text(set).map(|text| world::load_text(&text)) else {
        return;
    };
    let mut scratch = Scratch::default();
    let mut decide = |rules: &RuleSet| {
        rules.evaluate(
            event.event_type(),
            event,
            world::NOW,
            &mut NoVariables,
            &mut scratch,
            |_, rule| {
                divan::black_box(rule);
            },
        )
    };
    decide(&rules);
    bencher.bench_local(|| decide(&rules));
}

fn linear(bencher: Bencher<'_, '_>, set: &str, event: &Event) {
    let Some((rules, _)) = text(set).map(|text| world::load_text(&text)) else {
        return;
    };
    bencher.bench_local(|| {
        rules.evaluate_linear(
            event.event_type(),
            event,
            world::NOW,
            &mut NoVariables,
            |_, rule| {
                divan::black_box(rule);
            },
        )
    });
}

macro_rules! events {
    ($($name:ident: $event:expr;)*) => {$(
        mod $name {
            use super::*;

            #[divan::bench(args = SETS)]
            fn index(bencher: Bencher<'_, '_>, set: &str) {
                super::index(bencher, set, &$event);
            }

            #[divan::bench(args = SETS)]
            fn linear(bencher: Bencher<'_, '_>, set: &str) {
                super::linear(bencher, set, &$event);
            }
        }
    )*};
}

events! {
    exec_quiet: world::quiet_exec();
    exec_match: world::exec("/usr/bin/nmap", &["nmap", "-sS", "10.0.0.0/8"]);
    open_quiet: world::quiet_open();
    open_match: world::open("/etc/shadow", 0o2);
}

#[divan::bench(args = SETS, sample_count = 20)]
fn load(bencher: Bencher<'_, '_>, set: &str) {
    if let Some(text) = text(set) {
        bencher.bench_local(|| world::load_text(&text));
    }
}
