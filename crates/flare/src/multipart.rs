//! One request body: some fields, then a file, read as it is sent.

use std::fs::File;
use std::io::{self, Cursor, Read};

/// The body, and how far it is.
pub(crate) struct Body<'a> {
    before: Cursor<Vec<u8>>,
    file: File,
    after: Cursor<Vec<u8>>,
    progress: &'a mut dyn FnMut(u64),
    sent: u64,
}

/// What separates the parts: nothing that could be in a zip by chance.
pub(crate) fn boundary() -> io::Result<String> {
    let mut random = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("atalaya-{digits}"))
}

impl<'a> Body<'a> {
    pub(crate) fn new(
        boundary: &str,
        fields: &[(&str, &str)],
        name: &str,
        file: File,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        let mut before = String::new();
        for (field, value) in fields {
            // What ends a line ends a part.
            let value = value.replace(['\r', '\n'], " ");
            before.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n"
            ));
        }
        let name: String = name
            .chars()
            .filter(|c| !matches!(c, '"' | '\r' | '\n' | '\\'))
            .collect();
        before.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"flare_file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        ));
        Self {
            before: Cursor::new(before.into_bytes()),
            file,
            after: Cursor::new(format!("\r\n--{boundary}--\r\n").into_bytes()),
            progress,
            sent: 0,
        }
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.before.read(into)?;
        if n > 0 {
            return Ok(n);
        }
        let n = self.file.read(into)?;
        if n > 0 {
            self.sent += n as u64;
            (self.progress)(self.sent);
            return Ok(n);
        }
        self.after.read(into)
    }
}
