//! Which of the records belong to an event, and how they are told. Everything in them may have been chosen by an attacker.

use atalaya_model::json::Scrubber;
use atalaya_model::{Event, Process};
use atalaya_resolvers::ProcessTree;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::record::{Record, Who, container};
use super::ring::Ring;

/// So many are told, in so many bytes.
const MAX_EVENTS: usize = 100;
const MAX_BYTES: usize = 16 << 10;
/// What is around the list, generously.
const FRAME: usize = 64;
/// Bytes of a summary, and of a path.
const MAX_TEXT: usize = 160;
/// Longer lineages are not followed.
const MAX_DEPTH: usize = 256;

/// How the process of a record is related to that of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Same,
    Ancestor,
    Descendant,
    Container,
}

impl Relation {
    fn name(self) -> &'static str {
        match self {
            Self::Same => "same process",
            Self::Ancestor => "ancestor",
            Self::Descendant => "descendant",
            Self::Container => "same container",
        }
    }
}

/// What is looked for.
pub(super) struct Search<'a> {
    pub(super) ring: &'a Ring,
    pub(super) tree: &'a ProcessTree,
    pub(super) event: &'a Event,
    pub(super) since_ns: u64,
    pub(super) until_ns: u64,
}

impl<'a> Search<'a> {
    /// The records of the time that is looked at, the newest first.
    fn records(&self) -> impl Iterator<Item = &'a Record> + use<'a> {
        let (since, until) = (self.since_ns, self.until_ns);
        let all = self.ring.newest_first();
        all.filter(move |record| (since..=until).contains(&record.time_ns))
    }

    /// Those that belong to the event, the oldest first, and whether that is not all.
    fn find(&self) -> (Vec<(&'a Record, Relation)>, bool) {
        let own = Who::of(&self.event.process);
        let ancestors = self.event.process.ancestors();
        let ancestors = ancestors.filter(|node| node.pid != own.pid);
        let mut lineage: FxHashMap<u32, Who> = FxHashMap::default();
        lineage.extend(ancestors.map(|node| (node.pid, Who::of(node))));
        let place = container(&self.event.process);
        let mut family = Family {
            search: self,
            own,
            parents: None,
            known: FxHashMap::default(),
        };
        let (mut found, mut others) = (Vec::new(), Vec::new());
        let mut is_cut = self.ring.has_lost_since(self.since_ns);
        for (order, record) in self.records().enumerate() {
            let is_ancestor = || {
                lineage
                    .get(&record.who.pid)
                    .is_some_and(|who| who.is(record.who))
            };
            let (list, relation) = if record.who.is(own) {
                (&mut found, Relation::Same)
            } else if is_ancestor() {
                (&mut found, Relation::Ancestor)
            } else if family.has(record) {
                (&mut found, Relation::Descendant)
            } else if place != 0 && record.container == place {
                (&mut others, Relation::Container)
            } else {
                continue;
            };
            match list.len() < MAX_EVENTS {
                true => list.push((order, record, relation)),
                false => is_cut = true,
            }
        }
        // A busy neighbour in the container does not push out the family.
        let room = MAX_EVENTS - found.len();
        is_cut |= others.len() > room;
        found.extend(others.into_iter().take(room));
        found.sort_unstable_by_key(|(order, ..)| std::cmp::Reverse(*order));
        let found = found.into_iter().map(|(_, record, how)| (record, how));
        (found.collect(), is_cut)
    }

    /// As it goes with the event.
    pub(super) fn json(&self, seconds: u64, scrubber: &Scrubber) -> Vec<u8> {
        let (found, mut is_cut) = self.find();
        let mut paths = self.paths(&found);
        let mut told: Vec<String> = Vec::new();
        let mut bytes = FRAME;
        for ((record, relation), path) in found.iter().zip(paths.drain(..)).rev() {
            let one = self.one(record, *relation, &path, scrubber).to_string();
            if bytes + one.len() + 1 > MAX_BYTES {
                is_cut = true;
                break;
            }
            bytes += one.len() + 1;
            told.push(one);
        }
        told.reverse();
        let list = told.join(",");
        format!("{{\"seconds\":{seconds},\"truncated\":{is_cut},\"events\":[{list}]}}").into_bytes()
    }

    /// The program of each record's process at that time.
    fn paths(&self, found: &[(&Record, Relation)]) -> Vec<String> {
        let mut ran: FxHashMap<u32, (Who, String)> = FxHashMap::default();
        found
            .iter()
            .map(|(record, _)| {
                if record.kind == atalaya_model::capture::CaptureKind::Exec {
                    ran.insert(record.who.pid, (record.who, record.detail()));
                }
                match ran.get(&record.who.pid) {
                    Some((who, path)) if who.is(record.who) => path.clone(),
                    _ => self
                        .node(record)
                        .map_or_else(String::new, |node| node.image.file.path.clone()),
                }
            })
            .collect()
    }

    /// The node of a record's process as it was at that time, as far as it is known.
    fn node(&self, record: &Record) -> Option<&Process> {
        let time = self.tree.epoch_ns(record.time_ns);
        let event = &*self.event.process;
        let lineage = std::iter::once(event).chain(event.ancestors());
        // The newest that was there then; the process of the event itself may be newer than the tree's.
        let is_it = |node: &&Process| Who::of(node).is(record.who) && node.exec_time <= time;
        let newest = self.tree.get(record.who.pid).map(|node| &**node);
        let known = newest
            .into_iter()
            .flat_map(|node| std::iter::once(node).chain(node.ancestors()));
        lineage.take(MAX_DEPTH).find(is_it).or_else(|| {
            let mut known = known.take(MAX_DEPTH);
            known.find(is_it)
        })
    }

    fn one(&self, record: &Record, relation: Relation, path: &str, scrubber: &Scrubber) -> Value {
        let name = record.kind.name();
        let detail = record.detail();
        let mut summary = format!("{name} {detail}");
        if record.kind == atalaya_model::capture::CaptureKind::Exec
            && let Some(node) = self.node(record)
            && !node.image.argv.is_empty()
        {
            summary = format!("{summary}: {}", scrubber.args(&node.image.argv).join(" "));
        }
        let mut summary = cut(scrubber.text(summary.trim_end()).as_ref());
        if record.error != 0 {
            summary.push_str(&format!(" (failed, errno {})", record.error));
        }
        json!({
            "timestamp": self.tree.epoch_ns(record.time_ns) / 1_000_000,
            "event_type": name,
            "pid": record.who.pid,
            "comm": record.comm(),
            "path": cut(scrubber.text(path).as_ref()),
            "relation": relation.name(),
            "summary": summary,
        })
    }
}

/// A text that is not too long.
fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    format!("{}…", &text[..end])
}

/// Who descends from the event's process.
struct Family<'a, 'b> {
    search: &'b Search<'a>,
    own: Who,
    /// The parents of those of whom there are records: such a one may have ended, and the tree not know it any more.
    parents: Option<FxHashMap<u32, (Who, Who)>>,
    known: FxHashMap<u32, (Who, bool)>,
}

impl Family<'_, '_> {
    fn has(&mut self, record: &Record) -> bool {
        if let Some((who, is_descendant)) = self.known.get(&record.who.pid)
            && who.is(record.who)
        {
            return *is_descendant;
        }
        let is_descendant = self.climb(record);
        self.known
            .insert(record.who.pid, (record.who, is_descendant));
        is_descendant
    }

    fn climb(&mut self, record: &Record) -> bool {
        let mut at = record.parent;
        for _ in 0..MAX_DEPTH {
            if at.is(self.own) {
                return true;
            }
            if at.pid <= 1 {
                return false;
            }
            let Some(next) = self.parent(at).filter(|next| next.pid != at.pid) else {
                return false;
            };
            at = next;
        }
        false
    }

    fn parent(&mut self, who: Who) -> Option<Who> {
        let search = self.search;
        let parents = self.parents.get_or_insert_with(|| {
            let records = search.ring.newest_first();
            let mut parents = FxHashMap::default();
            for record in records {
                let known = (record.who, record.parent);
                parents.entry(record.who.pid).or_insert(known);
            }
            parents
        });
        match parents.get(&who.pid) {
            Some((known, parent)) if known.is(who) => Some(*parent),
            _ => {
                let node = search.tree.get(who.pid)?;
                Who::of(node).is(who).then(|| Who::parent_of(node))
            }
        }
    }
}
