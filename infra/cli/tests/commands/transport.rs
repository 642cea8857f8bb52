//! Profiles, keys and signatures: what reaches the other side.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Output;

use sha2::{Digest as _, Sha256};

use crate::support::{Request, Stub, command, stderr};

/// A folder of configuration files: ours and those of AWS.
struct Home(PathBuf);

impl Home {
    fn new(test: &str, config: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("reprise-transport-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.toml"), config).unwrap();
        std::fs::write(folder.join("aws"), "[profile night]\nregion = eu-north-1\n").unwrap();
        std::fs::write(folder.join("credentials"), "[night]\naws_access_key_id = AKIDNIGHT\naws_secret_access_key = night/secret\n")
            .unwrap();
        Self(folder)
    }

    fn reprise(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = command(arguments);
        command.env("REPRISE_CONFIG", self.0.join("config.toml"));
        command.env("AWS_CONFIG_FILE", self.0.join("aws")).env("AWS_SHARED_CREDENTIALS_FILE", self.0.join("credentials"));
        command.env("AWS_EC2_METADATA_DISABLED", "true").env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        command.envs(variables.iter().copied()).output().unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.iter().map(|byte| byte ^ with).collect::<Vec<_>>();
    let inner = Sha256::digest([&pad(0x36)[..], text].concat());
    Sha256::digest([&pad(0x5c)[..], &inner[..]].concat()).to_vec()
}

/// The signature that AWS would compute of what arrived, by its own description of version 4; and the one that was sent.
fn signatures(request: &Request, secret: &str, region: &str) -> (String, String) {
    let authorization = &request.headers["authorization"];
    let part = |name: &str| authorization.split(&format!("{name}=")).nth(1).unwrap().split(',').next().unwrap().to_owned();
    let (method, target) = request.line.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: BTreeMap<_, _> = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap()).collect();
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    // Each segment of the path is escaped once more than it was sent.
    let path = path.replace('%', "%25");
    let names = part("SignedHeaders");
    let headers: String = names.split(';').map(|name| format!("{name}:{}\n", request.headers[name])).collect();
    let canonical = format!("{method}\n{path}\n{}\n{headers}\n{names}\n{}", query.join("&"), sha256(&request.body));
    let time = &request.headers["x-amz-date"];
    let scope = format!("{}/{region}/execute-api/aws4_request", &time[..8]);
    assert!(part("Credential").ends_with(&scope), "{authorization}");
    let mut key = format!("AWS4{secret}").into_bytes();
    for word in scope.split('/') {
        key = hmac(&key, word.as_bytes());
    }
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
    (hmac(&key, text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(), part("Signature"))
}

const RUN: &str = r#"{"run_id":"run_1","status":"completed","response":"hi"}"#;

#[test]
fn requests_to_a_deployment_carry_a_signature_that_holds() {
    let stub = Stub::of(&[("GET /prod/v1/runs/run%2F1", 200, RUN), ("POST /prod/v1/agent", 200, RUN)]);
    let config = format!("[profiles.prod]\nurl = \"{}/prod\"\nauth = \"sigv4\"\nregion = \"eu-west-1\"\n", stub.url);
    let home = Home::new("signed", &config);
    let keys = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG"), ("AWS_SESSION_TOKEN", "token/1")];
    for arguments in [&["run", "show", "run/1", "--profile", "prod"][..], &["run", "start", "naïve", "--profile", "prod"]] {
        let output = home.reprise(arguments, &keys);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    for request in stub.asked() {
        assert_eq!(request.headers["x-amz-security-token"], "token/1");
        let (due, sent) = signatures(&request, "wJalrXUtnFEMI/K7MDENG", "eu-west-1");
        assert_eq!(due, sent, "{request:?}");
    }
    assert_eq!(stub.lines(), ["GET /prod/v1/runs/run%2F1", "POST /prod/v1/agent"]);
}

#[test]
fn a_profile_of_aws_signs_where_ours_names_it_and_its_region_holds() {
    let stub = Stub::of(&[("GET /v1/runs/run_1", 200, RUN)]);
    let config = format!("default = \"night\"\n[profiles.night]\nurl = \"{}\"\nauth = \"sigv4\"\naws_profile = \"night\"\n", stub.url);
    let output = Home::new("aws-profile", &config).reprise(&["run", "show", "run_1"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (due, sent) = signatures(&stub.asked()[0], "night/secret", "eu-north-1");
    assert_eq!(due, sent);
}

#[test]
fn without_credentials_nothing_is_asked_and_the_way_to_them_is_told() {
    let stub = Stub::of(&[]);
    let config = format!("[profiles.prod]\nurl = \"{}\"\nauth = \"sigv4\"\nregion = \"eu-west-1\"\n", stub.url);
    let output = Home::new("no-credentials", &config).reprise(&["run", "show", "run_1"], &[("REPRISE_PROFILE", "prod")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no AWS credentials") && stderr(&output).contains("aws sso login"), "{}", stderr(&output));
    assert_eq!(stub.lines(), [""; 0]);
}

#[test]
fn a_key_goes_into_its_header_and_never_in_clear_text_over_a_network() {
    let stub = Stub::of(&[("GET /v1/runs/run_1", 200, RUN)]);
    let config = format!(
        "[profiles.edge]\nurl = \"{}\"\nauth = \"api-key\"\nheader = \"authorization\"\nprefix = \"Bearer \"\nkey_env = \"KEY\"\n",
        stub.url
    );
    let home = Home::new("key", &config);
    let output = home.reprise(&["run", "show", "run_1", "--profile", "edge"], &[("KEY", "sk-1")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stub.asked()[0].headers["authorization"], "Bearer sk-1");

    let output = home.reprise(&["run", "show", "run_1", "--profile", "edge", "--url", "http://192.0.2.1"], &[("KEY", "sk-1")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("in clear text") && !stderr(&output).contains("sk-1"), "{}", stderr(&output));

    // A signed request carries the session's token.
    let config = "[profiles.prod]\nurl = \"http://192.0.2.1\"\nauth = \"sigv4\"\naws_profile = \"night\"\n";
    let output = Home::new("signed-in-clear", config).reprise(&["run", "show", "run_1", "--profile", "prod"], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("session token would go to http://192.0.2.1 in clear text"), "{}", stderr(&output));
}

#[test]
fn a_redirect_is_not_followed() {
    let elsewhere = Stub::of(&[("GET /v1/runs/run_1", 200, RUN)]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, to) = (format!("http://{}", listener.local_addr().unwrap()), elsewhere.url.clone());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _asked = stream.read(&mut [0; 4096]).unwrap();
        write!(stream, "HTTP/1.1 302 X\r\nlocation: {to}/v1/runs/run_1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
    });
    let output = command(&["run", "show", "run_1", "--url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("HTTP 302"), "{}", stderr(&output));
    assert_eq!(elsewhere.lines(), [""; 0]);
}

#[test]
fn what_was_started_and_whose_answer_was_lost_is_asked_for_again_under_its_key() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let first = Request::read(&stream);
        drop(stream);
        let (mut stream, _) = listener.accept().unwrap();
        let second = Request::read(&stream);
        write!(stream, "HTTP/1.1 200 X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{RUN}", RUN.len()).unwrap();
        [first, second]
    });
    let output = command(&["run", "start", "hi", "--url", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let [first, second] = asked.join().unwrap();
    assert_eq!((&first.line, &first.body), (&second.line, &second.body));
    assert_eq!(first.headers["idempotency-key"], second.headers["idempotency-key"]);
    let other = Stub::of(&[("POST /v1/agent", 200, RUN)]);
    assert_eq!(other.reprise(&["run", "start", "hi"]).status.code(), Some(0));
    assert_ne!(other.asked()[0].headers["idempotency-key"], first.headers["idempotency-key"], "another call is another run");
}

#[test]
fn what_the_gateway_refuses_by_itself_is_explained() {
    let stub = Stub::of(&[("GET /v1/runs/run_1", 403, r#"{"message":"Missing Authentication Token"}"#)]);
    let output = stub.reprise(&["run", "show", "run_1"]);
    assert!(stderr(&output).contains("Missing Authentication Token") && stderr(&output).contains("signed requests"), "{}", stderr(&output));
}
