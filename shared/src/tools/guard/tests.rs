//! What a model could try, against servers on the loopback network and names that a test resolves. The network in these tests:
//! 127.0.0.1 plays the internet, 127.0.0.2 the inside.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::tools::testing::{Seen, Server, answer, redirect};

const INTERNET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What each name resolves to, look-up by look-up; the last answer stays.
#[derive(Default)]
struct Names {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Names {
    fn of(names: &[(&str, &[&[Ipv4Addr]])]) -> Arc<Self> {
        let to_ips = |ips: &&[Ipv4Addr]| ips.iter().map(|&ip| IpAddr::V4(ip)).collect();
        let answers = names.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(to_ips).collect())).collect();
        Arc::new(Self { answers: Mutex::new(answers), asked: Mutex::default() })
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl Lookup for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = answers.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

/// A guard for which 127.0.0.1 is public.
fn guard(rules: &[&str], names: Arc<Names>) -> Guard {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Guard::with(rules, names, |address| address == IpAddr::V4(INTERNET)).unwrap()
}

async fn get(guard: &Guard, url: &str) -> Result<(StatusCode, String), FetchError> {
    let answer = guard.send(Request::new(Method::GET, url)).await?;
    Ok((answer.status, String::from_utf8(answer.body.whole(1_000).await?).unwrap()))
}

fn refusal(result: Result<impl std::fmt::Debug, FetchError>) -> Refused {
    match result {
        Err(FetchError::Refused(refused)) => refused,
        other => panic!("not refused: {other:?}"),
    }
}

fn hello(_: &Seen) -> String {
    answer("200 OK", "text/plain", "hello")
}

/// URLs that a model may be talked into, and none of which is sent anywhere, although every public name is allowed.
const HOSTILE: &[&str] = &[
    // The metadata services, and what is beside the function.
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://169.254.170.2/v2/credentials",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://192.0.0.192/opc/v2/instance/",
    "http://168.63.129.16/machine",
    "http://metadata/computeMetadata/v1/",
    "http://localhost/2018-06-01/runtime/invocation/next",
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    "http://0.0.0.0/",
    "http://0/",
    // Private networks.
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/admin",
    "http://100.64.0.1/",
    "http://255.255.255.255/",
    "http://224.0.0.1/",
    // Other ways to write 127.0.0.1 and 169.254.169.254.
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://169.254.43518/",
    "http://127.0.0.1./",
    "http://①②⑦.⓪.⓪.①/",
    "http://127。0。0。1/",
    "http://%31%32%37.0.0.1/",
    "http://%6c%6f%63%61%6c%68%6f%73%74/",
    // The same inside of IPv6.
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    // Who reads what as the host?
    "http://good.example@169.254.169.254/",
    "http://user:pass@good.example/",
    "http://169.254.169.254#@good.example/",
    "http://169.254.169.254\\@good.example/",
    "http://good.example\\.inside.example/",
    "http://good.example:80@inside.example/",
    "http:\\\\169.254.169.254\\",
    "http:/169.254.169.254/",
    "http:169.254.169.254/",
    "//169.254.169.254/",
    "http:///169.254.169.254/",
    "http://?169.254.169.254/",
    "http://",
    "",
    "good.example/",
    " http://good.example/",
    "http://good.example/\r\nHost: inside.example",
    "http://good.exa\tmple/",
    "http://good.example./",
    "http://good.example:/",
    "http://good.example:0/",
    "http://good.example:00080/",
    "http://good.example:99999/",
    "http://good.example:0x50/",
    // A port that no rule names.
    "http://good.example:22/",
    "http://good.example:6379/",
    // Letters that look like others.
    "http://gооd.example/",
    "http://ɢood.example/",
    "http://good。example/",
    "http://xn--\u{0}/",
    // Other protocols.
    "file:///etc/passwd",
    "ftp://good.example/",
    "gopher://127.0.0.1:6379/_INFO",
    "dict://127.0.0.1:11211/stats",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    // Names that lead inside.
    "http://inside.example/",
    "http://both.example/",
    "http://INSIDE.example/",
];

#[tokio::test]
async fn no_hostile_url_reaches_any_server() {
    assert!(HOSTILE.len() >= 40);
    let server = Server::on(INSIDE, hello);
    let port = server.port;
    let names = Names::of(&[
        ("good.example", &[&[INTERNET]]),
        ("inside.example", &[&[INSIDE]]),
        ("both.example", &[&[INTERNET, INSIDE]]),
        ("localhost", &[&[Ipv4Addr::LOCALHOST]]),
        ("metadata", &[&[INSIDE]]),
    ]);
    let rules = ["*", &format!("*:{port}")];
    // Nothing of loopback is public here: the judge is the real one.
    let rules: Vec<HostRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let guard = Guard::with(rules, names, address::is_public).unwrap();
    for url in HOSTILE {
        refusal(get(&guard, url).await);
    }
    // The same names, with the port on which somebody listens.
    for url in [format!("http://inside.example:{port}/"), format!("http://both.example:{port}/"), format!("http://127.0.0.2:{port}/")] {
        refusal(get(&guard, &url).await);
    }
    assert!(server.seen().is_empty(), "{:?}", server.seen());
}

#[tokio::test]
async fn an_address_that_is_listed_is_still_judged() {
    for (rule, url) in [
        ("169.254.169.254", "http://169.254.169.254/latest/meta-data/"),
        ("[fd00:ec2::254]", "http://[fd00:ec2::254]/"),
        ("localhost", "http://localhost/"),
    ] {
        let guard = Guard::with(vec![rule.parse().unwrap()], Names::of(&[("localhost", &[&[INTERNET]])]), address::is_public).unwrap();
        assert_eq!(refusal(get(&guard, url).await), Refused::NotPublic, "{url}");
    }
}

#[tokio::test]
async fn an_allowed_host_answers() {
    let server = Server::on(INTERNET, hello);
    let port = server.port;
    let guard = guard(&[&format!("good.example:{port}")], Names::of(&[("good.example", &[&[INTERNET]])]));
    let (status, body) = get(&guard, &format!("http://good.example:{port}/a?b=c")).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
    let seen = server.seen();
    assert!(seen[0].head.starts_with("GET /a?b=c HTTP/1.1"), "{}", seen[0].head);
    assert!(!seen[0].head.to_lowercase().contains("cookie"));
    assert!(!seen[0].head.to_lowercase().contains("accept-encoding"));
}

#[tokio::test]
async fn a_host_that_no_rule_names_is_not_even_looked_up() {
    let names = Names::of(&[("other.example", &[&[INTERNET]])]);
    let guard = guard(&["good.example"], names.clone());
    assert_eq!(refusal(get(&guard, "http://other.example/").await), Refused::NotListed("good.example".into()));
    assert!(names.asked().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_finds_no_time_for_it() {
    let internet = Server::on(INTERNET, hello);
    let port = internet.port;
    // On the very same port, so that only the address tells them apart.
    let inside = std::net::TcpListener::bind((INSIDE, port)).unwrap();
    inside.set_nonblocking(true).unwrap();
    // What a check would see, then what a second look-up for the connection would.
    let names = Names::of(&[("rebind.example", &[&[INTERNET], &[INSIDE]])]);
    let guard = guard(&[&format!("*.example:{port}")], names.clone());
    let url = format!("http://rebind.example:{port}/");
    assert_eq!(get(&guard, &url).await.unwrap().1, "hello");
    assert_eq!(names.asked().len(), 1, "the address that was judged is the one that is connected to");
    // The next request looks again, and judges again.
    assert_eq!(refusal(get(&guard, &url).await), Refused::NotPublic);
    assert_eq!(internet.seen().len(), 1);
    assert_eq!(inside.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody connected");
}

#[tokio::test]
async fn redirects_are_judged_like_the_first_request() {
    let inside = Server::on(INSIDE, hello);
    let port = inside.port;
    for (location, expected) in [
        (format!("http://127.0.0.2:{port}/"), Refused::NotListed(String::new())),
        (format!("http://inside.example:{port}/"), Refused::NotPublic),
        (format!("//inside.example:{port}/"), Refused::NotPublic),
        ("http://169.254.169.254/latest/meta-data/".into(), Refused::NotListed(String::new())),
        ("http://2130706433/".into(), Refused::Url("its host is not written in its usual form")),
        ("file:///etc/passwd".into(), Refused::Url("it does not begin with https:// or http://")),
        ("gopher:x".into(), Refused::Url("it does not begin with https:// or http://")),
        ("http://u:p@inside.example/".into(), Refused::Url("it has a user name or a password")),
    ] {
        let to = location.clone();
        let server = Server::on(INTERNET, move |_| redirect("302 Found", &to));
        let rules = [format!("good.example:{}", server.port), format!("*.example:{port}")];
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let guard = guard(&rules, Names::of(&[("good.example", &[&[INTERNET]]), ("inside.example", &[&[INSIDE]])]));
        match (refusal(get(&guard, &format!("http://good.example:{}/", server.port)).await), expected) {
            (Refused::NotListed(_), Refused::NotListed(_)) => {}
            (refused, expected) => assert_eq!(refused, expected, "{location}"),
        }
        assert_eq!(server.seen().len(), 1);
    }
    assert!(inside.seen().is_empty());
}

#[tokio::test]
async fn redirects_within_the_rules_are_followed_and_lose_what_was_for_the_first_host() {
    let second = Server::on(INTERNET, hello);
    let to = format!("http://second.example:{}/b", second.port);
    let first = Server::on(INTERNET, move |_| redirect("302 Found", &to));
    let rules = [format!("*.example:{}", first.port), format!("*.example:{}", second.port)];
    let guard = guard(&[&rules[0], &rules[1]], Names::of(&[("first.example", &[&[INTERNET]]), ("second.example", &[&[INTERNET]])]));
    let mut request = Request::new(Method::POST, format!("http://first.example:{}/a", first.port)).json(&serde_json::json!({"a": 1}));
    request.credentials.insert("x-api-key", HeaderValue::from_static("s3cret"));
    let answer = guard.send(request).await.unwrap();
    assert_eq!(answer.url, format!("http://second.example:{}/b", second.port));
    let (first, second) = (first.seen(), second.seen());
    assert!(first[0].head.contains("s3cret") && first[0].body.contains("\"a\""));
    assert!(second[0].head.starts_with("GET /b") && second[0].body.is_empty());
    assert!(!second[0].head.contains("s3cret"), "{}", second[0].head);
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::on(INTERNET, |_| redirect("307 Temporary Redirect", "/again"));
    let guard = guard(&[&format!("good.example:{}", server.port)], Names::of(&[("good.example", &[&[INTERNET]])]));
    assert_eq!(refusal(get(&guard, &format!("http://good.example:{}/", server.port)).await), Refused::Redirects);
    assert_eq!(server.seen().len(), MOST_REDIRECTS + 1);
}

#[tokio::test]
async fn only_a_host_that_the_operator_names_may_be_inside() {
    let server = Server::on(INSIDE, hello);
    let port = server.port;
    let names = || Names::of(&[("internal.example", &[&[INSIDE]]), ("other.example", &[&[INSIDE]])]);
    let rules = |host: &str| {
        let rule: HostRule = format!("{host}:{port}").parse().unwrap();
        vec![HostRule { allow_private: true, ..rule }, format!("*:{port}").parse().unwrap()]
    };
    let named = Guard::with(rules("internal.example"), names(), address::is_public).unwrap();
    assert_eq!(get(&named, &format!("http://internal.example:{port}/")).await.unwrap().1, "hello");
    assert_eq!(refusal(get(&named, &format!("http://other.example:{port}/")).await), Refused::NotPublic);
    // A star opens nothing, whatever the definition says.
    let starred = Guard::with(rules("*.example"), names(), address::is_public).unwrap();
    assert_eq!(refusal(get(&starred, &format!("http://other.example:{port}/")).await), Refused::NotPublic);
    let by_address = Guard::with(rules("127.0.0.2"), names(), address::is_public).unwrap();
    assert_eq!(get(&by_address, &format!("http://127.0.0.2:{port}/")).await.unwrap().1, "hello");
}

#[tokio::test]
async fn an_answer_is_read_as_far_as_it_is_wanted() {
    let server = Server::on(INTERNET, |_| answer("200 OK", "text/plain", &"x".repeat(100_000)));
    let guard = guard(&[&format!("good.example:{}", server.port)], Names::of(&[("good.example", &[&[INTERNET]])]));
    let url = format!("http://good.example:{}/", server.port);
    let send = || guard.send(Request::new(Method::GET, url.clone()));
    let (bytes, is_all) = send().await.unwrap().body.beginning(1_000).await.unwrap();
    assert_eq!((bytes.len(), is_all), (1_000, false));
    assert!(matches!(send().await.unwrap().body.whole(99_999).await, Err(FetchError::TooLarge(99_999))));
    assert_eq!(send().await.unwrap().body.whole(100_000).await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn too_many_headers_are_an_error() {
    let server = Server::on(INTERNET, |_| {
        let headers: String = (0..40).map(|i| format!("x-{i}: {}\r\n", "y".repeat(1_000))).collect();
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
    });
    let guard = guard(&[&format!("good.example:{}", server.port)], Names::of(&[("good.example", &[&[INTERNET]])]));
    let result = get(&guard, &format!("http://good.example:{}/", server.port)).await;
    assert!(matches!(result, Err(FetchError::Headers)), "{result:?}");
}
