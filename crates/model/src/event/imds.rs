//! What the metadata services of clouds are asked, and what they answer.

use atalaya_packet::http::{Message, Start};
use serde_json::{Value, json};

use super::packets::{AwsCredentials, ImdsEvent};

const TOKEN: &str = "x-aws-ec2-metadata-token";
const TOKEN_TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";

/// The event of a request or an answer; its packet is left empty. What is no HTTP has neither of its parts.
pub(crate) fn read(bytes: &[u8]) -> ImdsEvent {
    let Some(message) = Message::parse(bytes) else {
        return ImdsEvent::default();
    };
    let header = |name| message.header(name).to_owned();
    match message.start {
        Start::Request { target, .. } => ImdsEvent {
            kind: "request".to_owned(),
            cloud_provider: provider_asked(target, &message).to_owned(),
            url: target.to_owned(),
            host: header("host"),
            user_agent: header("user-agent"),
            aws_is_v2: message.has_header(TOKEN) || message.has_header(TOKEN_TTL),
            ..ImdsEvent::default()
        },
        Start::Response { .. } => {
            let credentials = credentials(message.body);
            let is_aws = !credentials.1.access_key_id.is_empty();
            ImdsEvent {
                kind: "response".to_owned(),
                cloud_provider: match provider_answering(&message) {
                    "" if is_aws => "aws",
                    provider => provider,
                }
                .to_owned(),
                server: header("server"),
                // The answer to the request of a token says how long it is good for.
                aws_is_v2: message.has_header(TOKEN_TTL),
                aws_credentials: credentials.0,
                aws_metadata: credentials.1,
                ..ImdsEvent::default()
            }
        }
    }
}

/// By what each provider's service demands of its clients, then by the path.
fn provider_asked(target: &str, message: &Message<'_>) -> &'static str {
    let path = target.strip_prefix("http://").map_or(target, |rest| {
        rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
    });
    if message.has_header(TOKEN) || message.has_header(TOKEN_TTL) {
        return "aws";
    }
    match message.header("metadata-flavor") {
        flavor if flavor.eq_ignore_ascii_case("google") => return "gcp",
        flavor if flavor.eq_ignore_ascii_case("ibm") => return "ibm",
        _ => {}
    }
    if message.header("metadata").eq_ignore_ascii_case("true") {
        return "azure";
    }
    let paths = [
        ("/computeMetadata/", "gcp"),
        ("/opc/", "oracle"),
        ("/metadata/instance", "azure"),
        ("/metadata/identity", "azure"),
        ("/metadata/attested", "azure"),
        ("/metadata/scheduledevents", "azure"),
        ("/metadata/loadbalancer", "azure"),
        ("/instance_identity/", "ibm"),
        ("/metadata/v1/instance", "ibm"),
        ("/metadata/v1/keys", "ibm"),
        ("/metadata/v1/placement_groups", "ibm"),
        ("/metadata/v1", "digitalocean"),
        ("/hetzner/", "hetzner"),
        ("/openstack/", "openstack"),
        ("/latest/", "aws"),
    ];
    let found = paths.iter().find(|(begin, _)| path.starts_with(begin));
    // Before dates had a name: /2009-04-04/meta-data.
    let is_dated = path.as_bytes().get(1).is_some_and(u8::is_ascii_digit) && path.contains("-data");
    match found {
        Some((_, provider)) => provider,
        None if is_dated => "aws",
        None => "",
    }
}

fn provider_answering(message: &Message<'_>) -> &'static str {
    let server = message.header("server");
    if server == "EC2ws" || message.has_header(TOKEN_TTL) {
        "aws"
    } else if message
        .header("metadata-flavor")
        .eq_ignore_ascii_case("google")
        || server.starts_with("Metadata Server")
    {
        "gcp"
    } else if server.starts_with("IMDS/") || server.starts_with("Microsoft-IIS") {
        "azure"
    } else if message
        .header("metadata-flavor")
        .eq_ignore_ascii_case("ibm")
    {
        "ibm"
    } else {
        ""
    }
}

/// What is said of the credentials in an answer of AWS's service: their kind, and nothing that is secret. The capture may end before the
/// object does, so each value is looked for by itself.
fn credentials(body: &[u8]) -> (String, AwsCredentials) {
    let text = String::from_utf8_lossy(body);
    let value = |name: &str| {
        let rest = text.split_once(&format!("\"{name}\""))?.1.trim_start();
        let rest = rest.strip_prefix(':')?.trim_start().strip_prefix('"')?;
        // None of these has a quote in it.
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let access_key_id = value("AccessKeyId").unwrap_or_default();
    if access_key_id.is_empty() {
        return Default::default();
    }
    let credentials = AwsCredentials {
        code: value("Code").unwrap_or_default(),
        access_key_id,
        last_updated: value("LastUpdated").unwrap_or_default(),
        expiration: value("Expiration").unwrap_or_default(),
    };
    (value("Type").unwrap_or_default(), credentials)
}

/// The event as JSON tells it; what it does not have is left out.
pub(crate) fn json(event: &ImdsEvent) -> Value {
    let mut json = json!({ "type": event.kind, "cloud_provider": event.cloud_provider });
    let Some(all) = json.as_object_mut() else {
        return json;
    };
    for (name, text) in [
        ("url", &event.url),
        ("host", &event.host),
        ("user_agent", &event.user_agent),
        ("server", &event.server),
    ] {
        if !text.is_empty() {
            all.insert(name.to_owned(), text.as_str().into());
        }
    }
    if event.cloud_provider == "aws" {
        let mut aws = json!({ "is_imds_v2": event.aws_is_v2 });
        let told = &event.aws_metadata;
        if !told.access_key_id.is_empty()
            && let Some(aws) = aws.as_object_mut()
        {
            let credentials = json!({
                "code": told.code,
                "type": event.aws_credentials,
                "access_key_id": told.access_key_id,
                "last_updated": told.last_updated,
                "expiration": told.expiration,
            });
            aws.insert("security_credentials".to_owned(), credentials);
        }
        all.insert("aws".to_owned(), aws);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(request: &str) -> String {
        read(request.as_bytes()).cloud_provider
    }

    #[test]
    fn providers_by_what_is_asked() {
        let get = |path: &str, header: &str| {
            provider(&format!("GET {path} HTTP/1.1\r\n{header}\r\n\r\n"))
        };
        assert_eq!(get("/latest/meta-data/", "Host: x"), "aws");
        assert_eq!(get("/2021-07-15/meta-data/", "Host: x"), "aws");
        assert_eq!(
            get("/computeMetadata/v1/", "Metadata-Flavor: Google"),
            "gcp"
        );
        assert_eq!(
            get(
                "/metadata/instance?api-version=2021-02-01",
                "Metadata: true"
            ),
            "azure"
        );
        assert_eq!(
            get("/opc/v2/instance/", "Authorization: Bearer Oracle"),
            "oracle"
        );
        assert_eq!(get("/metadata/v1/instance", "Metadata-Flavor: ibm"), "ibm");
        assert_eq!(get("/metadata/v1.json", "Host: x"), "digitalocean");
        assert_eq!(
            get("http://169.254.169.254/latest/user-data", "Host: x"),
            "aws"
        );
        assert_eq!(get("/", "Host: x"), "");
    }

    #[test]
    fn versions_of_aws() {
        let token = read(
            b"PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n",
        );
        assert!(token.aws_is_v2);
        let old = read(b"GET /latest/meta-data/ HTTP/1.1\r\nHost: x\r\n\r\n");
        assert!(!old.aws_is_v2);
        let new = read(b"GET /latest/meta-data/ HTTP/1.1\r\nX-aws-ec2-metadata-token: abc\r\n\r\n");
        assert!(new.aws_is_v2);
    }

    #[test]
    fn no_secret_of_credentials_is_kept() {
        let answer = read(
            b"HTTP/1.1 200 OK\r\nServer: EC2ws\r\n\r\n{ \"Code\" : \"Success\", \"LastUpdated\" : \"2026-01-01T00:00:00Z\", \"Type\" : \"AWS-HMAC\", \"AccessKeyId\" : \"ASIAX\", \"SecretAccessKey\" : \"hush\", \"Token\" : \"hush2\", \"Expiration\" : \"2026",
        );
        assert_eq!(answer.cloud_provider, "aws");
        assert_eq!(answer.aws_credentials, "AWS-HMAC");
        assert_eq!(answer.aws_metadata.access_key_id, "ASIAX");
        assert_eq!(answer.aws_metadata.expiration, ""); // cut
        let all = format!("{answer:?}{}", json(&answer));
        assert!(!all.contains("hush"), "{all}");
    }

    #[test]
    fn what_is_no_http_is_nothing() {
        assert_eq!(read(b"GET \xff\n"), ImdsEvent::default());
    }
}
