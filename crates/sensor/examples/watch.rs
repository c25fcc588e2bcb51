//! Prints what the sensor sees: `watch [tier] [kinds…]`. For work on the sensor itself.
use std::collections::BTreeMap;
use std::time::Duration;

use atalaya_model::capture::{Approvers, CaptureKind};
use atalaya_sensor::{Interest, Options, Sensor, Tier};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    let tier = arguments
        .next_if(|a| Tier::from_name(a).is_some())
        .and_then(|a| Tier::from_name(&a));
    let mut approvers = BTreeMap::new();
    for kind in arguments.filter_map(|a| CaptureKind::from_name(&a)) {
        approvers.insert(
            kind,
            Approvers {
                all: true,
                ..Approvers::default()
            },
        );
    }
    let mut sensor = Sensor::open(&Options {
        tier,
        ring_buffer: std::env::var_os("WATCH_PERF").is_none(),
        ..Options::default()
    })?;
    eprintln!(
        "{:?}",
        sensor.apply(&Interest {
            approvers,
            capture_all_errors: false,
            packets: atalaya_model::capture::PacketOptions::default(),
            filters: atalaya_model::capture::PacketFilters::default(),
        })?
    );
    sensor.start(Box::new(|capture| {
        println!(
            "{} {:?}\n  {:?}",
            capture.header.pid, capture.header.comm, capture.body
        )
    }))?;
    sensor.heartbeat(42)?;
    std::thread::sleep(Duration::from_secs(6));
    eprintln!("{:#?}", sensor.report());
    Ok(())
}
