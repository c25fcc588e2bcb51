//! Tells the tests where libbpf's headers are.

fn main() {
    if let Ok(include) = std::env::var("DEP_BPF_INCLUDE") {
        println!("cargo::rustc-env=DOCTOR_BPF_INCLUDE={include}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
