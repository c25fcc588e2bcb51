//! `#[derive(Fields)]`: makes the field table of a model struct, and the function that reads a field.
//!
//! A field of the rule language exists in one place, the struct field that holds it:
//!
//! ```ignore
//! #[derive(Fields)]
//! struct File {
//!     /// The absolute path.
//!     #[field(text = Path)]                                  // SECL name: the Rust name
//!     #[computed(name = "name", ty = String, get = File::name, doc = "The last element of the path.")]
//!     path: String,
//!     /// The inode number.
//!     #[field(name = "inode", since = "7.27")]
//!     ino: u64,
//!     /// How many names it has.                              // no attribute: not in the table
//!     nlink: u32,
//! }
//!
//! #[derive(Fields)]
//! struct Process {
//!     #[nested(prefix = "file")]                             // file.path, file.name, file.inode
//!     file: File,
//!     #[nested]                                              // the fields of `creds` appear as this struct's own
//!     creds: Creds,
//! }
//! ```
//!
//! | attribute | keys |
//! | --- | --- |
//! | `#[field]` | `name`, `text` (`Path`, `Extension`, `DnsName`), `weight`, `constants` (name of the group its values come from), `since`, `doc`, `validator` (what it can be compared with: `Path`, `MaxLength(15)`), `unavailable` (why nothing fills it yet) |
//! | `#[computed]` | the same, and `ty` (the type it yields) and `get` (`fn(&'a Self, Cx<'a>) -> T`) |
//! | `#[nested]` | `prefix`, `each` (the member is a list: the fields are those of an iterator, one value an element; its length is a computed `….length`), `unavailable` |
//!
//! A struct field may have several attributes (one value under two names); `doc` overrides the doc comment, of which the
//! first paragraph is used. The derived `get` is a nested `match` on the field's path of indexes: no closures, no hashing.
//! The code refers to `crate::fields`, so the derive works only inside the model crate.
#![forbid(unsafe_code)]

mod expand;
mod parse;

use proc_macro::TokenStream;

/// Derives `crate::fields::Fields`; see the crate's documentation.
#[proc_macro_derive(Fields, attributes(field, computed, nested))]
pub fn derive_fields(input: TokenStream) -> TokenStream {
    let input = syn::parse_macro_input!(input as syn::DeriveInput);
    parse::Model::parse(&input)
        .map(|model| expand::expand(&model))
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
