//! Expressions for their value: what a `set` action computes.

use crate::check::{IntOperand, List, Operand};
use crate::compile::{Checker, Scope};
use crate::error::{Error, ErrorKind};
use crate::ir::{Cx, Num, Source, Truth};
use crate::model::{EventView, FieldInfo, Item, OwnedValue, Type};
use crate::parser::parse_macro;
use crate::pattern::Literal;
use crate::program::Program;
use crate::variables::EvalContext;

/// A compiled expression that yields a value of any type.
#[derive(Debug, Clone)]
pub struct ValueProgram {
    event_type: Option<String>,
    fields: Vec<FieldInfo>,
    ty: Type,
    list: bool,
    node: Node,
}

#[derive(Debug, Clone)]
enum Node {
    Const(OwnedValue),
    Condition(Box<Program>),
    Num(Num),
    Source(Source),
    /// A list of texts, some of which are put together for each event.
    Texts(Vec<String>, Vec<Source>),
}

/// Compiles an expression or list for its value. It may name fields of one event type, or of none.
pub fn compile_value(source: &str, scope: &Scope<'_>) -> Result<ValueProgram, Error> {
    let run = || {
        let expr = parse_macro(source)?;
        let mut checker = Checker::new(*scope);
        let operand = checker.operand(&expr)?;
        if !matches!(operand, Operand::Bool(Truth::Pred(_)))
            && let Some((name, _)) = &checker.register
        {
            let message = format!("iterator variable '{name}' has no meaning in a value");
            return Err(Error::new(ErrorKind::Iterator(message), expr.span)
                .help("without the brackets, the values of all elements are a list"));
        }
        checker.check_restricted()?;
        ValueProgram::new(operand, checker)
            .map_err(|message| Error::new(ErrorKind::Type(message), expr.span))
    };
    run().map_err(|error| error.located(source))
}

impl ValueProgram {
    fn new(operand: Operand, checker: Checker<'_>) -> Result<Self, String> {
        let Checker {
            event: event_type,
            fields,
            register,
            ..
        } = checker;
        let node = match operand {
            Operand::Bool(Truth::Source(source))
            | Operand::Str(source)
            | Operand::IpSource(source) => Node::Source(source),
            Operand::Bool(Truth::Pred(pred)) => {
                let iter = register.map(|(_, iter)| iter);
                let program = Program::new(*pred, event_type.clone(), fields.clone(), iter);
                Node::Condition(Box::new(program))
            }
            Operand::Int(IntOperand {
                num: Num::Const(value),
                ..
            }) => Node::Const(OwnedValue::Int(value)),
            Operand::Int(IntOperand { num, .. }) => Node::Num(num),
            Operand::Text(Literal::Text(text)) => Node::Const(OwnedValue::Str(text)),
            Operand::Ip(net) => Node::Const(OwnedValue::Ip(net)),
            Operand::List(List::Ints(list)) => Node::Const(OwnedValue::IntList(list)),
            Operand::List(List::Bools(list)) => Node::Const(OwnedValue::BoolList(list)),
            Operand::List(List::Ips(list)) => Node::Const(OwnedValue::IpList(list)),
            Operand::List(List::Texts(literals, dynamic)) => {
                let text = |(literal, _)| match literal {
                    Literal::Text(text) => Ok(text),
                    other => Err(format!("{} is no value", Operand::Text(other).describe())),
                };
                let texts = literals
                    .into_iter()
                    .map(text)
                    .collect::<Result<Vec<_>, _>>()?;
                if dynamic.is_empty() {
                    Node::Const(OwnedValue::StrList(texts))
                } else {
                    Node::Texts(texts, dynamic)
                }
            }
            other @ Operand::Text(_) => return Err(format!("{} is no value", other.describe())),
        };
        let (ty, list) = match &node {
            Node::Const(value) => (value.ty(), value.is_list()),
            Node::Condition(_) => (Type::Bool, false),
            Node::Num(num) => (Type::Int, num.many()),
            Node::Source(source) => (source.ty(), source.many()),
            Node::Texts(..) => (Type::String, true),
        };
        Ok(Self {
            event_type,
            fields,
            ty,
            list,
            node,
        })
    }

    /// The type of the value, or of each element.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// Whether the value is a list.
    pub fn is_list(&self) -> bool {
        self.list
    }

    /// The event type whose fields it names, if it names any.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// The fields that it reads, each once.
    pub fn fields(&self) -> &[FieldInfo] {
        &self.fields
    }

    /// The value for this event, always of [`Self::ty`] and a list if [`Self::is_list`]. What the event does not have is zero,
    /// empty, or missing in the list.
    pub fn evaluate(&self, event: &dyn EventView, context: &EvalContext<'_>) -> OwnedValue {
        let cx = Cx {
            event,
            context,
            register: 0,
        };
        let mut value = OwnedValue::zero(self.ty, self.list);
        let mut add = |item: Item<'_>| {
            value.add(item);
            !self.list
        };
        match &self.node {
            Node::Const(value) => return value.clone(),
            Node::Condition(program) => {
                return OwnedValue::Bool(program.matches(event, context));
            }
            Node::Num(num) => {
                num.any(&cx, &mut |value| add(Item::Int(value)));
            }
            Node::Source(source) => {
                source.any(&cx, &mut add);
            }
            Node::Texts(texts, sources) => {
                for text in texts {
                    add(Item::Str(text));
                }
                for source in sources {
                    source.any(&cx, &mut add);
                }
            }
        }
        value
    }
}

impl OwnedValue {
    /// Sets the value, or adds to the list. What is of another type is left out.
    fn add(&mut self, item: Item<'_>) {
        match (self, item) {
            (Self::Bool(value), Item::Bool(item)) => *value = item,
            (Self::Int(value), Item::Int(item)) => *value = item,
            (Self::Str(value), Item::Str(item)) => item.clone_into(value),
            (Self::Ip(value), Item::Ip(item)) => *value = item,
            (Self::BoolList(list), Item::Bool(item)) => list.push(item),
            (Self::IntList(list), Item::Int(item)) => list.push(item),
            (Self::StrList(list), Item::Str(item)) => list.push(item.to_owned()),
            (Self::IpList(list), Item::Ip(item)) => list.push(item),
            _ => {}
        }
    }
}
