//! Prints one generated reference page: `reference configuration`, `reference events`. An example and not part of xtask
//! itself, so that the developer commands need not build half the project first.

use atalaya_config::{Program, sample};
use atalaya_model::{docs, schema};

fn main() -> std::process::ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        Some("configuration") => atalaya_config::markdown(),
        Some("system-probe.yaml.sample") => sample(Program::SystemProbe),
        Some("security-agent.yaml.sample") => sample(Program::SecurityAgent),
        Some("constants") => docs::constants_page(schema()),
        Some("events") => docs::events_page(schema()),
        Some("fields") => docs::fields_page(schema()),
        other => {
            eprintln!("no such page: {other:?}");
            return std::process::ExitCode::FAILURE;
        }
    };
    print!("{page}");
    std::process::ExitCode::SUCCESS
}
