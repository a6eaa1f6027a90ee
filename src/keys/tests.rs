use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ambient::SeededEntropy;
use crate::config::Config;
use crate::domain::claims::LEEWAY;

const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_700);

struct House {
    _folder: tempfile::TempDir,
    keys: SessionKeys,
    session: Session,
    apps: Arc<Apps>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = SessionKeys::Generated(folder.path().join("session.keys"));
        let text = "[[apps]]\nid = \"com.example\"\nname = \"Example\"";
        let config = Config::parse(text.parse().expect("TOML"), "a test", &std::collections::BTreeMap::new());
        let config = config.expect("no problems");
        let session = Session { keys: keys.clone(), ..config.session };
        Self { _folder: folder, keys, session, apps: Arc::new(config.apps) }
    }

    /// A node that starts now.
    fn node(&self, seed: u64) -> AccessTokens {
        let issuer = "https://login.example.com".to_owned();
        AccessTokens::open(&self.session, issuer, Arc::clone(&self.apps), Arc::new(SeededEntropy::new(seed)))
            .expect("keys")
    }

    fn rotate(&self, seed: u64) {
        rotate(&self.keys, &SeededEntropy::new(seed)).expect("a rotation");
    }
}

fn bearer(app_id: &str) -> Bearer {
    let entropy = SeededEntropy::new(5);
    let (user, session) = (UserId::generate(&entropy), SessionId::generate(&entropy));
    Bearer { app_id: app_id.to_owned(), user, session, channel: Some(Channel::Sms) }
}

fn issue(node: &AccessTokens) -> Zeroizing<String> {
    node.issue(&bearer("com.example"), NOW).expect("a token").text
}

#[test]
fn a_token_says_whom_it_is_for_and_each_has_its_own_id_g1() {
    let node = House::new().node(1);
    let claims = node.verify(&issue(&node), NOW).expect("a good token");
    let Bearer { app_id, user, session, channel } = bearer("com.example");
    assert_eq!(
        (claims.app_id, claims.user, claims.session, claims.channel),
        (app_id, user, session, channel)
    );
    assert_eq!(claims.issued_at, Timestamp::from_millis(1_767_225_600_000), "whole seconds");
    assert_ne!(claims.id, node.verify(&issue(&node), NOW).expect("a good token").id);
    let end = NOW.plus(Duration::from_mins(15));
    assert_eq!(node.verify(&issue(&node), end).err(), Some(TokenError::Expired));
    let early = NOW.minus(LEEWAY + Duration::from_secs(2));
    assert_eq!(node.verify(&issue(&node), early).err(), Some(TokenError::NotYet));
}

#[test]
fn a_token_for_an_app_that_is_not_served_is_refused_g1() {
    let node = House::new().node(1);
    let other = node.issue(&bearer("com.example.other"), NOW).expect("a token");
    assert_eq!(node.verify(&other.text, NOW).err(), Some(TokenError::Audience));
}

#[test]
fn nodes_agree_before_between_and_behind_their_looks_at_the_file_g3() {
    let house = House::new();
    let (early, late) = (house.node(1), house.node(2));
    house.rotate(3);
    assert_eq!(early.reload(), Reload::Read);
    // One signs with the new key, the other has not looked yet: each takes the other's tokens.
    for (signer, reader) in [(&early, &late), (&late, &early)] {
        assert!(reader.verify(&issue(signer), NOW).is_ok());
    }
    let old = issue(&late);
    assert_eq!(late.reload(), Reload::Read);
    assert_eq!(late.jwks(), early.jwks());
    assert_eq!(late.reload(), Reload::Unchanged);
    assert!(late.verify(&old, NOW).is_ok(), "in the overlap");
    house.rotate(4);
    assert_eq!(late.reload(), Reload::Read);
    assert_eq!(late.verify(&old, NOW).err(), Some(TokenError::Form), "after two rotations");
}

#[test]
fn a_broken_file_changes_nothing_and_is_told_of_once_g3() {
    let house = House::new();
    let node = house.node(1);
    let (token, path) = (issue(&node), house.keys.path());
    let good = std::fs::read_to_string(path).expect("our file");
    for broken in ["", "hunter2", good.split_at(100).0] {
        std::fs::write(path, broken).expect("our file");
        assert_eq!(node.reload(), Reload::Kept);
        assert_eq!(node.reload(), Reload::Unchanged, "told of already");
        assert!(node.verify(&token, NOW).is_ok() && node.verify(&issue(&node), NOW).is_ok());
    }
    std::fs::remove_file(path).expect("our file");
    assert_eq!((node.reload(), node.reload()), (Reload::Kept, Reload::Unchanged));
    std::fs::write(path, &good).expect("our file");
    assert_eq!(node.reload(), Reload::Read);
    assert!(node.verify(&token, NOW).is_ok());
}

#[test]
fn a_rotation_keeps_the_files_permissions_and_leaves_no_draft_g3() {
    let house = House::new();
    let node = house.node(1);
    let path = house.keys.path();
    let mode = || path.metadata().expect("our file").permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    house.rotate(2);
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640)).expect("our file");
    house.rotate(3);
    assert_eq!(mode(), 0o640);
    assert_eq!(path.parent().expect("a folder").read_dir().expect("our folder").count(), 1);
    assert_eq!(node.reload(), Reload::Read);
    assert_eq!(node.jwks()["keys"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_rotation_of_a_broken_or_missing_file_says_so_and_touches_nothing() {
    let house = House::new();
    let path = house.keys.path();
    let given = SessionKeys::Given(path.to_owned());
    let refused = || rotate(&given, &SeededEntropy::new(1)).err().expect("refused").to_string();
    assert!(
        refused().contains("session.key_file: ") && refused().contains("cannot be read"),
        "{}",
        refused()
    );
    assert!(!path.exists());
    std::fs::write(path, "hunter2").expect("our file");
    assert!(
        refused()
            .ends_with("line 1 is neither part of a private key in PEM nor a comment that begins with #")
    );
    assert_eq!(std::fs::read_to_string(path).expect("our file"), "hunter2");
}
