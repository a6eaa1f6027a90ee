//! The least that a login server does: a code is written down and sent, comes back and is used up, and a backend mints.
//! No hash, no limit, no guard, no record. What it does here and now says how fast this machine is: the bar of our own
//! server is a part of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use actix_web::{App, HttpResponse, HttpServer, web};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use latchkey::ambient::SystemEntropy;
use latchkey::domain::code::{Code, CodeLength};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

diesel::table! {
    codes (phone) {
        phone -> Text,
        code -> Text,
    }
}

/// Jobs that share a commit at the most.
const GROUP: usize = 256;

struct Job {
    phone: String,
    code: String,
    /// Whether the code comes back.
    is_used: bool,
    done: oneshot::Sender<bool>,
}

/// Commits what is queued, then answers.
fn write(mut db: SqliteConnection, mut jobs: mpsc::UnboundedReceiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut group = vec![first];
        while group.len() < GROUP
            && let Ok(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let made = db
            .immediate_transaction(|db| group.iter().map(|job| run(db, job)).collect::<Result<Vec<_>, _>>());
        for (job, is_made) in group.into_iter().zip(made.expect("a transaction")) {
            let _ = job.done.send(is_made);
        }
    }
}

fn run(db: &mut SqliteConnection, job: &Job) -> QueryResult<bool> {
    let row = (codes::phone.eq(&job.phone), codes::code.eq(&job.code));
    let rows = if job.is_used {
        diesel::delete(codes::table.filter(row.0).filter(row.1)).execute(db)?
    } else {
        diesel::replace_into(codes::table).values(row).execute(db)?
    };
    Ok(rows == 1)
}

struct Shared {
    jobs: mpsc::UnboundedSender<Job>,
    client: reqwest::Client,
    gateway: String,
    backend: String,
}

impl Shared {
    async fn make(&self, phone: &str, code: &str, is_used: bool) -> bool {
        let (done, made) = oneshot::channel();
        let job = Job { phone: phone.to_owned(), code: code.to_owned(), is_used, done };
        self.jobs.send(job).is_ok() && made.await.unwrap_or(false)
    }

    async fn post(&self, url: &str, body: &Value) -> Value {
        let response = self.client.post(url).json(body).send().await.expect("an answer");
        response.json().await.expect("JSON")
    }
}

async fn handle(shared: web::Data<Shared>, body: web::Bytes) -> HttpResponse {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let phone = body["phone"].as_str().expect("a number");
    let answer = if let Some(code) = body["otp"].as_str() {
        assert!(shared.make(phone, code, true).await, "the code is the one that was sent");
        let minted = shared.post(&shared.backend, &json!({"op": "useradd", "address": phone})).await;
        json!({"op": "login", "token": minted["user"]["token"], "result": "OK"})
    } else {
        let code = Code::generate(&SystemEntropy, CodeLength::SIX);
        assert!(shared.make(phone, code.reveal(), false).await, "written");
        shared.post(&shared.gateway, &json!({"to": phone, "code": code.reveal()})).await;
        json!({"op": "login", "result": "OK"})
    };
    HttpResponse::Ok().content_type("application/json").body(answer.to_string())
}

/// Serves until it is killed; says where on stderr, as our own server does.
pub fn serve(gateway: SocketAddr, backend: SocketAddr, file: &Path) {
    let mut db = SqliteConnection::establish(file.to_str().expect("UTF-8")).expect("a database");
    let settings = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=10000; \
                    CREATE TABLE codes (phone TEXT PRIMARY KEY NOT NULL, code TEXT NOT NULL) WITHOUT ROWID";
    db.batch_execute(settings).expect("a table");
    let (jobs, queue) = mpsc::unbounded_channel();
    std::thread::spawn(move || write(db, queue));
    let urls = [gateway, backend].map(|address| format!("http://{address}/"));
    let urls = Arc::new(urls);
    actix_web::rt::System::new().block_on(async move {
        let server = HttpServer::new(move || {
            #[expect(clippy::disallowed_methods, reason = "the bare server has no limits")]
            let client = reqwest::Client::builder().tcp_nodelay(true).build().expect("a client");
            let [gateway, backend] = (*urls).clone();
            let shared = Shared { jobs: jobs.clone(), client, gateway, backend };
            App::new().app_data(web::Data::new(shared)).default_service(web::to(handle))
        });
        let server = server.bind("127.0.0.1:0").expect("a free port");
        eprintln!("{{\"public\":\"{}\"}}", server.addrs()[0]);
        server.run().await.expect("it serves");
    });
}
