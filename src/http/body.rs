//! Reading a body, bounded in size and time.

use std::time::Duration;

use actix_web::web::{Bytes, BytesMut, Payload};
use futures_util::StreamExt;

/// More than any client sends.
pub(super) const LIMIT: usize = 16 * 1024;

/// Why there is no body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
}

/// The whole body.
pub(super) async fn read(payload: Payload, deadline: Duration) -> Result<Bytes, BodyError> {
    read_up_to(LIMIT, payload, deadline).await
}

/// The same, of whoever sends more.
pub(super) async fn read_up_to(
    limit: usize,
    payload: Payload,
    deadline: Duration,
) -> Result<Bytes, BodyError> {
    tokio::time::timeout(deadline, collect(limit, payload)).await.unwrap_or(Err(BodyError::TooSlow))
}

async fn collect(limit: usize, mut payload: Payload) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.or(Err(BodyError::Broken))?;
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}
