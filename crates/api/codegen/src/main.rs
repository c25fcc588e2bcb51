//! Makes `crates/api/src/api.rs` from `crates/api/proto/api.proto`. Needs `protoc` (Debian: `protobuf-compiler`).

use std::path::Path;

fn main() -> std::io::Result<()> {
    let api = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let proto = api.join("proto");
    tonic_prost_build::configure()
        .out_dir(api.join("src"))
        // No `connect(address)` constructors: the socket is a unix one, made by `client.rs`.
        .build_transport(false)
        // `status --json` prints a message as it is.
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .compile_protos(&[proto.join("api.proto")], &[proto])
}
