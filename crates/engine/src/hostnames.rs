//! What addresses are called: the names that DNS answers gave them.
//!
//! Kept by network namespace, since an answer counts where it was received: who is in a container, and answers its own questions, must not
//! name the addresses that others connect to.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use atalaya_model::{DnsAnswer, DnsData, DnsEvent};

/// Names that one address keeps; more are those of servers that many share, and the newest count.
const NAMES: usize = 16;

/// Bounds of what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostnameOptions {
    /// Whether names are kept at all.
    pub enabled: bool,
    /// Of how many addresses.
    pub addresses: usize,
    /// How many aliases may lie between the name that was asked for and an address.
    pub aliases: usize,
}

impl Default for HostnameOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            addresses: 1024,
            aliases: 2,
        }
    }
}

type Key = (u32, IpAddr);

/// The names of addresses.
#[derive(Debug, Default)]
pub(crate) struct Hostnames {
    options: HostnameOptions,
    names: HashMap<Key, Known>,
    /// Which were heard of last, the youngest at the end. An entry whose number is not the one that the address has by now is left over.
    order: VecDeque<(Key, u64)>,
    number: u64,
}

#[derive(Debug, Default)]
struct Known {
    names: Vec<Arc<str>>,
    number: u64,
}

impl Hostnames {
    pub(crate) fn new(options: HostnameOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Keeps what an answer says that was received in this namespace.
    pub(crate) fn learn(&mut self, netns: u32, event: &DnsEvent) {
        if !self.options.enabled || !event.is_response || event.code != 0 {
            return;
        }
        for answer in &event.answers {
            let DnsData::Address(address) = answer.data else {
                continue;
            };
            let names = self.names_of(answer, event);
            for name in names {
                self.add((netns, address.to_canonical()), name);
            }
        }
    }

    /// The name that the record is of, and those that are its aliases, back to the one that was asked for.
    fn names_of<'a>(&self, answer: &'a DnsAnswer, event: &'a DnsEvent) -> Vec<&'a str> {
        let mut names = vec![answer.name.as_str()];
        let mut last = answer.name.as_str();
        for _ in 0..self.options.aliases {
            let alias = event.answers.iter().find(
                |other| matches!(&other.data, DnsData::Alias(name) if name.eq_ignore_ascii_case(last)),
            );
            match alias {
                Some(alias)
                    if !names
                        .iter()
                        .any(|name| name.eq_ignore_ascii_case(&alias.name)) =>
                {
                    last = &alias.name;
                    names.push(last);
                }
                _ => break,
            }
        }
        names
    }

    fn add(&mut self, key: Key, name: &str) {
        if name.is_empty() || self.options.addresses == 0 {
            return;
        }
        self.number += 1;
        let known = self.names.entry(key).or_default();
        known.number = self.number;
        self.order.push_back((key, self.number));
        if !known.names.iter().any(|old| old.eq_ignore_ascii_case(name)) {
            if known.names.len() == NAMES {
                known.names.remove(0);
            }
            known.names.push(name.to_ascii_lowercase().into());
        }
        self.forget();
    }

    /// Forgets the addresses that were not heard of for the longest time.
    fn forget(&mut self) {
        while self.names.len() > self.options.addresses
            || self.order.len() > 4 * self.options.addresses
        {
            let Some((key, number)) = self.order.pop_front() else {
                return;
            };
            if self
                .names
                .get(&key)
                .is_some_and(|known| known.number == number)
            {
                if self.names.len() > self.options.addresses {
                    self.names.remove(&key);
                } else {
                    // Not heard of again while others were many times: it stays, as the youngest of those that were not.
                    self.order.push_back((key, number));
                }
            }
        }
    }

    /// The names of an address, for a process in this namespace.
    pub(crate) fn of(&self, netns: u32, address: IpAddr) -> Vec<String> {
        let known = self.names.get(&(netns, address.to_canonical()));
        let names = known.into_iter().flat_map(|known| &known.names);
        names.map(|name| name.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn answer(records: &[(&str, &str)]) -> DnsEvent {
        let answers = records.iter().map(|(name, data)| DnsAnswer {
            name: (*name).to_owned(),
            data: match data.parse() {
                Ok(address) => DnsData::Address(address),
                Err(_) => DnsData::Alias((*data).to_owned()),
            },
        });
        DnsEvent {
            is_response: true,
            answers: answers.collect(),
            ..DnsEvent::default()
        }
    }

    #[test]
    fn names_by_address_and_namespace() {
        let mut names = Hostnames::new(HostnameOptions::default());
        names.learn(
            1,
            &answer(&[("a.example", "192.0.2.1"), ("a.example", "2001:db8::1")]),
        );
        names.learn(1, &answer(&[("B.example", "192.0.2.1")]));
        assert_eq!(names.of(1, ip("192.0.2.1")), ["a.example", "b.example"]);
        assert_eq!(names.of(1, ip("::ffff:192.0.2.1")).len(), 2);
        assert_eq!(names.of(1, ip("2001:db8::1")), ["a.example"]);
        assert!(names.of(2, ip("192.0.2.1")).is_empty());
    }

    #[test]
    fn aliases_as_deep_as_is_said() {
        let chain = [
            ("a.example", "b.example"),
            ("b.example", "c.example"),
            ("c.example", "d.example"),
            ("d.example", "192.0.2.9"),
        ];
        let mut names = Hostnames::new(HostnameOptions::default());
        names.learn(1, &answer(&chain));
        assert_eq!(
            names.of(1, ip("192.0.2.9")),
            ["d.example", "c.example", "b.example"]
        );
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let mut names = Hostnames::new(HostnameOptions {
            aliases: 1000,
            ..HostnameOptions::default()
        });
        names.learn(1, &answer(&[("a", "b"), ("b", "a"), ("a", "192.0.2.9")]));
        assert_eq!(names.of(1, ip("192.0.2.9")), ["a", "b"]);
    }

    #[test]
    fn what_is_no_good_answer_names_nothing() {
        let mut names = Hostnames::new(HostnameOptions::default());
        let good = answer(&[("a", "192.0.2.1")]);
        names.learn(
            1,
            &DnsEvent {
                code: 3,
                ..good.clone()
            },
        );
        names.learn(
            1,
            &DnsEvent {
                is_response: false,
                ..good
            },
        );
        assert!(names.of(1, ip("192.0.2.1")).is_empty());
    }

    #[test]
    fn no_more_is_kept_than_is_said() {
        let mut names = Hostnames::new(HostnameOptions {
            addresses: 100,
            ..HostnameOptions::default()
        });
        for n in 0..10_000u32 {
            let address = format!("10.0.{}.{}", n / 256 % 256, n % 256);
            names.learn(
                1,
                &answer(&[("x", &address), (&format!("n{n}"), "192.0.2.1")]),
            );
            assert!(names.names.len() <= 100 && names.order.len() <= 500);
        }
        // Heard of again and again, so it is there.
        let last = names.of(1, ip("192.0.2.1"));
        assert_eq!(
            (last.len(), last.last().unwrap().as_str()),
            (NAMES, "n9999")
        );
        assert!(names.of(1, ip("10.0.0.1")).is_empty());
    }
}
