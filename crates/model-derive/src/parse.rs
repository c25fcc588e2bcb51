//! Attributes → [`Model`].

use syn::spanned::Spanned;
use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Fields, Generics, Ident, LitInt, LitStr, Meta, Path,
    Result, Type,
};

/// A struct with its table entries, in the order of the source.
pub(crate) struct Model {
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    pub(crate) entries: Vec<Entry>,
}

/// One entry of the table.
pub(crate) enum Entry {
    /// A value.
    Leaf(Box<Leaf>),
    /// The entries of another struct.
    Nested {
        member: Ident,
        ty: Box<Type>,
        prefix: String,
        /// The member is a list: its entries have a value for each element.
        each: bool,
        unavailable: String,
    },
}

/// A value and what the table says of it.
pub(crate) struct Leaf {
    pub(crate) name: String,
    pub(crate) doc: String,
    /// The type whose `FieldValue` implementation gives the SECL type.
    pub(crate) ty: Type,
    pub(crate) source: Source,
    pub(crate) text: Option<Ident>,
    pub(crate) weight: u32,
    pub(crate) constants: String,
    pub(crate) since: String,
    pub(crate) validator: Option<Expr>,
    pub(crate) unavailable: String,
}

/// Where the value comes from.
pub(crate) enum Source {
    /// A struct field.
    Member(Ident),
    /// A function of the struct.
    Function(Path),
}

impl Model {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.span(), "Fields: only structs"));
        };
        let Fields::Named(fields) = &data.fields else {
            return Err(Error::new(input.span(), "Fields: only named fields"));
        };
        let mut entries = Vec::new();
        for field in &fields.named {
            let Some(member) = &field.ident else { continue };
            let doc = doc_of(&field.attrs);
            for attribute in &field.attrs {
                if attribute.path().is_ident("nested") {
                    let keys = Keys::parse(attribute)?;
                    entries.push(Entry::Nested {
                        member: member.clone(),
                        ty: Box::new(field.ty.clone()),
                        prefix: keys.prefix.unwrap_or_default(),
                        each: keys.each,
                        unavailable: keys.unavailable,
                    });
                } else if attribute.path().is_ident("field") {
                    let keys = Keys::parse(attribute)?;
                    let source = Source::Member(member.clone());
                    entries.push(keys.leaf(attribute, member, &doc, &field.ty, source)?);
                } else if attribute.path().is_ident("computed") {
                    let mut keys = Keys::parse(attribute)?;
                    let (Some(ty), Some(get)) = (keys.ty.take(), keys.get.take()) else {
                        return Err(Error::new(
                            attribute.span(),
                            "computed needs `ty` and `get`",
                        ));
                    };
                    let source = Source::Function(get);
                    entries.push(keys.leaf(attribute, member, &doc, &ty, source)?);
                }
            }
        }
        Ok(Self {
            ident: input.ident.clone(),
            generics: input.generics.clone(),
            entries,
        })
    }
}

/// The keys of an attribute.
#[derive(Default)]
struct Keys {
    name: Option<String>,
    doc: Option<String>,
    prefix: Option<String>,
    ty: Option<Type>,
    get: Option<Path>,
    text: Option<Ident>,
    weight: u32,
    constants: String,
    since: String,
    validator: Option<Expr>,
    unavailable: String,
    each: bool,
}

impl Keys {
    fn parse(attribute: &Attribute) -> Result<Self> {
        let mut keys = Self::default();
        if matches!(attribute.meta, Meta::Path(_)) {
            return Ok(keys);
        }
        attribute.parse_nested_meta(|meta| {
            let Some(key) = meta.path.get_ident().map(ToString::to_string) else {
                return Err(meta.error("expected a key"));
            };
            if key == "each" {
                keys.each = true;
                return Ok(());
            }
            let value = meta.value()?;
            match key.as_str() {
                "name" => keys.name = Some(value.parse::<LitStr>()?.value()),
                "doc" => keys.doc = Some(value.parse::<LitStr>()?.value()),
                "prefix" => keys.prefix = Some(value.parse::<LitStr>()?.value()),
                "constants" => keys.constants = value.parse::<LitStr>()?.value(),
                "since" => keys.since = value.parse::<LitStr>()?.value(),
                "ty" => keys.ty = Some(value.parse()?),
                "get" => keys.get = Some(value.parse()?),
                "text" => keys.text = Some(value.parse()?),
                "validator" => keys.validator = Some(value.parse()?),
                "unavailable" => keys.unavailable = value.parse::<LitStr>()?.value(),
                "weight" => keys.weight = value.parse::<LitInt>()?.base10_parse()?,
                _ => return Err(meta.error("unknown key")),
            }
            Ok(())
        })?;
        Ok(keys)
    }

    fn leaf(
        self,
        attribute: &Attribute,
        member: &Ident,
        doc: &str,
        ty: &Type,
        source: Source,
    ) -> Result<Entry> {
        let doc = self.doc.unwrap_or_else(|| doc.to_owned());
        if doc.is_empty() {
            return Err(Error::new(attribute.span(), "a field needs a doc comment"));
        }
        Ok(Entry::Leaf(Box::new(Leaf {
            name: self.name.unwrap_or_else(|| member.to_string()),
            doc,
            ty: ty.clone(),
            source,
            text: self.text,
            weight: self.weight,
            constants: self.constants,
            since: self.since,
            validator: self.validator,
            unavailable: self.unavailable,
        })))
    }
}

/// The first paragraph of the doc comment, in one line.
fn doc_of(attributes: &[Attribute]) -> String {
    let mut lines = Vec::new();
    for attribute in attributes {
        let Meta::NameValue(pair) = &attribute.meta else {
            continue;
        };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if let Expr::Lit(literal) = &pair.value
            && let syn::Lit::Str(text) = &literal.lit
        {
            let text = text.value();
            if text.trim().is_empty() && !lines.is_empty() {
                break;
            }
            lines.push(text.trim().to_owned());
        }
    }
    lines.join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;
    use syn::parse_quote;

    #[test]
    fn reads_names_docs_and_sources() {
        let model = Model::parse(&parse_quote! {
            struct S {
                /// First line
                /// goes on.
                ///
                /// Not this.
                #[field(weight = 7, constants = "Open flags")]
                #[computed(name = "twice", ty = i64, get = S::twice, doc = "Doubled.")]
                a: u32,
                /// Not in the table.
                b: u32,
                #[nested(prefix = "file")]
                c: File,
            }
        })
        .unwrap();
        assert_eq!(model.entries.len(), 3);
        let Entry::Leaf(a) = &model.entries[0] else {
            panic!("a leaf")
        };
        assert_eq!(
            (a.name.as_str(), a.doc.as_str(), a.weight),
            ("a", "First line goes on.", 7)
        );
        let Entry::Leaf(twice) = &model.entries[1] else {
            panic!("a leaf")
        };
        assert_eq!(
            (twice.name.as_str(), twice.doc.as_str()),
            ("twice", "Doubled.")
        );
        assert!(matches!(&model.entries[2], Entry::Nested { prefix, .. } if prefix == "file"));
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        let refused =
            |input: DeriveInput| Model::parse(&input).err().map(|error| error.to_string());
        assert_eq!(
            refused(parse_quote! { struct S { #[field] a: u32 } }).unwrap(),
            "a field needs a doc comment"
        );
        assert_eq!(
            refused(parse_quote! { struct S { /// x
            #[field(nmae = "b")] a: u32 } })
            .unwrap(),
            "unknown key"
        );
        assert_eq!(
            refused(parse_quote! { struct S { /// x
            #[computed(name = "b")] a: u32 } })
            .unwrap(),
            "computed needs `ty` and `get`"
        );
        assert!(refused(parse_quote! { enum E { A } }).is_some());
        assert!(refused(parse_quote! { struct T(u32); }).is_some());
    }
}
