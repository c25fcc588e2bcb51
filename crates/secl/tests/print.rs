//! What is printed parses to the same tree.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use atalaya_secl::{
    ArithOp, CompareOp, Expr, ExprKind, LogicalOp, Span, UnaryOp, parse, parse_macro,
};
use proptest::prelude::*;

/// The tree without places, and without parentheses unless `parens`.
fn plain(expr: &Expr, parens: bool) -> Expr {
    let again = |expr: &Expr| Box::new(plain(expr, parens));
    let all = |items: &[Expr]| items.iter().map(|item| plain(item, parens)).collect();
    let kind = match &expr.kind {
        ExprKind::Paren(inner) if parens => ExprKind::Paren(again(inner)),
        ExprKind::Paren(inner) => return plain(inner, parens),
        ExprKind::Unary(op, inner) => ExprKind::Unary(*op, again(inner)),
        ExprKind::Arith(op, left, right) => ExprKind::Arith(*op, again(left), again(right)),
        ExprKind::Compare(op, left, right) => ExprKind::Compare(*op, again(left), again(right)),
        ExprKind::Logical(op, terms) => ExprKind::Logical(*op, all(terms)),
        ExprKind::List(items) => ExprKind::List(all(items)),
        other => other.clone(),
    };
    node(kind)
}

fn node(kind: ExprKind) -> Expr {
    Expr {
        kind,
        span: Span::default(),
    }
}

#[test]
fn prints() {
    for (source, printed) in [
        ("a==b", "a == b"),
        ("((a))", "((a))"),
        ("a and (b or c)", "a && (b || c)"),
        ("a && b || c", "a && b || c"),
        ("(a && b) || c", "(a && b) || c"),
        ("! a", "not a"),
        ("!!a", "not not a"),
        ("a !~ ~\"b\"", "a !~ ~\"b\""),
        ("--3", "- -3"),
        ("- 3", "- 3"),
        ("-a", "- a"),
        ("^0&1", "^0 & 1"),
        ("1 + 2 - 3", "1 + 2 - 3"),
        ("1 - (2 - 3)", "1 - (2 - 3)"),
        ("1|2&3", "1 | 2 & 3"),
        ("a == b == c", "a == b == c"),
        ("a not  in [1,2]", "a not in [1, 2]"),
        ("a in b", "a in b"),
        ("a allin [ 10.0.0.1/8 , ::1 ]", "a allin [10.0.0.0/8, ::1]"),
        ("::ffff:10.1.2.3 == 10.0.0.0/8", "10.1.2.3 == 10.0.0.0/8"),
        ("0644 == 010", "420 == 8"),
        (
            "a < 90s && b > 3600s && c < 1500ms",
            "a < 90s && b > 1h && c < 1500ms",
        ),
        ("a < 0ms", "a < 0s"),
        (r#""a\"b" == r"\d""#, r#""a\"b" == r"\d""#),
        ("${x.y} == %{p.q[A].r}", "${x.y} == %{p.q[A].r}"),
        ("a // b\n == # c\n 1", "a == 1"),
        ("[ \"a\", ~\"b\" ]", "[\"a\", ~\"b\"]"),
        ("-9223372036854775808 == a", "-9223372036854775808 == a"),
    ] {
        let parsed =
            parse_macro(source).unwrap_or_else(|error| panic!("{}", error.render(source, "x")));
        assert_eq!(parsed.to_string(), printed, "{source}");
        let again = parse_macro(printed).unwrap();
        assert_eq!(plain(&again, true), plain(&parsed, true), "{source}");
    }
}

#[test]
fn parentheses_only_where_they_are_needed() {
    let name = |name: &str| node(ExprKind::Ident(name.to_owned()));
    let logical = |op, terms: Vec<Expr>| node(ExprKind::Logical(op, terms));
    let arith = |op, left, right| node(ExprKind::Arith(op, Box::new(left), Box::new(right)));
    let (and, or) = (LogicalOp::And, LogicalOp::Or);
    let a_or_b = || logical(or, vec![name("a"), name("b")]);
    for (tree, printed) in [
        (logical(and, vec![a_or_b(), name("c")]), "(a || b) && c"),
        (logical(and, vec![name("c"), a_or_b()]), "c && a || b"),
        (logical(or, vec![name("c"), a_or_b()]), "c || (a || b)"),
        (
            arith(
                ArithOp::Sub,
                name("a"),
                arith(ArithOp::Sub, name("b"), name("c")),
            ),
            "a - (b - c)",
        ),
        (
            arith(
                ArithOp::Sub,
                arith(ArithOp::Sub, name("a"), name("b")),
                name("c"),
            ),
            "a - b - c",
        ),
        (
            arith(
                ArithOp::And,
                arith(ArithOp::Add, name("a"), name("b")),
                name("c"),
            ),
            "(a + b) & c",
        ),
        (
            arith(
                ArithOp::Or,
                name("a"),
                arith(ArithOp::And, name("b"), name("c")),
            ),
            "a | b & c",
        ),
        (
            node(ExprKind::Unary(UnaryOp::Not, Box::new(a_or_b()))),
            "not (a || b)",
        ),
    ] {
        assert_eq!(tree.to_string(), printed);
        assert_eq!(plain(&parse(printed).unwrap(), false), tree);
    }
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "a", "b.c", "d[A].e", "f[0]", "_g", "nothing", "inn", "r", "s1",
    ])
    .prop_map(str::to_owned)
}

/// Text between quotes.
fn text() -> impl Strategy<Value = String> {
    r#"([^"\\]|\\.){0,6}"#
}

fn leaf() -> impl Strategy<Value = ExprKind> {
    prop_oneof![
        name().prop_map(ExprKind::Ident),
        any::<i64>().prop_map(ExprKind::Int),
        (-3_i64..3).prop_map(ExprKind::Int),
        (0_i64..100_000_000).prop_map(|count| ExprKind::Duration(count * 1_000_000)),
        (0_i64..100).prop_map(|count| ExprKind::Duration(count * 60_000_000_000)),
        any::<u32>().prop_map(|ip| ExprKind::Ip(std::net::IpAddr::from(ip.to_be_bytes()).into())),
        (any::<[u8; 16]>(), 0_u8..=128)
            .prop_map(|(ip, bits)| cidr(std::net::IpAddr::from(ip), bits)),
        (any::<[u8; 4]>(), 0_u8..=32).prop_map(|(ip, bits)| cidr(std::net::IpAddr::from(ip), bits)),
        text().prop_map(ExprKind::Str),
        text().prop_map(ExprKind::Pattern),
        text().prop_map(ExprKind::Regexp),
        prop::sample::select(vec!["x", "process.y", "z.length"])
            .prop_map(|name| ExprKind::Variable(name.to_owned())),
        name().prop_map(ExprKind::FieldRef),
    ]
}

/// A network without host bits, as the parser makes it; IPv4 in its IPv6 form is left out, since it becomes IPv4.
fn cidr(ip: std::net::IpAddr, bits: u8) -> ExprKind {
    let net = ipnet::IpNet::new(ip, bits).unwrap().trunc();
    match net {
        ipnet::IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() => ExprKind::Int(0),
        net => ExprKind::Cidr(net),
    }
}

/// What may stand after `in`.
fn list() -> impl Strategy<Value = ExprKind> {
    let member = leaf().prop_filter_map("a member", |kind| match kind {
        ExprKind::Variable(_) | ExprKind::FieldRef(_) | ExprKind::Duration(_) => None,
        kind => Some(node(kind)),
    });
    prop_oneof![
        prop::collection::vec(member, 1..4).prop_map(ExprKind::List),
        name().prop_map(ExprKind::Ident),
        name().prop_map(ExprKind::FieldRef),
    ]
}

fn tree() -> impl Strategy<Value = Expr> {
    leaf().prop_map(node).prop_recursive(6, 60, 4, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let unary = prop::sample::select(vec![UnaryOp::Not, UnaryOp::Neg, UnaryOp::BitNot]);
        let arith = prop::sample::select(vec![
            ArithOp::Add,
            ArithOp::Sub,
            ArithOp::And,
            ArithOp::Or,
            ArithOp::Xor,
        ]);
        let compare = prop::sample::select(vec![
            CompareOp::Eq,
            CompareOp::Ne,
            CompareOp::Lt,
            CompareOp::Ge,
            CompareOp::Match,
            CompareOp::NotMatch,
        ]);
        let member = prop::sample::select(vec![CompareOp::In, CompareOp::NotIn, CompareOp::AllIn]);
        let logical = prop::sample::select(vec![LogicalOp::And, LogicalOp::Or]);
        let right = list().prop_map(|kind| Box::new(node(kind)));
        prop_oneof![
            (unary, boxed()).prop_map(|(op, inner)| ExprKind::Unary(op, inner)),
            (arith, boxed(), boxed())
                .prop_map(|(op, left, right)| ExprKind::Arith(op, left, right)),
            (compare, boxed(), boxed())
                .prop_map(|(op, left, right)| ExprKind::Compare(op, left, right)),
            (member, boxed(), right)
                .prop_map(|(op, left, right)| ExprKind::Compare(op, left, right)),
            (logical, prop::collection::vec(inner.clone(), 2..4))
                .prop_map(|(op, terms)| ExprKind::Logical(op, terms)),
        ]
        .prop_map(node)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(tree in tree()) {
        let printed = tree.to_string();
        let parsed = parse(&printed).unwrap_or_else(|error| panic!("{}", error.render(&printed, "printed")));
        prop_assert_eq!(plain(&parsed, false), tree, "{}", printed);
        // What the parser made needs no parentheses that it does not have.
        let again = parse(&parsed.to_string()).unwrap();
        prop_assert_eq!(plain(&again, true), plain(&parsed, true), "{}", printed);
    }
}
