//! [`Model`] → the implementation.

use proc_macro2::TokenStream;
use quote::quote;

use crate::parse::{Entry, Leaf, Model, Source};

/// The implementation of `Fields`.
pub(crate) fn expand(model: &Model) -> TokenStream {
    let ident = &model.ident;
    let (impl_generics, ty_generics, where_clause) = model.generics.split_for_impl();
    let specs = model.entries.iter().zip(0u16..).map(describe);
    let arms = model.entries.iter().zip(0u16..).map(read);
    quote! {
        #[automatically_derived]
        impl #impl_generics crate::fields::Fields for #ident #ty_generics #where_clause {
            fn describe(into: &mut dyn FnMut(crate::fields::FieldSpec)) {
                let _ = &into;
                #(#specs)*
            }

            fn get<'a>(
                &'a self,
                path: &[u16],
                cx: crate::fields::Cx<'a>,
            ) -> Option<::atalaya_secl::model::Value<'a>> {
                let _ = cx;
                let (first, rest) = path.split_first()?;
                let _ = rest;
                match *first {
                    #(#arms)*
                    _ => None,
                }
            }
        }
    }
}

fn describe((entry, index): (&Entry, u16)) -> TokenStream {
    match entry {
        Entry::Nested {
            ty,
            prefix,
            each,
            unavailable,
            ..
        } => {
            let each = each.then(|| quote!(.each()));
            quote! {
                <#ty as crate::fields::Fields>::describe(&mut |spec| {
                    into(spec.without(#unavailable) #each .under(#prefix, #index));
                });
            }
        }
        Entry::Leaf(leaf) => {
            let Leaf {
                name,
                doc,
                ty,
                weight,
                constants,
                since,
                unavailable,
                ..
            } = &**leaf;
            let validator = match &leaf.validator {
                Some(validator) => quote!(::atalaya_secl::model::Validator::#validator),
                None => quote!(::atalaya_secl::model::Validator::None),
            };
            let text = match &leaf.text {
                Some(kind) => quote!(::atalaya_secl::model::TextKind::#kind),
                None => quote!(::atalaya_secl::model::TextKind::Plain),
            };
            quote! {
                into(crate::fields::FieldSpec {
                    name: ::std::string::String::from(#name),
                    doc: #doc,
                    ty: <#ty as crate::fields::FieldValue>::TYPE,
                    list: <#ty as crate::fields::FieldValue>::LIST,
                    text: #text,
                    weight: #weight,
                    constants: #constants,
                    since: #since,
                    validator: #validator,
                    iterator: ::std::option::Option::None,
                    unavailable: #unavailable,
                    path: ::std::vec![#index],
                });
            }
        }
    }
}

fn read((entry, index): (&Entry, u16)) -> TokenStream {
    match entry {
        Entry::Nested { member, .. } => quote! {
            #index => crate::fields::Fields::get(&self.#member, rest, cx),
        },
        Entry::Leaf(leaf) => match &leaf.source {
            Source::Member(member) => quote! {
                #index => Some(crate::fields::FieldValue::value(&self.#member)),
            },
            Source::Function(function) => quote! {
                #index => Some(crate::fields::IntoValue::into_value(#function(self, cx))),
            },
        },
    }
}
