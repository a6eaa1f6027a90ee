//! Connections to a mail server.
//!
//! Guarantees: no more connections than configured; one that is handed out has just answered. lettre has a pool too,
//! which takes a connection back whose sender was dropped half way through its dialogue, so that the next mail reads
//! the answers to the last one. Here only [`Links::put_back`] keeps a connection, and it is called at the end of a
//! dialogue that went well; dropping closes it.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::SendError;
use super::sort::{Step, no_connection, sort};
use super::wire::Wire;
use crate::config::{SmtpProvider, SmtpSecurity};

/// All connections to one server.
pub(super) struct Links {
    host: String,
    port: u16,
    security: SmtpSecurity,
    tls: Option<TlsParameters>,
    login: Option<Credentials>,
    timeout: Duration,
    name: ClientId,
    turns: Semaphore,
    idle: Mutex<Vec<AsyncSmtpConnection>>,
}

/// A connection that is in use.
pub(super) struct Link<'a> {
    connection: AsyncSmtpConnection,
    _turn: SemaphorePermit<'a>,
}

impl Deref for Link<'_> {
    type Target = AsyncSmtpConnection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl DerefMut for Link<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl Links {
    /// None is opened before it is needed.
    ///
    /// # Errors
    /// When TLS cannot be set up, with the fix.
    pub(super) fn new(config: &SmtpProvider) -> Result<Self, String> {
        let credentials = |(user, password): &(String, secrecy::SecretString)| {
            Credentials::new(user.clone(), password.expose_secret().to_owned())
        };
        let tls = match config.security {
            SmtpSecurity::Implicit | SmtpSecurity::StartTls => Some(read_tls(config)?),
            SmtpSecurity::Plain => None,
        };
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            security: config.security,
            tls,
            login: config.login.as_ref().map(credentials),
            timeout: config.connect_timeout,
            name: ClientId::default(),
            turns: Semaphore::new(config.connections),
            idle: Mutex::default(),
        })
    }

    /// One that has just answered; a new one where none is idle.
    pub(super) async fn get(&self) -> Result<Link<'_>, SendError> {
        let stopping = |_closed| SendError::Temporary("the process is stopping".to_owned());
        let turn = self.turns.acquire().await.map_err(stopping)?;
        let fresh = tokio::time::timeout(self.timeout, async {
            while let Some(mut connection) = self.pop() {
                // The server may have closed it long since.
                if connection.test_connected().await {
                    return Ok(connection);
                }
            }
            self.connect().await
        });
        let late = |_elapsed| Err(SendError::Temporary("the mail server did not answer in time".to_owned()));
        let connection = fresh.await.unwrap_or_else(late)?;
        Ok(Link { connection, _turn: turn })
    }

    /// Keeps one whose dialogue is at its end.
    pub(super) fn put_back(&self, link: Link<'_>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link.connection);
    }

    fn pop(&self) -> Option<AsyncSmtpConnection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let mut connection = self.open().await?;
        if let Some(login) = &self.login {
            let logged_in = connection.auth(DEFAULT_MECHANISMS, login).await;
            logged_in.map_err(|error| sort(&error, Step::Login))?;
        }
        Ok(connection)
    }

    /// To the end of the greeting, in TLS where that is wanted.
    async fn open(&self) -> Result<AsyncSmtpConnection, SendError> {
        let server = (self.host.as_str(), self.port);
        let failed = |error| sort(&error, Step::Connection);
        let Some(tls) = self.tls.clone().filter(|_| self.security == SmtpSecurity::StartTls) else {
            let open = AsyncSmtpConnection::connect_tokio1(server, None, &self.name, self.tls.clone(), None);
            return open.await.map_err(failed);
        };
        let unreachable = |error| SendError::Temporary(no_connection(&error));
        let wire = Box::new(Wire::new(TcpStream::connect(server).await.map_err(unreachable)?));
        let greeted = AsyncSmtpConnection::connect_with_transport(wire, &self.name).await;
        let mut connection = greeted.map_err(failed)?;
        connection.starttls(tls, &self.name).await.map_err(failed)?;
        Ok(connection)
    }
}

fn read_tls(config: &SmtpProvider) -> Result<TlsParameters, String> {
    let mut builder = TlsParameters::builder(config.host.clone());
    if let Some(ca) = &config.ca {
        let certificate = Certificate::from_pem(ca.as_bytes())
            .map_err(|error| format!("ca_file holds no certificates in PEM: {error}"))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(|error| {
        format!("TLS cannot be set up: {error}; install ca-certificates, or look into ca_file")
    })
}
