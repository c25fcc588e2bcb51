//! Events as they come.

use anyhow::Result;
use serde_json::Value;

use super::ask::Explorer;

/// Shows each event that matches, until the stream ends.
pub(super) async fn follow(
    explorer: &Explorer,
    query: &str,
    mut see: impl FnMut(&Value) -> Result<()>,
) -> Result<()> {
    let mut kind = String::new();
    let parameters = [("query", query.to_owned())];
    explorer
        .lines("/tail", &parameters, |line| {
            if let Some(name) = line.strip_prefix("event:") {
                kind = name.trim().to_owned();
            } else if let Some(data) = line.strip_prefix("data:") {
                let data: Value = serde_json::from_str(data.trim()).unwrap_or_default();
                match kind.as_str() {
                    "event" => see(&data)?,
                    "lag" => eprintln!(
                        "({} events came too fast and are not shown)",
                        data["skipped"]
                    ),
                    _ => {}
                }
            }
            Ok(true)
        })
        .await
}
