//! `latchkey keys`.

use std::io::Write;

use super::CommandError;
use crate::ambient::Entropy;
use crate::config::Config;
use crate::domain::keyring::Rotation;
use crate::keys;

/// Gives access tokens another key.
pub(super) fn rotate(
    config: &Config,
    entropy: &dyn Entropy,
    out: &mut (dyn Write + Send),
) -> Result<(), CommandError> {
    let (rotation, ring) =
        keys::rotate(&config.session.keys, entropy).map_err(|error| CommandError::Told(error.to_string()))?;
    let (path, current) = (config.session.keys.path().display(), ring.current_id());
    match rotation {
        Rotation::Rotated => writeln!(
            out,
            "{path}: {current} signs access tokens now. The key before it is accepted until the next rotation, and a \
             new one is published to follow. Servers read the file within 10 seconds."
        )?,
        Rotation::NextAdded => writeln!(
            out,
            "{path}: there was no next key, so one is published now, and {current} still signs. Rotate again once all \
             servers, and all who cache /.well-known/jwks.json, have read it: in 10 minutes."
        )?,
    }
    Ok(())
}
