//! Goes through the namespaces and interfaces of the host, and puts the report together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::advice::{Judgement, Place, judge};
use super::owner::Owners;
use super::program::Reader;
use super::report::{Classifier, InterfaceReport, NamespaceReport, Report, VERSION, Verdict};
use super::verdict;
use crate::netns::{NetNs, Places};
use crate::tc::{Attached, ETH_P_ALL, Hook, Lister, link};
use crate::{Error, Interface};

/// How many namespaces are looked at.
const NAMESPACES: usize = 4096;
/// The beginnings of our programs' names, which the kernel cuts off after 15 bytes.
const NAMES: [&str; 2] = ["classifier_egre", "classifier_ingr"];
/// The executable that holds ours.
const HOLDER: &str = "system-probe";

/// What the doctor is to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// `network.enabled`
    pub enabled: bool,
    /// `network.ingress.enabled`
    pub ingress: bool,
    /// `network.classifier_priority`
    pub priority: u16,
    /// Whether tcx is used where the kernel has it.
    pub prefer_tcx: bool,
    /// The numbers of our programs, where they are known. Else they are known by their names and by who holds them.
    pub ours: BTreeSet<u32>,
    /// Packets that ours have seen, by namespace and interface, where that is counted.
    pub packets: BTreeMap<(u32, u32), u64>,
    /// Only these namespaces; None of all.
    pub only: Option<BTreeSet<u32>>,
    /// Where namespaces are found.
    pub places: Places,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            enabled: true,
            ingress: true,
            priority: 10,
            prefer_tcx: true,
            ours: BTreeSet::new(),
            packets: BTreeMap::new(),
            only: None,
            places: Places::default(),
        }
    }
}

/// Looks at every interface of every namespace. Changes nothing. Needs CAP_SYS_ADMIN and CAP_NET_ADMIN; what it lacks is told in the
/// report.
pub fn examine(options: &Options) -> Report {
    let hook = if options.prefer_tcx && link::has_tcx() {
        Hook::Tcx
    } else {
        Hook::Clsact
    };
    let mut examiner = Examiner {
        options,
        place: Place {
            hook,
            priority: options.priority,
            ingress: options.ingress,
        },
        owners: Owners::find(&options.places),
        reader: Reader::default(),
        right_priority: Some(options.priority),
    };
    let mut notes = Vec::new();
    if !examiner.reader.names_calls() {
        notes.push(
            "the kernel hides the names of its functions (kernel.kptr_restrict, CAP_SYSLOG): more verdicts than necessary are unknown".into(),
        );
    }
    let namespaces = examiner.namespaces(&mut notes);
    let right_priority = examiner.right_priority;
    summarize(options, hook, namespaces, right_priority, notes)
}

struct Examiner<'a> {
    options: &'a Options,
    place: Place,
    owners: Owners,
    reader: Reader,
    right_priority: Option<u16>,
}

impl Examiner<'_> {
    fn namespaces(&mut self, notes: &mut Vec<String>) -> Vec<NamespaceReport> {
        let places = &self.options.places;
        let own = NetNs::own().map(|own| own.inum()).ok();
        let (processes, mounts) = (places.processes(), places.mounts());
        let mut numbers: Vec<u32> = processes
            .keys()
            .chain(mounts.keys())
            .copied()
            .filter(|inum| {
                self.options
                    .only
                    .as_ref()
                    .is_none_or(|only| only.contains(inum))
            })
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .collect();
        numbers.sort_by_key(|inum| Some(*inum) != own);
        if numbers.len() > NAMESPACES {
            notes.push(format!(
                "only {NAMESPACES} of {} namespaces were looked at",
                numbers.len()
            ));
            numbers.truncate(NAMESPACES);
        }
        let mut reports = Vec::new();
        for inum in numbers {
            let pids = processes.get(&inum).cloned().unwrap_or_default();
            // One that is gone by now is none any more.
            let Some(namespace) = places.find(inum, &pids) else {
                continue;
            };
            let path = mounts.get(&inum).cloned();
            reports.push(self.namespace(&namespace, own == Some(inum), path, pids));
        }
        reports
    }

    fn namespace(
        &mut self,
        namespace: &NetNs,
        own: bool,
        path: Option<PathBuf>,
        pids: Vec<u32>,
    ) -> NamespaceReport {
        let inum = namespace.inum();
        let (interfaces, error) = match namespace.run(listed).and_then(|listed| listed) {
            Ok(interfaces) => (interfaces, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        NamespaceReport {
            inum,
            own,
            path: path.map(|path| path.to_string_lossy().into_owned()),
            pids,
            error,
            interfaces: interfaces
                .into_iter()
                .map(|(interface, attached)| self.interface(inum, interface, attached))
                .collect(),
        }
    }

    fn interface(
        &mut self,
        inum: u32,
        interface: Interface,
        attached: Result<Vec<Attached>, Error>,
    ) -> InterfaceReport {
        let (attached, error) = match attached {
            Ok(attached) => (attached, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let classifiers: Vec<Classifier> = attached
            .into_iter()
            .map(|attached| self.classifier(attached))
            .collect();
        let judged = if error.is_some() {
            Judgement {
                verdict: Verdict::Failed,
                reasons: Vec::new(),
                advice: Vec::new(),
                right_priority: Some(self.place.priority),
            }
        } else {
            judge(&classifiers, self.place)
        };
        self.right_priority = self
            .right_priority
            .zip(judged.right_priority)
            .map(|(all, this)| all.min(this));
        let mut reasons = judged.reasons;
        if let Some(id) = interface.xdp {
            reasons.push(format!(
                "ingress: XDP program {id} is run before any classifier; what it drops or redirects is not seen"
            ));
        }
        let verdict = if self.options.enabled {
            judged.verdict
        } else {
            Verdict::Off
        };
        InterfaceReport {
            index: interface.index,
            packets: self.options.packets.get(&(inum, interface.index)).copied(),
            name: interface.name,
            kind: interface.kind,
            verdict,
            reasons,
            advice: if self.options.enabled {
                judged.advice
            } else {
                Vec::new()
            },
            classifiers,
            error,
        }
    }

    fn classifier(&mut self, one: Attached) -> Classifier {
        let program = one.program.as_ref().map(|program| program.id);
        let direct_action = one
            .program
            .as_ref()
            .is_some_and(|program| program.direct_action);
        let name = one
            .program
            .as_ref()
            .map(|program| program.name.clone())
            .unwrap_or_default();
        let owner = program.map(|id| self.owners.of(id)).unwrap_or_default();
        let finding = if one.offloaded_only {
            verdict::offloaded()
        } else if one.chain != 0 {
            verdict::Finding::unknown("it is run only when an action sends a packet to its chain")
        } else {
            match program {
                Some(id) => {
                    let actions = (!direct_action).then_some(one.actions.as_slice());
                    self.reader.judge(id, one.hook, actions)
                }
                None => verdict::judge_filter(&one.actions),
            }
        };
        let held = owner.processes.iter().any(|holder| {
            // The kernel adds " (deleted)" after an update.
            let path = holder.executable.trim_end_matches(" (deleted)");
            path.rsplit('/').next() == Some(HOLDER)
        });
        let ours = program.is_some_and(|id| self.options.ours.contains(&id))
            || (held && NAMES.iter().any(|ours| name.starts_with(ours)));
        let filter = one.hook == Hook::Clsact;
        Classifier {
            hook: one.hook,
            direction: one.direction,
            position: one.position,
            priority: filter.then_some(one.priority),
            handle: filter.then_some(one.handle),
            protocol: (one.protocol != ETH_P_ALL).then_some(one.protocol),
            chain: one.chain,
            kind: one.kind,
            program,
            name,
            tag: one
                .program
                .map(|program| hexadecimal(program.tag))
                .unwrap_or_default(),
            link: one.link_id,
            filter_name: one.filter_name,
            ours,
            direct_action,
            owner,
            finding,
            tail_calls: program
                .map(|id| self.reader.tail_called(id).into_iter().collect())
                .unwrap_or_default(),
        }
    }
}

/// The interfaces of the calling thread's namespace, each with what is attached.
#[allow(
    clippy::type_complexity,
    reason = "the list of a namespace, put to use at once"
)]
fn listed() -> Result<Vec<(Interface, Result<Vec<Attached>, Error>)>, Error> {
    let mut lister = Lister::open()?;
    let interfaces = lister.interfaces()?;
    let mut all = Vec::with_capacity(interfaces.len());
    for interface in interfaces {
        let attached = lister.list(&interface);
        // An interface that is gone by now is none any more.
        if !attached.as_ref().is_err_and(Error::is_gone) {
            all.push((interface, attached));
        }
    }
    Ok(all)
}

fn hexadecimal(tag: [u8; 8]) -> String {
    format!("{:016x}", u64::from_be_bytes(tag))
}

fn summarize(
    options: &Options,
    hook: Hook,
    namespaces: Vec<NamespaceReport>,
    right_priority: Option<u16>,
    notes: Vec<String>,
) -> Report {
    let interfaces = || {
        namespaces
            .iter()
            .flat_map(|namespace| &namespace.interfaces)
    };
    let failed = namespaces.iter().any(|namespace| namespace.error.is_some());
    let worst = interfaces().map(|interface| interface.verdict).max();
    let verdict = match worst {
        _ if !options.enabled => Verdict::Off,
        _ if failed => Verdict::Failed,
        Some(worst) => worst,
        None => Verdict::NotAttached,
    };
    let count = |wanted: Verdict| interfaces().filter(|one| one.verdict == wanted).count();
    let total = interfaces().count();
    let all = |one: &InterfaceReport| one.classifiers.iter().any(|classifier| classifier.ours);
    let attached = interfaces().filter(|one| all(one)).count();
    let summary = match verdict {
        Verdict::Off => "network detections are off: nothing of ours is attached".into(),
        Verdict::Blind | Verdict::MayBeBlind => format!(
            "traffic is missed on {} and may be missed on {} of {total} interfaces",
            count(Verdict::Blind),
            count(Verdict::MayBeBlind),
        ),
        Verdict::Failed => "not everything could be looked at".into(),
        _ if attached == 0 => {
            format!(
                "nothing of ours is attached; nothing would be in the way on {total} interfaces"
            )
        }
        _ => format!("nothing is in the way on {total} interfaces; ours are on {attached}"),
    };
    let advice: BTreeSet<String> = interfaces()
        .flat_map(|interface| interface.advice.iter().cloned())
        .collect();
    Report {
        version: VERSION,
        trouble: verdict.is_trouble(),
        verdict,
        summary,
        enabled: options.enabled,
        ingress: options.ingress,
        attached: attached > 0,
        hook,
        classifier_priority: options.priority,
        right_priority,
        advice: advice.into_iter().collect(),
        notes,
        namespaces,
    }
}
