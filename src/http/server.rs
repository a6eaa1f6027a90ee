//! The listener: actix's HTTP service over our watched connections.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{Server as ActixServer, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CACHE_CONTROL, HeaderValue, TRANSFER_ENCODING};
use actix_web::middleware::Next;
use actix_web::{App, HttpMessage, middleware, web};
use tokio::sync::watch;
use tracing_actix_web::{RequestId, RootSpanBuilder, TracingLogger};

use super::client::TrustedProxies;
use super::connection::{Connections, Phase, Watched};
use crate::config::Server;

/// What to listen on, and what to answer with.
pub struct Listener<F> {
    /// The socket.
    pub socket: TcpListener,
    /// Connections and deadlines.
    pub limits: Server,
    /// Threads.
    pub workers: usize,
    /// Adds routes and shared state.
    pub configure: F,
}

/// A running listener.
pub struct Serving {
    /// Where it listens.
    pub address: SocketAddr,
    /// To stop it.
    pub door: Door,
    /// Ends when it has stopped.
    pub server: ActixServer,
}

/// Ends a listener in two steps.
pub struct Door {
    handle: ServerHandle,
    closing: watch::Sender<bool>,
}

impl Door {
    /// Takes no more connections, and closes each open one behind the request it is at. What is worked on goes on.
    pub async fn close(&self) {
        self.closing.send_replace(true);
        self.handle.pause().await;
    }

    /// Waits for the connections that are still open, then ends the threads and whatever still runs on them.
    pub async fn stop(&self) {
        self.handle.stop(true).await;
    }
}

/// Starts answering.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve<F>(listener: Listener<F>) -> std::io::Result<Serving>
where
    F: Fn(&mut web::ServiceConfig) + Clone + Send + 'static,
{
    let Listener { socket, limits, workers, configure } = listener;
    let address = socket.local_addr()?;
    let connections = Arc::new(Connections::new(limits.max_connections, limits.max_connections_per_ip));
    let proxies = Arc::new(TrustedProxies::new(limits.trusted_proxies.clone()));
    let builder = ActixServer::build()
        .workers(workers)
        // Whoever stops us keeps the time; this one counts in whole seconds and must not be shorter.
        .shutdown_timeout(limits.shutdown_timeout.as_secs().saturating_add(1))
        .disable_signals();
    let (closing, closed) = watch::channel(false);
    let factory = move || {
        let (connections, proxies) = (Arc::clone(&connections), Arc::clone(&proxies));
        let head_timeout = limits.head_timeout;
        let app = App::new()
            .configure(&configure)
            .wrap(middleware::from_fn(around))
            .wrap(TracingLogger::<RequestSpan>::new())
            .into_factory()
            .map_err(|error: actix_web::Error| error.error_response());
        let closed = closed.clone();
        let http = HttpService::build()
            .keep_alive(limits.idle_timeout)
            .client_request_timeout(limits.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(1))
            .graceful_shutdown_signal(move || {
                let mut closed = closed.clone();
                // An error: nobody is left to say so.
                async move { drop(closed.wait_for(|closed| *closed).await) }
            })
            .local_addr(address)
            .on_connect_ext(|stream: &Watched, extensions| {
                extensions.insert(stream.phase());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(move |stream: tokio::net::TcpStream| {
            let watched = Watched::admit(stream, &connections, &proxies, head_timeout);
            async move {
                let watched = watched.map_err(actix_http::error::DispatchError::Io)?;
                let peer = watched.peer_addr();
                Ok((watched, actix_http::Protocol::Http1, peer))
            }
        })
        .and_then(http)
    };
    let server = builder.listen("latchkey", socket, factory)?.run();
    Ok(Serving { address, door: Door { handle: server.handle(), closing }, server })
}

/// Around every request: the connection learns that its head is complete, and no answer is ever cached.
async fn around(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let phase = request.conn_data::<Rc<Phase>>().cloned();
    let in_chunks = request.headers().contains_key(TRANSFER_ENCODING);
    if let Some(phase) = &phase {
        phase.begin_answer();
    }
    let response = next.call(request).await;
    match &phase {
        Some(phase) if in_chunks => phase.end_answer_to_chunks(),
        Some(phase) => phase.end_answer(),
        None => {}
    }
    let mut response = response?;
    // Whoever means an answer to be kept says so itself.
    if !response.headers().contains_key(CACHE_CONTROL) {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    Ok(response)
}

/// The span of a request: its id, and nothing that a client wrote.
struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> tracing::Span {
        let id = request.extensions().get::<RequestId>().copied();
        tracing::error_span!("request", id = id.map(tracing::field::display))
    }

    fn on_request_end<B: actix_web::body::MessageBody>(
        _span: tracing::Span,
        _outcome: &Result<ServiceResponse<B>, actix_web::Error>,
    ) {
    }
}
