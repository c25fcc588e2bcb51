//! What of a rule this build cannot do: events that it does not capture, fields that it cannot fill.

use atalaya_secl::model::FieldInfo;

use super::Loader;

impl Loader<'_> {
    /// A note for each field that reads as empty, or one if the whole event is never seen.
    pub(super) fn unavailable<'f>(
        &mut self,
        event_type: &str,
        fields: impl Iterator<Item = &'f FieldInfo>,
    ) -> Vec<String> {
        let mut notes = Vec::new();
        for field in fields {
            let Some(reason) = &field.unavailable else {
                continue;
            };
            if field.event.as_deref() == Some(event_type) && !self.is_captured(event_type) {
                return vec![format!("event not available here: {event_type}: {reason}")];
            }
            let note = format!(
                "field `{}` not available here (reads as empty): {reason}",
                field.name
            );
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// Whether some field of the event type can be filled.
    fn is_captured(&mut self, event_type: &str) -> bool {
        if let Some(known) = self.captured.get(event_type) {
            return *known;
        }
        let prefix = format!("{event_type}.");
        let captured = self
            .schema
            .field_names()
            .iter()
            .filter(|name| name.starts_with(&prefix))
            .filter_map(|name| self.schema.field(name))
            .any(|field| field.event.as_deref() == Some(event_type) && field.unavailable.is_none());
        self.captured.insert(event_type.to_owned(), captured);
        captured
    }
}
