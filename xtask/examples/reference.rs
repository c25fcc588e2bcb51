//! Prints one generated reference page: `reference configuration`, `reference fields`. An example and not part of xtask
//! itself, so that the developer commands need not build half the project first.

fn main() -> std::process::ExitCode {
    let page = match std::env::args().nth(1).as_deref() {
        Some("configuration") => atalaya_config::markdown(),
        Some("fields") => atalaya_model::docs::field_reference(atalaya_model::schema()),
        other => {
            eprintln!("no such page: {other:?}");
            return std::process::ExitCode::FAILURE;
        }
    };
    print!("{page}");
    std::process::ExitCode::SUCCESS
}
