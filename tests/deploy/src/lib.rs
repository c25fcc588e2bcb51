//! Harness of the tests of what operators install: units, packages, the image, the chart, and the pages that tell how.
//!
//! The tests need the built programs, as the end-to-end tests do; tools of others (systemd, dockerd, wheels from PyPI) are looked for, and
//! a test whose tool is missing says so loudly and is counted as skipped.
#![forbid(unsafe_code)]

mod chart;
mod image;
mod page;
mod tools;

pub use chart::{render, render_values};
pub use image::{Docker, dist};
pub use page::{Block, blocks, commands};
pub use tools::{all_installed, installed, repository, run, target_dir, venv};
