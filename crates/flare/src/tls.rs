//! Whose certificates are trusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// Where distributions keep the certificates of authorities.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file that was asked for, else `SSL_CERT_FILE`, else the system's, else those that are built in.
///
/// # Errors
/// The file cannot be read, or holds no certificate: what a person reads.
pub fn config(file: Option<&Path>) -> Result<TlsConfig, String> {
    let named = file.map(Path::to_owned).or_else(|| {
        std::env::var_os("SSL_CERT_FILE")
            .filter(|file| !file.is_empty())
            .map(PathBuf::from)
    });
    let roots = match named {
        Some(file) => RootCerts::Specific(Arc::new(certificates(&file)?)),
        None => BUNDLES
            .iter()
            .find_map(|file| certificates(Path::new(file)).ok())
            .map_or(RootCerts::WebPki, |certificates| {
                RootCerts::Specific(Arc::new(certificates))
            }),
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn certificates(file: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = std::fs::read(file)
        .map_err(|e| format!("cannot read the certificates in {}: {e}", file.display()))?;
    let found: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate.to_owned()),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(format!("there is no PEM certificate in {}", file.display()));
    }
    Ok(found)
}
