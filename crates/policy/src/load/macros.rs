//! Macros → the names that expressions may use.

use atalaya_secl::parse_macro;

use super::Loader;
use super::gather::MergedMacro;
use crate::document::Text;
use crate::fim;
use crate::locate::File;
use crate::report::{LoadError, Status};

impl Loader<'_> {
    /// Defines the macros in load order: one may use those before it.
    pub(super) fn define_macros(&mut self, macros: Vec<MergedMacro>) {
        for MergedMacro {
            def,
            policy_index,
            report: (policy_at, macro_at),
        } in macros
        {
            let Some(policy) = self.policies.get(policy_index) else {
                continue;
            };
            let id = &def.common.id;
            let result = match (&def.common.expression, def.values) {
                (_, Some(values)) if !values.is_empty() => {
                    self.macro_texts
                        .insert(id.value.clone(), values.join("\u{1f}"));
                    self.macros.define_values(&id.value, values);
                    Ok(())
                }
                (Some(text), _) => self.define_macro(&id.value, text, policy.file()),
                _ => Err(Box::new(
                    policy.file().error(def.common.at, "no macro expression"),
                )),
            };
            let found = self
                .report
                .policies
                .get_mut(policy_at)
                .and_then(|policy| policy.macros.get_mut(macro_at));
            match (result, found) {
                (Err(error), Some(report)) => {
                    report.status = Status::Error;
                    report.errors.push(*error);
                }
                (Ok(()), _) => self.notes.defined_macro(policy_index, id),
                (Err(_), None) => {}
            }
        }
    }

    fn define_macro(
        &mut self,
        id: &str,
        text: &Text,
        file: File<'_>,
    ) -> Result<(), Box<LoadError>> {
        if self.schema.constant(id).is_some() || self.schema.field(id).is_some() {
            let message = format!("macro `{id}` has the name of a constant or field");
            let mut error = file.error(text.at, message);
            error.help = Some("it would never be used; give it another name".to_owned());
            return Err(Box::new(error));
        }
        let mut full = text.value.clone();
        if let Ok(mut expr) = parse_macro(&text.value) {
            if fim::applies(&expr) {
                let message = "macro expression cannot contain 'fim.write.file.' event types";
                let mut error = file.error(text.at, message);
                error.help = Some("write it in the rules".to_owned());
                return Err(Box::new(error));
            }
            expr.for_each_name(&mut |name| {
                if let Some(inner) = self.macro_texts.get(name) {
                    full.push('\u{1f}');
                    full.push_str(inner);
                }
            });
        }
        self.macros
            .define(id, &text.value, self.schema, &self.variables)
            .map_err(|error| {
                let context = format!("macro `{id}` definition error: ");
                Box::new(file.in_expression(text.at, &text.value, &context, &error))
            })?;
        self.macro_texts.insert(id.to_owned(), full);
        Ok(())
    }
}
