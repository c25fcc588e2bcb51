//! DNS messages (RFC 1035): the question, and of the answer the addresses and the names on the way to them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::u16_at;

const HEADER: usize = 12;
/// The longest name, in bytes on the wire.
const MAX_NAME: usize = 255;
/// Answers beyond which no more are read: more do not fit into what is captured.
const MAX_ANSWERS: usize = 512;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// Why bytes are no DNS message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Shorter than the header, or than what the header says follows.
    Short,
    /// A name with a label of no known kind, or longer than a name may be.
    Name,
    /// A pointer that does not point back.
    Pointer,
    /// A question that asks nothing.
    Empty,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Short => "it ends too early",
            Self::Name => "a name in it is none",
            Self::Pointer => "a name in it points to where none can be",
            Self::Empty => "it asks nothing",
        })
    }
}

impl std::error::Error for Malformed {}

/// A question or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The number that question and answer have in common.
    pub id: u16,
    /// It is an answer.
    pub is_response: bool,
    /// How it was answered; 0 is well. With the bits that EDNS adds left out.
    pub code: u8,
    /// It was too long for the way it came.
    pub is_cut: bool,
    /// How many questions it says it has.
    pub questions: u16,
    /// The first question; an answer may leave it out.
    pub question: Question,
    /// The records of the answer that tell addresses and aliases, in their order.
    pub answers: Vec<Answer>,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Question {
    /// The name: labels with dots between them, without the last one; what cannot be printed as `\nnn`.
    pub name: String,
    /// The type of record.
    pub kind: u16,
    /// The class of record.
    pub class: u16,
}

/// A record of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whose record it is.
    pub name: String,
    /// How long it is good for, in seconds.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// The name's address.
    Address(IpAddr),
    /// The name that it is an alias of.
    Alias(String),
}

impl Message {
    /// Reads a message, or the beginning of one: answers that were cut are left out.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let field = |at| u16_at(bytes, at).ok_or(Malformed::Short);
        let (id, flags, questions, answers) = (field(0)?, field(2)?, field(4)?, field(6)?);
        if bytes.len() < HEADER {
            return Err(Malformed::Short);
        }
        let mut message = Self {
            id,
            is_response: flags & 0x8000 != 0,
            code: (flags & 0xf) as u8,
            is_cut: flags & 0x0200 != 0,
            questions,
            ..Self::default()
        };
        let mut at = HEADER;
        if questions == 0 {
            if !message.is_response {
                return Err(Malformed::Empty);
            }
            message.answers = read_answers(bytes, at, answers);
            return Ok(message);
        }
        (message.question, at) = question(bytes, at)?;
        for _ in 1..questions {
            // A second question is allowed by the format and asked by nobody.
            match question(bytes, at) {
                Ok((_, after)) => at = after,
                Err(_) => return Ok(message),
            }
        }
        if message.is_response {
            message.answers = read_answers(bytes, at, answers);
        }
        Ok(message)
    }

    /// Reads a message out of the beginning of a segment of TCP, where its length stands before it. Some send that length by itself: then it
    /// is not there.
    pub fn parse_segment(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some((length, rest)) = bytes.split_first_chunk() else {
            return Err(Malformed::Short);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        let with = rest.get(..length).unwrap_or(rest);
        // By the length alone it cannot be told from a message that begins with its number, so both are tried, the likelier first.
        if length >= HEADER {
            Self::parse(with).or_else(|error| Self::parse(bytes).map_err(|_| error))
        } else {
            Self::parse(bytes)
        }
    }

    /// The addresses of the answer.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.answers.iter().filter_map(|answer| match answer.data {
            Data::Address(address) => Some(address),
            Data::Alias(_) => None,
        })
    }

    /// The names of the answer that others are aliases of.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        self.answers.iter().filter_map(|answer| match &answer.data {
            Data::Address(_) => None,
            Data::Alias(name) => Some(name.as_str()),
        })
    }
}

fn question(bytes: &[u8], at: usize) -> Result<(Question, usize), Malformed> {
    let (name, at) = name(bytes, at)?;
    let field = |at| u16_at(bytes, at).ok_or(Malformed::Short);
    let (kind, class) = (field(at)?, field(at + 2)?);
    Ok((Question { name, kind, class }, at + 4))
}

fn read_answers(bytes: &[u8], mut at: usize, count: u16) -> Vec<Answer> {
    let mut answers = Vec::new();
    for _ in 0..usize::from(count).min(MAX_ANSWERS) {
        let Some((answer, after)) = read_answer(bytes, at) else {
            break;
        };
        answers.extend(answer);
        at = after;
    }
    answers
}

/// A record, where it is of interest, and where the next begins. `None` where it is cut or makes no sense.
fn read_answer(bytes: &[u8], at: usize) -> Option<(Option<Answer>, usize)> {
    let (owner, at) = name(bytes, at).ok()?;
    let (kind, class) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
    let ttl = u32::from_be_bytes(*bytes.get(at + 4..)?.first_chunk()?);
    let length = usize::from(u16_at(bytes, at + 8)?);
    let start = at + 10;
    let end = start + length;
    let body = bytes.get(start..end)?;
    let data = match kind {
        _ if class != CLASS_IN => None,
        TYPE_A => address::<4, Ipv4Addr>(body),
        TYPE_AAAA => address::<16, Ipv6Addr>(body),
        TYPE_CNAME => Some(Data::Alias(name(bytes, start).ok()?.0)),
        _ => None,
    };
    let answer = data.map(|data| Answer {
        name: owner,
        ttl,
        data,
    });
    Some((answer, end))
}

fn address<const N: usize, T>(body: &[u8]) -> Option<Data>
where
    T: From<[u8; N]>,
    IpAddr: From<T>,
{
    let bytes: [u8; N] = body.try_into().ok()?;
    Some(Data::Address(IpAddr::from(T::from(bytes))))
}

/// A name, and where what follows it begins. A pointer must point before where the name, or the part of it that led there, began: so it ends.
fn name(bytes: &[u8], start: usize) -> Result<(String, usize), Malformed> {
    let mut text = String::new();
    let (mut at, mut part, mut after, mut length) = (start, start, None, 0);
    loop {
        let size = usize::from(*bytes.get(at).ok_or(Malformed::Short)?);
        match size >> 6 {
            0 if size == 0 => break,
            0 => {
                length += size + 1;
                if length >= MAX_NAME {
                    return Err(Malformed::Name);
                }
                let label = bytes.get(at + 1..at + 1 + size).ok_or(Malformed::Short)?;
                if !text.is_empty() {
                    text.push('.');
                }
                push_label(&mut text, label);
                at += 1 + size;
            }
            3 => {
                let pointer = usize::from(u16_at(bytes, at).ok_or(Malformed::Short)? & 0x3fff);
                if pointer >= part || pointer < HEADER {
                    return Err(Malformed::Pointer);
                }
                after = after.or(Some(at + 2));
                (at, part) = (pointer, pointer);
            }
            _ => return Err(Malformed::Name),
        }
    }
    Ok((text, after.unwrap_or(at + 1)))
}

/// As in the files of name servers: a dot or a backslash within a label has a backslash before it, what cannot be printed is a number.
fn push_label(text: &mut String, label: &[u8]) {
    for byte in label {
        match byte {
            b'.' | b'\\' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            0x21..=0x7e => text.push(char::from(*byte)),
            _ => {
                // A string takes all that is written.
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
}
