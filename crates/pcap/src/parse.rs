//! Tokens to a tree. `and` and `or` bind alike, from the left; a value alone takes the words of the one before (`port 80 or 443`).

use crate::ast::{Arith, ByteOp, Direction, Expr, Id, Kind, Primitive, Qualifiers};
use crate::cbpf::{Alu, Cond, Size};
use crate::error::{Error, Span};
use crate::lex::{Token, lex};
use crate::names::{self, Proto};

/// How deep parentheses and negations may be.
const MAX_DEPTH: usize = 64;
/// How many conditions and operators.
const MAX_TERMS: usize = 1024;

/// Words of the language that mean something only where this program never is.
const FOREIGN: [&str; 49] = [
    "gateway",
    "protochain",
    "geneve",
    "radio",
    "type",
    "subtype",
    "direction",
    "dir",
    "addr1",
    "addr2",
    "addr3",
    "addr4",
    "address1",
    "address2",
    "address3",
    "address4",
    "ra",
    "ta",
    "on",
    "ifname",
    "rset",
    "ruleset",
    "rnr",
    "rulenum",
    "srnr",
    "subrulenum",
    "reason",
    "action",
    "lane",
    "metac",
    "bcc",
    "oam",
    "oamf4",
    "vpi",
    "vci",
    "fisu",
    "lssu",
    "msu",
    "sio",
    "opc",
    "dpc",
    "sls",
    "iso",
    "esis",
    "isis",
    "clnp",
    "l1",
    "l2",
    "iih",
];

/// A part of the text: a condition, or as yet a number.
enum Node {
    /// With the words that a value after it takes, and whether it is a value without words of its own.
    Cond(Expr, Option<Qualifiers>, bool),
    Number(Arith),
}

struct Parser {
    tokens: Vec<(Token, Span)>,
    at: usize,
    end: Span,
    depth: usize,
    terms: usize,
}

/// `None` for a text without any word: every packet.
pub(crate) fn parse(text: &str) -> Result<Option<Expr>, Error> {
    let tokens = lex(text)?;
    if tokens.is_empty() {
        return Ok(None);
    }
    let end = Span::new(text.len(), text.len());
    let mut parser = Parser {
        tokens,
        at: 0,
        end,
        depth: 0,
        terms: 0,
    };
    let start = parser.span();
    let node = parser.expression(None)?;
    let (expr, ..) = parser.condition(node, None, start)?;
    match parser.peek() {
        None => Ok(Some(expr)),
        Some(_) => Err(parser.unexpected("`and`, `or` or the end")),
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(self.end, |(_, span)| *span)
    }

    /// From there to the last token that was taken.
    fn since(&self, start: Span) -> Span {
        let last = self.at.checked_sub(1).and_then(|at| self.tokens.get(at));
        start.to(last.map_or(start, |(_, span)| *span))
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(found);
        found
    }

    /// The word that is next, unless it was written with a backslash.
    fn word(&self) -> Option<&str> {
        match self.peek() {
            Some(Token::Word(word, false)) => Some(word),
            _ => None,
        }
    }

    fn take_word(&mut self, words: &[&str]) -> bool {
        let found = self.word().is_some_and(|word| words.contains(&word));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Error> {
        if self.take_sign(sign) {
            return Ok(());
        }
        Err(self.unexpected(&format!("`{sign}`")))
    }

    fn unexpected(&self, wanted: &str) -> Error {
        let span = self.span();
        match self.peek() {
            None => Error::new(format!("the filter ends where {wanted} is missing"), span),
            Some(Token::Word(word, false)) if FOREIGN.contains(&word.as_str()) => {
                Error::new(format!("`{word}` is not supported"), span)
                    .help("filters are for Ethernet and bare IP; what they can say is in the documentation of `packet.filter`")
            }
            Some(Token::Word(word, false)) if names::words().any(|known| known == word) => {
                Error::new(format!("expected {wanted}, found `{word}`"), span)
            }
            Some(Token::Word(word, _)) => {
                let error = Error::new(format!("unknown word `{word}`"), span);
                let near = names::words()
                    .map(|known| (strsim::damerau_levenshtein(known, word), known))
                    .filter(|(distance, known)| *distance <= 1 + known.len() / 5)
                    .min();
                match near {
                    Some((_, known)) => error.help(format!("did you mean `{known}`?")),
                    None => error.help(format!("here belongs {wanted}")),
                }
            }
            Some(Token::Sign(sign)) => {
                Error::new(format!("expected {wanted}, found `{sign}`"), span)
            }
            Some(_) => Error::new(format!("expected {wanted}, found a value"), span)
                .help("a value needs a word before it: `host 10.0.0.1`, `port 53`, `net 10.0.0.0/8`"),
        }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} levels deep");
            return Err(Error::new(message, self.span()));
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn count(&mut self) -> Result<(), Error> {
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("more than {MAX_TERMS} conditions and operators");
            return Err(Error::new(message, self.span()));
        }
        Ok(())
    }

    /// Conditions joined by `and` and `or`.
    fn expression(&mut self, inherited: Option<Qualifiers>) -> Result<Node, Error> {
        let start = self.span();
        let mut left = self.operand(inherited)?;
        loop {
            let and = if self.take_word(&["and"]) || self.take_sign("&&") {
                true
            } else if self.take_word(&["or"]) || self.take_sign("||") {
                false
            } else {
                return Ok(left);
            };
            self.count()?;
            let (first, qualifiers, bare) = self.condition(left, inherited, start)?;
            let begin = self.span();
            let node = self.operand(qualifiers)?;
            let (second, qualifiers, _) = self.condition(node, qualifiers, begin)?;
            let (first, second) = (Box::new(first), Box::new(second));
            let joined = if and {
                Expr::And(first, second)
            } else {
                Expr::Or(first, second)
            };
            left = Node::Cond(joined, qualifiers, bare);
        }
    }

    /// What must be a condition: a number alone is one where words can be taken from before.
    fn condition(
        &self,
        node: Node,
        inherited: Option<Qualifiers>,
        start: Span,
    ) -> Result<(Expr, Option<Qualifiers>, bool), Error> {
        let span = self.since(start);
        match node {
            Node::Cond(expr, qualifiers, bare) => Ok((expr, qualifiers, bare)),
            Node::Number(Arith::Number(number)) => {
                let qualifiers = wanted(inherited, span)?;
                let expr = Expr::Is(Primitive::Id(qualifiers, Id::Number(number)), span);
                Ok((expr, Some(qualifiers), true))
            }
            Node::Number(_) => Err(Error::new("a number where a condition is needed", span)
                .help("compare it: `tcp[13] & 2 != 0`")),
        }
    }

    /// One condition, or a number.
    fn operand(&mut self, inherited: Option<Qualifiers>) -> Result<Node, Error> {
        let start = self.span();
        self.count()?;
        if self.take_sign("!") || self.take_word(&["not"]) {
            let node = self.deeper(|parser| parser.operand(inherited))?;
            let (expr, qualifiers, bare) = self.condition(node, inherited, start)?;
            return Ok(Node::Cond(Expr::Not(Box::new(expr)), qualifiers, bare));
        }
        let number = match self.primary(inherited)? {
            Node::Number(number) => self.operators(number, 0)?,
            condition => return Ok(condition),
        };
        let Some((cond, negated)) = self.relation() else {
            return Ok(Node::Number(number));
        };
        let right = self.arithmetic(0)?;
        let relation = Primitive::Relation(cond, negated, number, right);
        Ok(Node::Cond(
            Expr::Is(relation, self.since(start)),
            None,
            false,
        ))
    }

    fn relation(&mut self) -> Option<(Cond, bool)> {
        let Some(Token::Sign(sign)) = self.peek() else {
            return None;
        };
        let found = match *sign {
            ">" => (Cond::Gt, false),
            ">=" => (Cond::Ge, false),
            "=" => (Cond::Eq, false),
            "<=" => (Cond::Gt, true),
            "<" => (Cond::Ge, true),
            "!=" => (Cond::Eq, true),
            _ => return None,
        };
        self.at += 1;
        Some(found)
    }

    fn arithmetic(&mut self, binding: u8) -> Result<Arith, Error> {
        let start = self.span();
        self.count()?;
        match self.primary(None)? {
            Node::Number(number) => self.operators(number, binding),
            Node::Cond(..) => Err(Error::new(
                "a condition where a number is needed",
                self.since(start),
            )),
        }
    }

    /// Operators that bind at least so strongly. `%` and `^` have no rank in the language: what comes after belongs to them.
    fn operators(&mut self, mut left: Arith, binding: u8) -> Result<Arith, Error> {
        loop {
            let Some(Token::Sign(sign)) = self.peek() else {
                return Ok(left);
            };
            let (op, rank) = match *sign {
                "|" => (Alu::Or, Some(1)),
                "&" => (Alu::And, Some(2)),
                "<<" => (Alu::Lsh, Some(3)),
                ">>" => (Alu::Rsh, Some(3)),
                "+" => (Alu::Add, Some(4)),
                "-" => (Alu::Sub, Some(4)),
                "*" => (Alu::Mul, Some(5)),
                "/" => (Alu::Div, Some(5)),
                "%" => (Alu::Mod, None),
                "^" => (Alu::Xor, None),
                _ => return Ok(left),
            };
            if rank.is_some_and(|rank| rank < binding) {
                return Ok(left);
            }
            self.at += 1;
            let place = self.span();
            let right = self.deeper(|parser| parser.arithmetic(rank.map_or(0, |rank| rank + 1)))?;
            check_operand(op, &right, place)?;
            left = Arith::Op(op, Box::new(left), Box::new(right));
        }
    }

    /// A condition or number without operators.
    fn primary(&mut self, inherited: Option<Qualifiers>) -> Result<Node, Error> {
        let start = self.span();
        match self.peek() {
            Some(Token::Number(number)) => {
                let number = *number;
                self.at += 1;
                return Ok(Node::Number(Arith::Number(number)));
            }
            Some(Token::Sign("-")) => {
                self.at += 1;
                let inner = self.deeper(|parser| parser.arithmetic(6))?;
                return Ok(Node::Number(Arith::Neg(Box::new(inner))));
            }
            Some(Token::Sign("(")) => {
                self.at += 1;
                let node = self.deeper(|parser| parser.expression(inherited))?;
                self.expect(")")?;
                // After values in parentheses their words go on; after conditions, those from before.
                return Ok(match node {
                    Node::Cond(expr, _, false) => Node::Cond(expr, inherited, false),
                    other => other,
                });
            }
            _ => {}
        }
        if self.take_word(&["len", "length"]) {
            return Ok(Node::Number(Arith::Len));
        }
        if let Some(node) = self.keyword(start)? {
            return Ok(node);
        }
        if inherited.is_some() && self.is_value() {
            return self.value(wanted(inherited, start)?, true);
        }
        Err(self.unexpected("a condition"))
    }

    /// What begins with a word of the language.
    fn keyword(&mut self, start: Span) -> Result<Option<Node>, Error> {
        let proto = self.word().and_then(Proto::of);
        self.at += usize::from(proto.is_some());
        if let Some(proto) = proto
            && self.take_sign("[")
        {
            return self.load(proto, start).map(|load| Some(Node::Number(load)));
        }
        if self.take_word(&["broadcast"]) {
            return Ok(Some(self.is(Primitive::Broadcast(proto), start)));
        }
        if self.take_word(&["multicast"]) {
            return Ok(Some(self.is(Primitive::Multicast(proto), start)));
        }
        if let Some(qualifiers) = self.qualifiers(proto) {
            return self.value(qualifiers, false).map(Some);
        }
        if let Some(proto) = proto {
            if proto == Proto::Link {
                return Err(self
                    .unexpected("`host`, `src`, `dst`, `proto`, `broadcast`, `multicast` or `[`"));
            }
            return Ok(Some(self.is(Primitive::Proto(proto), start)));
        }
        let Some(primitive) = self.other()? else {
            return Ok(None);
        };
        Ok(Some(self.is(primitive, start)))
    }

    fn is(&self, primitive: Primitive, start: Span) -> Node {
        Node::Cond(Expr::Is(primitive, self.since(start)), None, false)
    }

    /// The words before a value, if there are any but the protocol.
    fn qualifiers(&mut self, proto: Option<Proto>) -> Option<Qualifiers> {
        let mut direction = None;
        for (word, other, alone) in [
            ("src", "dst", Direction::Src),
            ("dst", "src", Direction::Dst),
        ] {
            if direction.is_none() && self.take_word(&[word]) {
                let ahead = |at: usize| self.tokens.get(self.at + at).map(|(token, _)| token);
                let second = matches!(ahead(1), Some(Token::Word(found, false)) if found == other);
                direction = Some(match ahead(0) {
                    Some(Token::Word(word, false)) if second && word == "or" => Direction::Or,
                    Some(Token::Sign("||")) if second => Direction::Or,
                    Some(Token::Word(word, false)) if second && word == "and" => Direction::And,
                    Some(Token::Sign("&&")) if second => Direction::And,
                    _ => alone,
                });
                if direction != Some(alone) {
                    self.at += 2;
                }
            }
        }
        let kinds = [
            ("host", Kind::Host),
            ("net", Kind::Net),
            ("port", Kind::Port),
            ("portrange", Kind::PortRange),
            ("proto", Kind::Proto),
        ];
        let kind = kinds.into_iter().find(|(word, _)| self.take_word(&[word]));
        if direction.is_none() && kind.is_none() {
            return None;
        }
        Some(Qualifiers {
            proto,
            direction,
            kind: kind.map_or(Kind::Default, |row| row.1),
        })
    }

    fn is_value(&self) -> bool {
        match self.peek() {
            Some(Token::Word(word, quoted)) => {
                *quoted
                    || !(FOREIGN.contains(&word.as_str())
                        || names::words().any(|known| known == word))
            }
            Some(Token::Number(_) | Token::V4(..) | Token::V6(_) | Token::Mac(_)) => true,
            _ => false,
        }
    }

    /// A value after its words, or several in parentheses.
    fn value(&mut self, qualifiers: Qualifiers, bare: bool) -> Result<Node, Error> {
        let start = self.span();
        if self.take_sign("!") || self.take_word(&["not"]) {
            self.count()?;
            let node = self.deeper(|parser| parser.value(qualifiers, bare))?;
            let (expr, ..) = self.condition(node, Some(qualifiers), start)?;
            return Ok(Node::Cond(
                Expr::Not(Box::new(expr)),
                Some(qualifiers),
                bare,
            ));
        }
        if self.take_sign("(") {
            let node = self.deeper(|parser| parser.expression(Some(qualifiers)))?;
            self.expect(")")?;
            let (expr, ..) = self.condition(node, Some(qualifiers), start)?;
            return Ok(Node::Cond(expr, Some(qualifiers), bare));
        }
        if !self.is_value() {
            let error = self.unexpected("a value");
            return Err(match self.word() {
                Some(word) if Proto::of(word).is_some() => {
                    let help = format!("to mean the number of the protocol, write `\\{word}`");
                    error.help(help)
                }
                _ => error,
            });
        }
        let token = self.peek().cloned();
        self.at += 1;
        let id = match token {
            Some(Token::Number(number)) => Id::Number(number),
            Some(Token::V4(address, bits)) => self.v4(address, bits, start)?,
            Some(Token::V6(address)) => self.v6(address, start)?,
            Some(Token::Mac(mac)) => Id::Mac(mac),
            Some(Token::Word(word, _)) => Id::Name(word),
            _ => return Err(self.unexpected("a value")),
        };
        let expr = Expr::Is(Primitive::Id(qualifiers, id), self.since(start));
        Ok(Node::Cond(expr, Some(qualifiers), bare))
    }

    /// An address, with its length of prefix or mask if there is one.
    fn v4(&mut self, address: u32, bits: u8, start: Span) -> Result<Id, Error> {
        let left = |value: u32, bits: u8| value << (32 - u32::from(bits));
        let mask = if self.take_sign("/") {
            let span = self.span();
            let length = self.number()?;
            if length > 32 {
                return Err(Error::new("the prefix is longer than 32 bits", span));
            }
            u32::MAX.checked_shl(32 - length).unwrap_or(0)
        } else if self.take_word(&["mask"]) {
            match self.peek() {
                Some(&Token::V4(mask, bits)) => {
                    self.at += 1;
                    left(mask, bits)
                }
                _ => return Err(self.unexpected("a mask")),
            }
        } else {
            return Ok(Id::V4(address, bits));
        };
        let address = left(address, bits);
        if address & !mask != 0 {
            let net = std::net::Ipv4Addr::from(address & mask);
            return Err(
                Error::new("bits are set outside of the network", self.since(start))
                    .help(format!("the network is {net}")),
            );
        }
        Ok(Id::V4Net(address, mask))
    }

    fn v6(&mut self, address: u128, start: Span) -> Result<Id, Error> {
        if !self.take_sign("/") {
            return Ok(Id::V6(address, u128::MAX, 128));
        }
        let span = self.span();
        let length = self.number()?;
        if length > 128 {
            return Err(Error::new("the prefix is longer than 128 bits", span));
        }
        let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
        if address & !mask != 0 {
            let net = std::net::Ipv6Addr::from(address & mask);
            return Err(
                Error::new("bits are set outside of the network", self.since(start))
                    .help(format!("the network is {net}")),
            );
        }
        Ok(Id::V6(address, mask, length as u8))
    }

    fn number(&mut self) -> Result<u32, Error> {
        match self.peek() {
            Some(Token::Number(number)) => {
                let number = *number;
                self.at += 1;
                Ok(number)
            }
            _ => Err(self.unexpected("a number")),
        }
    }

    /// A number that may be missing, and may stand in parentheses.
    fn optional_number(&mut self) -> Result<Option<u32>, Error> {
        let mut open = 0;
        while self.take_sign("(") {
            open += 1;
        }
        if open == 0 && !matches!(self.peek(), Some(Token::Number(_))) {
            return Ok(None);
        }
        let number = self.number()?;
        for _ in 0..open {
            self.expect(")")?;
        }
        Ok(Some(number))
    }

    /// `tcp[` was read.
    fn load(&mut self, proto: Proto, start: Span) -> Result<Arith, Error> {
        let index = self.deeper(|parser| parser.arithmetic(0))?;
        let mut size = Size::Byte;
        if self.take_sign(":") {
            let span = self.span();
            size = match self.number()? {
                1 => Size::Byte,
                2 => Size::Half,
                4 => Size::Word,
                _ => return Err(Error::new("1, 2 or 4 bytes can be read", span)),
            };
        }
        if let Some(Token::Word(word, false)) = self.peek()
            && word.starts_with(|c: char| c.is_ascii_digit())
            && word.contains('-')
        {
            let message = format!("`{word}` is one word");
            return Err(Error::new(message, self.span()).help("put spaces around the minus"));
        }
        self.expect("]")?;
        Ok(Arith::Load(proto, Box::new(index), size, self.since(start)))
    }

    /// Conditions with words of their own.
    fn other(&mut self) -> Result<Option<Primitive>, Error> {
        let Some(word) = self.word().map(str::to_owned) else {
            return Ok(None);
        };
        self.at += 1;
        Ok(Some(match word.as_str() {
            "less" => Primitive::Less(self.number()?),
            "greater" => Primitive::Greater(self.number()?),
            "byte" => {
                let index = self.number()?;
                let op = match self.peek() {
                    Some(Token::Sign("=")) => ByteOp::Eq,
                    Some(Token::Sign("<")) => ByteOp::Lt,
                    Some(Token::Sign(">")) => ByteOp::Gt,
                    Some(Token::Sign("&")) => ByteOp::And,
                    Some(Token::Sign("|")) => ByteOp::Or,
                    _ => return Err(self.unexpected("`=`, `<`, `>`, `&` or `|`")),
                };
                self.at += 1;
                Primitive::Byte(index, op, self.number()?)
            }
            "inbound" => Primitive::Inbound(true),
            "outbound" => Primitive::Inbound(false),
            "ifindex" => Primitive::Ifindex(self.number()?),
            "vlan" => Primitive::Vlan(self.optional_number()?),
            "mpls" => Primitive::Mpls(self.optional_number()?),
            "pppoed" => Primitive::PppoeDiscovery,
            "pppoes" => Primitive::PppoeSession(self.optional_number()?),
            "llc" => Primitive::Llc,
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        }))
    }
}

/// The words for a value that has none of its own.
fn wanted(inherited: Option<Qualifiers>, span: Span) -> Result<Qualifiers, Error> {
    inherited.ok_or_else(|| {
        Error::new("a value without a word that says what it is", span)
            .help("`host 10.0.0.1`, `port 53`, `net 10.0.0.0/8`")
    })
}

fn check_operand(op: Alu, right: &Arith, span: Span) -> Result<(), Error> {
    match (op, right) {
        (Alu::Div | Alu::Mod, Arith::Number(0)) => Err(Error::new("division by zero", span)),
        (Alu::Lsh | Alu::Rsh, Arith::Number(32..)) => {
            Err(Error::new("a shift by more than 31 bits", span))
        }
        _ => Ok(()),
    }
}
