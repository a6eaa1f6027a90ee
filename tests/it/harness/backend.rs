//! A chat backend with a memory, over HTTP.

use std::sync::{Arc, Mutex};

use super::http::{Asked, FakeServer, Manner};

/// What a vendor's server knows and answers.
pub trait Vendor: Send + 'static {
    /// Which step of a mint a request is.
    fn step(&self, asked: &Asked) -> &'static str;

    /// Answers as the vendor does, and remembers.
    fn answer(&mut self, asked: &Asked) -> Manner;
}

/// How requests go wrong.
struct Fault {
    step: &'static str,
    manner: Manner,
    /// Whether what was asked is done all the same, and only the answer is lost.
    done: bool,
}

struct State<V> {
    vendor: V,
    fault: Option<Fault>,
    asked: Vec<Asked>,
}

/// A vendor's server on a port of its own.
pub struct FakeBackend<V> {
    server: FakeServer,
    state: Arc<Mutex<State<V>>>,
}

impl<V: Vendor> FakeBackend<V> {
    /// One that answers.
    pub fn start(vendor: V) -> Self {
        let backend = Self::deaf(vendor);
        backend.heal();
        backend
    }

    /// One that refuses connections until it heals.
    pub fn deaf(vendor: V) -> Self {
        let state = Arc::new(Mutex::new(State { vendor, fault: None, asked: Vec::new() }));
        let shared = Arc::clone(&state);
        let server = FakeServer::deaf(move |asked| {
            let State { vendor, fault, asked: all } = &mut *shared.lock().unwrap();
            all.push(asked.clone());
            match fault {
                Some(fault) if fault.step == vendor.step(&asked) => {
                    if fault.done {
                        vendor.answer(&asked);
                    }
                    fault.manner.clone()
                }
                _ => vendor.answer(&asked),
            }
        });
        Self { server, state }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// From now on this step goes like this, and nothing is done.
    pub fn fail(&self, step: &'static str, manner: Manner) {
        self.state.lock().unwrap().fault = Some(Fault { step, manner, done: false });
    }

    /// From now on this step is done, and its answer is lost.
    pub fn lose(&self, step: &'static str) {
        self.state.lock().unwrap().fault = Some(Fault { step, manner: Manner::HangsUp, done: true });
    }

    /// From now on all is well.
    pub fn heal(&self) {
        self.state.lock().unwrap().fault = None;
        self.server.listen();
    }

    /// What it was asked, in order.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// The requests, as a method and a path.
    pub fn calls(&self) -> Vec<String> {
        self.asked().iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect()
    }

    /// Looks at what the vendor knows, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut V) -> T) -> T {
        look(&mut self.state.lock().unwrap().vendor)
    }
}
