//! The archive that a flare is, and its way to who asked for it.
//!
//! - [`Archive`]: a zip file with mode 0600, into which nothing comes that has not been scrubbed. It is complete or not there at all.
//! - [`upload()`]: resolves redirects, sends the archive in one chunked multipart request, and reads the answer. [`Destination`] says where to.
//!
//! What is collected is the business of `atalaya-collect`; this crate needs it from both programs, and asks nobody.
#![forbid(unsafe_code)]

mod answer;
mod archive;
mod multipart;
mod tls;
mod upload;

pub use archive::{Archive, ArchiveError, Entry, Finished};
pub use tls::config as tls_config;
pub use upload::{Destination, DestinationError, Upload, UploadError, upload};
