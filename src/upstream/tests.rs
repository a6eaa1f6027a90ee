//! What the tests of all backends are made of.

use std::io;
use std::sync::Mutex;

use tracing::instrument::WithSubscriber;

use super::*;
use crate::config::CallLimits;

/// More than an answer over loopback takes.
pub(super) const LIMITS: CallLimits =
    CallLimits { connect_timeout: Duration::from_secs(2), timeout: Duration::from_secs(5) };

/// Somebody with the number of the tutorial.
pub(super) fn subject() -> Subject {
    Subject {
        user: UserId::from_stored("usr_1".to_owned()),
        upstream_id: None,
        address: Address::parse("+18005551234").expect("a number"),
        app_id: "com.example.app".to_owned(),
        name: None,
    }
}

/// What is logged while `work` runs, at TRACE, libraries included.
pub(super) async fn logged(work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    work.with_subscriber(log).await;
    let bytes = lines.0.lock().expect("no panic").clone();
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_backend_knows_an_imported_user_by_their_old_id() {
    assert_eq!(subject().backend_id(), "usr_1");
    let imported = Subject { upstream_id: Some("old-42".to_owned()), ..subject() };
    assert_eq!(imported.backend_id(), "old-42");
}
