//! The messengers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::ends::{Connection, Ends, member};
use crate::instant;

/// Mobile ranges of 30 countries: what stands before the digits that count up, and how many of these there are.
const RANGES: [(&str, usize); 30] = [
    ("1201", 7),
    ("4474", 8),
    ("4915", 9),
    ("336", 8),
    ("346", 8),
    ("393", 9),
    ("551199", 7),
    ("5255", 8),
    ("9198", 8),
    ("86138", 8),
    ("8190", 8),
    ("62812", 8),
    ("7912", 7),
    ("90532", 7),
    ("20100", 7),
    ("234803", 7),
    ("27821", 6),
    ("61412", 6),
    ("48501", 6),
    ("31612", 6),
    ("46701", 6),
    ("4791", 6),
    ("358401", 6),
    ("351912", 6),
    ("30691", 7),
    ("380501", 6),
    ("84912", 6),
    ("63917", 7),
    ("66812", 6),
    ("9665", 8),
];

/// Half-way and worst, ms.
#[derive(Clone, Copy)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

/// What was measured.
pub struct Load {
    pub logins_per_second: f64,
    pub first: Latency,
    pub second: Latency,
    pub cpu_ms_per_login: f64,
    pub failures: u64,
}

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const ENDING: u8 = 2;

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    phase: AtomicU8,
    failures: AtomicU64,
}

/// Logs people in until the time is over.
pub async fn run(
    server: SocketAddr,
    ends: &Ends,
    warm_up: Duration,
    measured: Duration,
    connections: usize,
    cpu: impl Fn() -> Duration,
) -> Load {
    let shared: Arc<Shared> = Arc::default();
    shared.phase.store(WARMING, Ordering::Relaxed);
    let messengers: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(messenger(server, ends.clone(), Arc::clone(&shared))))
        .collect();
    tokio::time::sleep(warm_up).await;
    let (before, started) = (cpu(), instant());
    shared.phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(measured).await;
    shared.phase.store(ENDING, Ordering::Relaxed);
    let (spent, elapsed) = (cpu().saturating_sub(before), started.elapsed());
    let mut steps = (Vec::new(), Vec::new());
    for messenger in messengers {
        for (first, second) in messenger.await.expect("no panic") {
            steps.0.push(first);
            steps.1.push(second);
        }
    }
    let logins = f64::from(u32::try_from(steps.0.len()).expect("not that many"));
    Load {
        logins_per_second: logins / elapsed.as_secs_f64(),
        first: latency(steps.0),
        second: latency(steps.1),
        cpu_ms_per_login: spent.as_secs_f64() * 1000.0 / logins.max(1.0),
        failures: shared.failures.load(Ordering::Relaxed),
    }
}

/// One connection, one login after the other. The times of both steps of each that began while it counted.
async fn messenger(server: SocketAddr, ends: Ends, shared: Arc<Shared>) -> Vec<(Duration, Duration)> {
    let mut connection = Connection::new(TcpStream::connect(server).await.expect("the server listens"));
    let mut times = Vec::new();
    loop {
        let phase = shared.phase.load(Ordering::Relaxed);
        if phase == ENDING {
            return times;
        }
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        match log_in(&mut connection, &ends, number).await {
            Some(taken) if phase == MEASURING => times.push(taken),
            Some(_) => {}
            None => {
                shared.failures.fetch_add(1, Ordering::Relaxed);
                return times;
            }
        }
    }
}

/// A whole login; what both steps took. None: it failed, and why was printed.
pub async fn log_in(connection: &mut Connection, ends: &Ends, number: u64) -> Option<(Duration, Duration)> {
    let phone = phone(number);
    let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 + u32::try_from(number).ok()?);
    let body = format!(r#"{{"op":"login","appid":"com.messenger.appid","phone":"{phone}","dt":"1"}}"#);
    let started = instant();
    let answer = post(connection, &address, &body).await?;
    let first = started.elapsed();
    if !answer.contains(r#""result":"OK""#) {
        eprintln!("step 1 of {phone}: {answer}");
        return None;
    }
    let code = ends.take_code(&phone)?;
    let body = format!(
        r#"{{"op":"login","appid":"com.messenger.appid","phone":"{phone}","dt":"1","otp":"{code}"}}"#
    );
    let started = instant();
    let answer = post(connection, &address, &body).await?;
    let second = started.elapsed();
    if member(&answer, "\"token\":\"").is_none() {
        eprintln!("step 2 of {phone}: {answer}");
        return None;
    }
    Some((first, second))
}

async fn post(connection: &mut Connection, from: &std::net::Ipv4Addr, body: &str) -> Option<String> {
    let head = format!(
        "POST / HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-forwarded-for: {from}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write(&(head + body)).await.ok()?;
    connection.read().await
}

/// The number of a login: countries in turn, each number once.
fn phone(number: u64) -> String {
    let countries = u64::try_from(RANGES.len()).expect("thirty");
    let turn = usize::try_from(number % countries).expect("below thirty");
    let (range, digits) = RANGES.get(turn).copied().expect("one of thirty");
    let within = number / countries;
    // The first digit behind the prefix stays a 2 to 9: some plans have no numbers that go on with 0 or 1.
    let floor = 2 * 10_u64.pow(u32::try_from(digits - 1).expect("few digits"));
    format!("{range}{:0digits$}", floor + within)
}

fn latency(mut times: Vec<Duration>) -> Latency {
    times.sort_unstable();
    let at = |per_mille: usize| {
        let index = times.len().saturating_sub(1) * per_mille / 1000;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
    };
    Latency { p50: at(500), p99: at(990) }
}
