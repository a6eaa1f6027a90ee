//! A real Kannel: bearerbox and smsbox as Debian packages them, with Kannel's own fake SMSC behind them.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use latchkey::ambient::{Clock, SeededEntropy, SystemClock};
use latchkey::config::Config;
use latchkey::delivery::{self, OutgoingCode, Provider, SendError, Text};
use latchkey::domain::address::Address;
use latchkey::domain::code::{Code, CodeLength};
use latchkey::domain::ids::MessageId;
use latchkey::domain::purpose::Purpose;
use zeroize::Zeroizing;

use crate::harness::{Backend, Database, TestApp};

const BEARERBOX: &str = "/usr/sbin/bearerbox";
const SMSBOX: &str = "/usr/sbin/smsbox";
const FAKE_SMSC: &str = "/usr/lib/kannel/test/fakesmsc";
/// A password with signs that a URL must escape.
const PASSWORD: &str = "p&ss w+rd";
/// Far more than any of the steps takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself is ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The processes, in the order in which they end, and what the SMSC gets.
struct Kannel {
    _smsc: Running,
    _smsbox: Running,
    _bearerbox: Running,
    received: Receiver<String>,
    address: SocketAddr,
}

/// Ports that were free a moment ago, all different.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("an address").port())
}

/// Asks until somebody listens.
fn await_listener(port: u16) -> SocketAddr {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let (step, mut waited) = (Duration::from_millis(20), Duration::ZERO);
    while TcpStream::connect(address).is_err() {
        assert!(waited < PATIENCE, "nothing listens on {address}");
        std::thread::park_timeout(step);
        waited += step;
    }
    address
}

fn start(folder: &Path) -> Kannel {
    let [admin, boxes, smsc, sendsms] = free_ports();
    let store = folder.join("store").display().to_string();
    let config = format!(
        "group = core\nadmin-port = {admin}\nadmin-password = none\nadmin-allow-ip = 127.0.0.1\n\
         smsbox-port = {boxes}\nbox-allow-ip = 127.0.0.1\nstore-type = file\nstore-location = {store}\n\n\
         group = smsc\nsmsc = fake\nsmsc-id = fake\nhost = 127.0.0.1\nport = {smsc}\nconnect-allow-ip = 127.0.0.1\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nbearerbox-port = {boxes}\nsendsms-port = {sendsms}\n\
         sendsms-interface = 127.0.0.1\n\n\
         group = sendsms-user\nusername = tester\npassword = \"{PASSWORD}\"\n\n\
         group = sms-service\nkeyword = default\ntext = none\n"
    );
    let file = folder.join("kannel.conf");
    std::fs::write(&file, config).expect("a file");
    let bearerbox = Running::start(Command::new(BEARERBOX).arg("-v").arg("4").arg(&file));
    await_listener(boxes);
    await_listener(smsc);
    let smsbox = Running::start(Command::new(SMSBOX).arg("-v").arg("4").arg(&file));
    let address = await_listener(sendsms);
    let mut fake = Command::new(FAKE_SMSC);
    // It must be given a message of its own, and sends none of them.
    fake.args(["-H", "127.0.0.1", "-r", &smsc.to_string(), "-m", "0", "1 2 text none"]);
    let spawned = fake.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut smsc = Running(spawned.expect("it starts"));
    let log = BufReader::new(smsc.0.stderr.take().expect("its log"));
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, message)) = line.split_once("Got message ")
                && sender.send(message.to_owned()).is_err()
            {
                return;
            }
        }
    });
    Kannel { _smsc: smsc, _smsbox: smsbox, _bearerbox: bearerbox, received, address }
}

fn provider(address: SocketAddr, password: &str) -> Arc<dyn Provider> {
    let table = format!(
        "[providers.own]\nrecipe = \"kannel\"\nbase_url = \"http://{address}\"\nusername = \"tester\"\n\
         password = \"{password}\"\nsender = \"12345\""
    );
    let config = Config::parse(table.parse().expect("TOML"), "a test", &std::collections::BTreeMap::new())
        .unwrap_or_else(|error| panic!("{error}"));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    delivery::build(&config.providers, &clock, None).expect("providers").remove(0)
}

fn message(text: &str) -> OutgoingCode {
    OutgoingCode {
        id: MessageId::generate(&SeededEntropy::new(1)),
        to: Address::parse("+14155552671").expect("a number"),
        purpose: Purpose::LOGIN,
        code: Code::parse("482913", CodeLength::SIX),
        app_id: "com.messenger.appid".to_owned(),
        app_name: "Messenger".to_owned(),
        lifetime: Duration::from_mins(5),
        text: Text { locale: "en".to_owned(), subject: String::new(), body: Zeroizing::new(text.to_owned()) },
    }
}

#[expect(clippy::disallowed_methods, reason = "the suite itself is configured by its environment")]
fn is_here() -> bool {
    if [BEARERBOX, SMSBOX, FAKE_SMSC].iter().all(|binary| Path::new(binary).exists()) {
        return true;
    }
    let fix = "no Kannel is installed: install Debian's kannel and kannel-extras";
    assert!(std::env::var("LATCHKEY_TEST_REQUIRE_KANNEL").is_err(), "{fix}");
    eprintln!("{fix}; its test is skipped");
    false
}

#[tokio::test]
async fn a_real_kannel_passes_on_what_our_recipe_sends() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let kannel = start(folder.path());
    let own = provider(kannel.address, PASSWORD);
    let sent = [
        ("Your code is 482913. 5 € & co: 100%+é", "text ", "482913"),
        // UTF-16 with its letters escaped: `В` is 0412.
        ("Ваш код 482913", "ucs-2 ", "%04%12%040%04H"),
    ];
    for (text, kind, part) in sent {
        let receipt = own.send(&message(text)).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(receipt.provider_id, None, "Kannel gives no id");
        let line = kannel.received.recv_timeout(PATIENCE).expect("the SMSC gets it");
        assert!(line.contains(&format!("<12345 +14155552671 {kind}")) && line.contains(part), "{line}");
    }
    let refused = provider(kannel.address, "wrong").send(&message("482913")).await;
    assert!(matches!(&refused, Err(SendError::Auth(text)) if !text.contains("wrong")), "{refused:?}");
}

#[tokio::test]
async fn a_real_kannel_reports_what_became_of_a_code_that_it_delivered() {
    if !is_here() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let kannel = start(folder.path());
    // Kannel is told our address before we have it.
    let [ours] = free_ports();
    let database = Database::fresh(Backend::Sqlite);
    let provider = format!(
        "[providers.own]\nrecipe = \"kannel\"\nbase_url = \"http://{}\"\nusername = \"tester\"\n\
         password = \"{PASSWORD}\"\nsender = \"12345\"",
        kannel.address
    );
    let url = format!("http://127.0.0.1:{ours}");
    let app = TestApp::builder(&database).config(&provider).set("server.listen", format!("127.0.0.1:{ours}"));
    let app = app.set("public_url", url).real_providers().start();
    assert!(app.start_login("14155552671").await.is_ok());
    let line = kannel.received.recv_timeout(PATIENCE).expect("the SMSC gets it");
    let status = || database.texts("SELECT status AS t FROM deliveries").concat();
    let (step, mut waited) = (Duration::from_millis(20), Duration::ZERO);
    while status() != "delivered" {
        assert!(waited < PATIENCE, "it is {}", status());
        std::thread::park_timeout(step);
        waited += step;
    }
    let digits = line.split(|c: char| !c.is_ascii_digit()).find(|word| word.len() == 6);
    let verified = app.verify("14155552671", digits.expect("a code")).await;
    assert!(verified.token().is_some(), "{line}: {verified:?}");
    app.stop().await;
}
