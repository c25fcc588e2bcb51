//! Who receives flares: an HTTPS server on loopback with a certificate of its own authority, which takes nothing that is not to the letter.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// As `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, without the marks of its chunks.
    pub body: Vec<u8>,
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Reply {
    /// As 200.
    pub status: u16,
    /// Further lines of the head.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// An answer without further headers.
    pub fn new(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.to_owned(),
        }
    }

    /// Sends elsewhere.
    pub fn redirect(to: &str) -> Self {
        Self {
            status: 307,
            headers: vec![("Location".into(), to.into())],
            body: String::new(),
        }
    }
}

/// A part of a multipart body.
#[derive(Debug)]
pub struct Part {
    /// The field.
    pub name: String,
    /// The file's name, where it is a file.
    pub filename: Option<String>,
    /// What is in it.
    pub content: Vec<u8>,
}

/// A running server; it ends with the test.
pub struct Receiver {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    errors: Arc<Mutex<Vec<String>>>,
    ca: PathBuf,
}

impl Request {
    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// The parts of a multipart body, read strictly.
    pub fn parts(&self) -> Result<Vec<Part>, String> {
        let kind = self.header("content-type").ok_or("no content type")?;
        let boundary = kind
            .strip_prefix("multipart/form-data; boundary=")
            .ok_or("no multipart")?;
        let mark = format!("--{boundary}").into_bytes();
        let mut rest = self
            .body
            .strip_prefix(mark.as_slice())
            .ok_or("it does not begin with the boundary")?;
        let mark = [b"\r\n".as_slice(), &mark].concat();
        let mut parts = Vec::new();
        loop {
            if rest == b"--\r\n" {
                return Ok(parts);
            }
            rest = rest
                .strip_prefix(b"\r\n")
                .ok_or("no line end after a boundary")?;
            let head_end = find(rest, b"\r\n\r\n").ok_or("a part without end of its head")?;
            let head = String::from_utf8(rest[..head_end].to_vec()).map_err(|e| e.to_string())?;
            let content = &rest[head_end + 4..];
            let end = find(content, &mark).ok_or("a part without end")?;
            let quoted = |key: &str| {
                let (_, after) = head.split_once(&format!("; {key}=\""))?;
                Some(after.split_once('"')?.0.to_owned())
            };
            if !head.starts_with("Content-Disposition: form-data; name=\"") {
                return Err(format!("a part that begins with {head:?}"));
            }
            parts.push(Part {
                name: quoted("name").ok_or("a part without a name")?,
                filename: quoted("filename"),
                content: content[..end].to_vec(),
            });
            rest = &content[end + mark.len()..];
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

impl Receiver {
    /// Starts a server whose certificate is in `dir`. It answers each request with what `reply` says; `None`: it says nothing and keeps the connection.
    pub fn start(
        dir: &Path,
        reply: impl Fn(&Request, usize) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()])
            .expect("a certificate");
        let ca = dir.join("ca.pem");
        std::fs::write(&ca, made.cert.pem()).expect("the certificate is written");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a server's configuration");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let errors = Arc::new(Mutex::new(Vec::new()));
        let (seen, failed) = (Arc::clone(&requests), Arc::clone(&errors));
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming().flatten() {
                let served = serve(stream, &config, |request| {
                    let mut seen = seen.lock().expect("requests");
                    let before = seen.len();
                    seen.push(request.clone());
                    reply(request, before)
                });
                match served {
                    Ok(stream) => silent.extend(stream),
                    Err(e) => failed.lock().expect("errors").push(e.to_string()),
                }
            }
        });
        Self {
            port,
            requests,
            errors,
            ca,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The file of its certificate.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("requests").clone()
    }

    /// What was not to the letter.
    pub fn errors(&self) -> Vec<String> {
        self.errors.lock().expect("errors").clone()
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// One request. Returns the stream if it is to stay open in silence.
fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    reply: impl FnOnce(&Request) -> Option<Reply>,
) -> io::Result<Option<Tls>> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.set_write_timeout(Some(Duration::from_secs(20)))?;
    let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let request = read(&mut stream)?;
    let Some(reply) = reply(&request) else {
        return Ok(Some(stream));
    };
    let mut head = format!(
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
        reply.status,
        reply.body.len()
    );
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = if request.method == "HEAD" {
        ""
    } else {
        &reply.body
    };
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    stream.conn.send_close_notify();
    stream.flush()?;
    Ok(None)
}

fn read(stream: &mut Tls) -> io::Result<Request> {
    let wrong = |why: &str| io::Error::other(format!("not to the letter: {why}"));
    let mut request = Request::default();
    let first = line(stream)?;
    let words: Vec<&str> = first.split(' ').collect();
    let [method, path, "HTTP/1.1"] = words[..] else {
        return Err(wrong(&first));
    };
    request.method = method.to_owned();
    request.path = path.to_owned();
    loop {
        let text = line(stream)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text
            .split_once(": ")
            .or_else(|| text.strip_suffix(':').map(|n| (n, "")))
            .ok_or_else(|| wrong(&text))?;
        request
            .headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
    }
    if request.method == "HEAD" {
        return Ok(request);
    }
    if request.header("transfer-encoding") != Some("chunked")
        || request.header("content-length").is_some()
    {
        return Err(wrong("the body does not come in chunks"));
    }
    loop {
        let size = usize::from_str_radix(&line(stream)?, 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size];
        stream.read_exact(&mut chunk)?;
        request.body.extend_from_slice(&chunk);
        if !line(stream)?.is_empty() {
            return Err(wrong("a chunk without line end"));
        }
        if size == 0 {
            return Ok(request);
        }
        if request.body.len() > 256 << 20 {
            return Err(wrong("too much"));
        }
    }
}

fn line(stream: &mut Tls) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < 16 << 10 {
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
        if let Some(line) = text.strip_suffix(b"\r\n") {
            return String::from_utf8(line.to_vec()).map_err(io::Error::other);
        }
    }
    Err(io::Error::other("a line without end"))
}
