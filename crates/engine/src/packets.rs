//! Filters of packets: which the rules ask for, and the `network_filter` action carried out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use atalaya_model::EventData;
use atalaya_model::capture::{Header, PacketFilters, PacketOrders, PacketSubject};
use atalaya_policy::{ActionBody, ActionScope, NetworkFilterAction, NetworkPolicy, RuleSet};
use serde_json::{Value, json};

use crate::source::{EventSource, PacketEnforcer};

/// The cgroup that is the whole host.
const ROOT_CGROUP: u64 = 1;

/// The filters that the rules ask for, numbered; what had a number before keeps it, and a number that was in use is not given anew, so that the
/// kernel's programs of before and after a reload mean the same by it. Also those that no number was left for.
pub(crate) fn filters(ruleset: &RuleSet, before: &PacketFilters) -> (PacketFilters, Vec<String>) {
    let mut rules = BTreeSet::new();
    for rule in ruleset.rules_for("packet") {
        let program = rule.program();
        let fields = program.fields();
        if fields.iter().any(|field| field.name == "packet.filter") {
            rules.extend(program.texts_of("packet.filter"));
        } else {
            // A rule about all packets.
            rules.insert("");
        }
    }
    let actions: BTreeSet<&str> = ruleset
        .rules()
        .iter()
        .flat_map(|rule| &rule.actions)
        .filter_map(|action| match &action.body {
            ActionBody::NetworkFilter(action) => Some(action.filter.as_str()),
            _ => None,
        })
        .collect();
    let mut left = Vec::new();
    let filters = PacketFilters {
        rules: number(&rules, &before.rules, PacketFilters::RULES, &mut left),
        actions: number(&actions, &before.actions, PacketFilters::ACTIONS, &mut left),
    };
    (filters, left)
}

fn number(
    wanted: &BTreeSet<&str>,
    before: &BTreeMap<String, u32>,
    limit: u32,
    left: &mut Vec<String>,
) -> BTreeMap<String, u32> {
    let taken: BTreeSet<u32> = before.values().copied().collect();
    let mut free = (0..limit).filter(|number| !taken.contains(number));
    let mut numbered = BTreeMap::new();
    for text in wanted {
        match before.get(*text).copied().or_else(|| free.next()) {
            Some(number) => {
                numbered.insert((*text).to_owned(), number);
            }
            None => left.push((*text).to_owned()),
        }
    }
    numbered
}

/// Tells a packet's event by the text of the filter that it passed, which the kernel knows by its number.
pub(crate) fn name_filter(data: &mut EventData, filters: &PacketFilters) {
    if let EventData::Packet(packet) = data {
        let known = filters.rules.iter();
        let mut found = known.filter(|(_, number)| **number == packet.filter_number);
        if let Some((text, _)) = found.next() {
            packet.filter.clone_from(text);
        }
    }
}

/// Who an event is of, for actions on its packets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Actor {
    pid: u32,
    start_low: u32,
    cgroup_id: u64,
}

impl From<&Header> for Actor {
    fn from(header: &Header) -> Self {
        Self {
            pid: header.pid,
            start_low: header.start_low,
            cgroup_id: header.cgroup_id,
        }
    }
}

/// The orders that actions gave, and who has them carried out.
#[derive(Debug, Default)]
pub(crate) struct Orders(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    enforcer: Option<Box<dyn PacketEnforcer>>,
    subjects: HashMap<PacketSubject, BTreeSet<(String, bool)>>,
}

impl Orders {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rules have changed: orders of filters that are asked for no more are over, the others go on. Of classifiers that are new, none is known.
    pub(crate) fn renew(&self, source: &mut dyn EventSource, filters: &PacketFilters) {
        let mut state = self.state();
        state.enforcer = source.packet_enforcer();
        let State { enforcer, subjects } = &mut *state;
        subjects.retain(|subject, orders| {
            orders.retain(|(filter, _)| filters.actions.contains_key(filter));
            if let Some(enforcer) = enforcer
                && let Err(error) = enforcer.set(*subject, masks(orders, filters))
            {
                tracing::warn!(?subject, %error, "packets are not dropped as before the reload");
            }
            !orders.is_empty()
        });
    }

    /// Carries an action out. Tells what was done, for `agent.rule_actions`.
    pub(crate) fn act(
        &self,
        action: &NetworkFilterAction,
        actor: Actor,
        filters: &PacketFilters,
    ) -> Value {
        let result = self.try_act(action, actor, filters);
        let mut report = json!({
            "type": "network_filter",
            "filter": action.filter,
            "policy": action.policy,
            "scope": action.scope.name(),
            "status": if result.is_ok() { "performed" } else { "error" },
        });
        if let Err(why) = result {
            tracing::warn!(
                why,
                filter = action.filter,
                "a network_filter action was not carried out"
            );
            report["error"] = why.into();
        }
        report
    }

    fn try_act(
        &self,
        action: &NetworkFilterAction,
        actor: Actor,
        filters: &PacketFilters,
    ) -> Result<(), String> {
        let subject = match action.scope {
            ActionScope::Cgroup if actor.cgroup_id == 0 => return Err("no cgroup is known".into()),
            ActionScope::Cgroup if actor.cgroup_id == ROOT_CGROUP => {
                return Err("the root cgroup is the whole host".into());
            }
            ActionScope::Cgroup => PacketSubject::Cgroup(actor.cgroup_id),
            _ if actor.pid == 0 => return Err("no process is known".into()),
            _ if actor.pid == atalaya_host::paths::own_pid() => {
                return Err("it is the agent itself".into());
            }
            _ => PacketSubject::Process(actor.pid, actor.start_low),
        };
        let mut state = self.state();
        let State { enforcer, subjects } = &mut *state;
        let Some(enforcer) = enforcer else {
            return Err("there are no classifiers".into());
        };
        if !filters.actions.contains_key(&action.filter) {
            return Err("there are too many filters".into());
        }
        let order = (action.filter.clone(), action.policy == NetworkPolicy::Drop);
        let mut orders = subjects.get(&subject).cloned().unwrap_or_default();
        if !orders.insert(order) {
            return Ok(());
        }
        enforcer
            .set(subject, masks(&orders, filters))
            .map_err(|error| error.to_string())?;
        subjects.insert(subject, orders);
        Ok(())
    }

    /// A process has ended: its pid may be another's soon.
    pub(crate) fn ended(&self, header: &Header) {
        let mut state = self.state();
        let subject = PacketSubject::Process(header.pid, header.start_low);
        if state.subjects.remove(&subject).is_some()
            && let Some(enforcer) = &state.enforcer
        {
            // Nothing is lost by an order for nobody.
            let _ = enforcer.set(subject, PacketOrders::default());
        }
    }
}

fn masks(orders: &BTreeSet<(String, bool)>, filters: &PacketFilters) -> PacketOrders {
    let mut masks = PacketOrders::default();
    for (filter, drop) in orders {
        let bit = filters.actions.get(filter).map_or(0, |at| 1 << (at % 64));
        match drop {
            true => masks.drop |= bit,
            false => masks.accept |= bit,
        }
    }
    masks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_and_is_not_given_anew_at_once() {
        let set = |texts: &[&'static str]| texts.iter().copied().collect::<BTreeSet<_>>();
        let mut left = Vec::new();
        let first = number(&set(&["a", "b", "c"]), &BTreeMap::new(), 4, &mut left);
        assert_eq!(first.get("c"), Some(&2));
        // `a` is gone, but its number may still be on its way to here.
        let second = number(&set(&["b", "c", "d"]), &first, 4, &mut left);
        assert_eq!(second.get("b"), Some(&1));
        assert_eq!(second.get("d"), Some(&3));
        assert!(left.is_empty());
        let third = number(&set(&["b", "c", "d", "e", "f"]), &second, 4, &mut left);
        assert_eq!(third.get("e"), Some(&0));
        assert_eq!(left, ["f"]);
    }
}
