//! Requests whose end two readers could see in different places.

use crate::harness::{Backend, Database, TestApp, Wire};

/// What an attacker hides behind a request: it must never be answered.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
const BODY: &str = r#"{"op":"logout","dt":"1"}"#;

/// Everything that comes back until the connection ends, and how many answers that is.
async fn ask(app: &TestApp, bytes: &[u8]) -> (String, usize) {
    let mut wire = Wire::connect(app.address).await;
    wire.send(bytes).await;
    let all = wire.rest().await;
    let answers = all.matches("HTTP/1.1 ").count();
    assert!(!all.contains("HTTP/1.1 5"), "{}: {all}", String::from_utf8_lossy(bytes));
    assert!(
        !all.contains("not_found"),
        "the hidden request was answered: {}: {all}",
        String::from_utf8_lossy(bytes)
    );
    (all, answers)
}

fn quick(database: &Database) -> TestApp {
    let keys = ["server.head_timeout", "server.body_timeout", "server.idle_timeout"];
    keys.iter().fold(TestApp::builder(database), |builder, key| builder.set(key, "1s")).start()
}

#[tokio::test]
async fn a_request_of_two_lengths_gets_one_answer_at_most_and_never_a_hidden_one_j4() {
    let database = Database::fresh(Backend::Sqlite);
    let app = quick(&database);
    let chunks = format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", BODY.len());
    let (short, long) = (BODY.len(), BODY.len() + HIDDEN.len());
    let with_body = |headers: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{BODY}{HIDDEN}");
    let with_chunks =
        |headers: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{chunks}{HIDDEN}");
    let mut refused: Vec<String> = [
        format!("Content-Length: {short}\r\nContent-Length: {long}"),
        format!("Content-Length: {long}\r\nContent-Length: {short}"),
        format!("Content-Length: {short}, {long}"),
        format!("Content-Length: +{short}"),
        format!("Content-Length: -{short}"),
        format!("Content-Length: 0x{short:x}"),
        format!("Content-Length: {short} 0"),
        format!("Content-Length: {short}\r\n 0"),
        format!("Content-Length : {short}"),
        format!(" Content-Length: {short}"),
        "Content-Length: 18446744073709551617".to_owned(),
        "Content-Length:".to_owned(),
    ]
    .iter()
    .map(|headers| with_body(headers))
    .collect();
    refused.extend(
        [
            format!("Content-Length: {}\r\nTransfer-Encoding: chunked", chunks.len()),
            "Transfer-Encoding: chunked\r\nContent-Length: 0".to_owned(),
            "Content-Length: 0\r\nTransfer-Encoding: chunked".to_owned(),
            "Transfer-Encoding : chunked".to_owned(),
            "Transfer-Encoding:\r\n chunked".to_owned(),
            " Transfer-Encoding: chunked".to_owned(),
            "Transfer-Encoding: xchunked".to_owned(),
            "Transfer-Encoding: chunked, identity".to_owned(),
            "Transfer-Encoding: \"chunked\"".to_owned(),
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity".to_owned(),
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked".to_owned(),
            "Transfer-Encoding: \u{b}chunked".to_owned(),
            "X: y\rTransfer-Encoding: chunked".to_owned(),
        ]
        .iter()
        .map(|headers| with_chunks(headers)),
    );
    let ask_each = refused.iter().map(async |request| {
        let (all, answers) = ask(&app, request.as_bytes()).await;
        assert!(answers <= 1, "{request}: {all}");
        assert!(!all.contains(" 200 "), "{request}: {all}");
    });
    futures_util::future::join_all(ask_each).await;
    app.log_in("18005551234").await;
    app.stop().await;
}

#[tokio::test]
async fn broken_chunks_and_bare_line_feeds_hide_no_request_j4() {
    let database = Database::fresh(Backend::Sqlite);
    let app = quick(&database);
    let chunked = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let requests: Vec<String> = vec![
        format!("{chunked}-1\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"),
        format!("{chunked}0x18\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"),
        format!("{chunked}ffffffffffffffff1\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"),
        format!("{chunked}18 \r\n{BODY}XX0\r\n\r\n{HIDDEN}"),
        format!("{chunked}1\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"),
        format!("{chunked}zz\r\n{HIDDEN}"),
        format!("{chunked}18;{}\n{BODY}\r\n0\r\n\r\n{HIDDEN}", "e".repeat(9000)),
        format!(
            "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n{BODY}\r\n0\r\n\r\n{HIDDEN}"
        ),
        format!("POST / HTTP/1.1\nHost: x\nContent-Length: {}\nX: y\r\n\n{BODY}", BODY.len()),
        "POST / HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n18\n{}\n0\n\n".to_owned(),
        "POST / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(300_000)),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(500)),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300_000)),
        "GET / HTTP/1.1\r\nHost: x\r\nX: a\u{0}b\r\n\r\n".to_owned(),
    ];
    let ask_each = requests.iter().map(async |request| {
        let shown: String = request.chars().take(120).collect();
        let (all, answers) = ask(&app, request.as_bytes()).await;
        assert!(answers <= 1, "{shown}: {all}");
    });
    futures_util::future::join_all(ask_each).await;
    app.log_in("18005551234").await;
    app.stop().await;
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let database = Database::fresh(Backend::Sqlite);
    let app = quick(&database);
    let post = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{BODY}", BODY.len());
    let (all, answers) =
        ask(&app, format!("{post}OPTIONS / HTTP/1.1\r\nHost: x\r\n\r\n{post}").as_bytes()).await;
    assert_eq!((answers, all.matches(r#""op":"logout""#).count()), (3, 2), "{all}");
    let order: Vec<usize> =
        ["200 OK", "204 No"].iter().map(|status| all.find(status).expect("both")).collect();
    assert!(order[0] < order[1] && all.rfind("200 OK") > Some(order[1]), "{all}");
    app.stop().await;
}
