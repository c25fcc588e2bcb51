//! The explorer's embedded store: every event findable, on one node, with nothing to install.
#![forbid(unsafe_code)]

use rusqlite as _;
use tantivy as _;
