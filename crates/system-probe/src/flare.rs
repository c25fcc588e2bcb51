//! What system-probe puts into a flare: what it alone knows, and what only root can read. Everything is scrubbed before it leaves this process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use atalaya_api::{FlareSource, RuntimeControl, proto};
use atalaya_collect::{Part, Plan, Sink, config as configuration, host, logs, process, safe_name};
use atalaya_config::Config;
use atalaya_scrub::Scrubber;
use libbpf_rs::query::{LinkInfoIter, MapInfoIter, ProgInfoIter};
use serde_json::{Value, json};

use crate::doctor::Doctor;

/// How long all of it may take.
const TOTAL: Duration = Duration::from_secs(100);
/// The longest piece that is sent at once.
const PIECE: usize = 256 << 10;
/// So many programs, maps and links of the kernel are told of.
const MAX_OBJECTS: usize = 10_000;

/// Collects for flares.
#[derive(Debug)]
pub(crate) struct Flare {
    config: Config,
    files: Vec<PathBuf>,
    doctor: Arc<Doctor>,
}

impl Flare {
    /// Of a program with this configuration, read from these files. The doctor's thread has the capabilities to list programs.
    pub(crate) fn new(config: &Config, files: &[PathBuf], doctor: Arc<Doctor>) -> Self {
        Self {
            config: config.clone(),
            files: files.to_vec(),
            doctor,
        }
    }

    fn plan(&self, control: &Arc<dyn RuntimeControl>) -> Plan {
        let mut plan = Plan::default();
        let ask =
            |plan: &mut Plan, name, work: fn(&dyn RuntimeControl, &Sink) -> Result<(), String>| {
                let control = Arc::clone(control);
                plan.add_within(name, Duration::from_secs(30), move |sink| {
                    work(&*control, sink)
                });
            };
        ask(&mut plan, "status", |control, sink| {
            let status = control.status(&proto::GetStatusParams::default());
            put(sink, "system-probe/status.json", &status)
        });
        ask(&mut plan, "rules", |control, sink| {
            let report = control.ruleset_report().map_err(|e| e.to_string())?;
            put(sink, "system-probe/rules.json", &report)
        });
        ask(&mut plan, "network doctor", |control, sink| {
            let report = control.network_doctor().map_err(|e| e.to_string())?;
            sink.file("system-probe/network-doctor.log", report.text);
            sink.file("system-probe/network-doctor.json", report.report);
            Ok(())
        });
        plan.add("recent log", |sink| {
            sink.file("logs/system-probe-recent.log", logs::recent());
            Ok(())
        });
        let doctor = Arc::clone(&self.doctor);
        plan.add("bpf objects", move |sink| {
            let listed = doctor.privileged(|| {
                [
                    ("programs", programs()),
                    ("maps", maps()),
                    ("links", links()),
                ]
            })?;
            for (what, objects) in listed {
                if objects.is_empty() {
                    sink.error(&format!(
                        "the kernel lists no bpf {what} (not permitted, or not by this kernel)"
                    ));
                }
                put(sink, &format!("system-probe/bpf-{what}.json"), &objects)?;
            }
            Ok(())
        });
        configuration::plan(&mut plan, "system-probe", &self.config, &self.files);
        plan.add("environment", |sink| {
            let variables = std::env::vars_os()
                .map(|(n, v)| (n.to_string_lossy().into(), v.to_string_lossy().into()));
            sink.file(
                "system-probe/envvars.log",
                configuration::environment(&Scrubber::default(), variables),
            );
            Ok(())
        });
        process::plan(&mut plan, "system-probe", std::process::id());
        host::plan(&mut plan, true);
        plan
    }
}

impl FlareSource for Flare {
    fn collect(
        &self,
        control: Arc<dyn RuntimeControl>,
        send: &mut dyn FnMut(proto::FlareMessage) -> bool,
    ) {
        let scrubber = Arc::new(Scrubber::new(&self.config.flare_stripped_keys));
        self.plan(&control)
            .run(Some(&scrubber), TOTAL, |part| match part {
                Part::Error(collector, error) => send(proto::FlareMessage {
                    collector,
                    error: scrubber.scrub(&error),
                    ..Default::default()
                }),
                Part::Done(collector, time) => send(proto::FlareMessage {
                    collector,
                    done_ms: time.as_secs_f64() * 1000.0,
                    ..Default::default()
                }),
                Part::File(file) => {
                    let mut pieces = file.content.chunks(PIECE).peekable();
                    let name = safe_name(&file.name);
                    loop {
                        let content = pieces.next().unwrap_or_default().to_vec();
                        let more = pieces.peek().is_some();
                        let message = proto::FlareMessage {
                            name: name.clone(),
                            content,
                            more,
                            ..Default::default()
                        };
                        if !send(message) {
                            return false;
                        }
                        if !more {
                            return true;
                        }
                    }
                }
            });
    }
}

fn put(sink: &Sink, name: &str, value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| e.to_string())?;
    sink.file(name, text);
    Ok(())
}

fn programs() -> Vec<Value> {
    let describe = |program: libbpf_rs::query::ProgramInfo| {
        json!({
            "id": program.id,
            "name": program.name.to_string_lossy(),
            "type": format!("{:?}", program.ty),
            "tag": program.tag.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
            "loaded_after_boot_s": program.load_time.as_secs(),
            "uid": program.created_by_uid,
            "maps": program.map_ids,
            "gpl_compatible": program.gpl_compatible,
            "btf_id": program.btf_id,
        })
    };
    ProgInfoIter::default()
        .take(MAX_OBJECTS)
        .map(describe)
        .collect()
}

fn maps() -> Vec<Value> {
    let describe = |map: libbpf_rs::query::MapInfo| {
        json!({
            "id": map.id,
            "name": map.name.to_string_lossy(),
            "type": format!("{:?}", map.ty),
            "key_bytes": map.key_size,
            "value_bytes": map.value_size,
            "max_entries": map.max_entries,
            "flags": map.map_flags,
        })
    };
    MapInfoIter::default()
        .take(MAX_OBJECTS)
        .map(describe)
        .collect()
}

fn links() -> Vec<Value> {
    let describe = |link: libbpf_rs::query::LinkInfo| json!({ "id": link.id, "program": link.prog_id, "what": format!("{:?}", link.info) });
    LinkInfoIter::default()
        .take(MAX_OBJECTS)
        .map(describe)
        .collect()
}
