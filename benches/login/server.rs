//! The server's process.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::ends::Ends;

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    folder: tempfile::TempDir,
}

/// The route that everything takes at first, and the other one.
const ROUTES: [&str; 2] = [r#"default = ["hook"]"#, r#"default = ["spare"]"#];

impl Server {
    /// Starts it on free ports, with limits that are on and that this load stays below.
    pub async fn start(database: &str, ends: &Ends) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = format!(
            r#"
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
trusted_proxies = ["127.0.0.0/8"]
[database]
url = "{database}"
connections = {}
[log]
format = "json"
[limits]
per_country = "3000000/1h"
per_app = "3000000/1h"
overall = "3000000/1h"
[[apps]]
id = "com.messenger.appid"
name = "Messenger"
[upstreams.chat]
kind = "mesibo"
url = "http://{}/backend/"
app_token = "bench"
[providers.hook]
recipe = "webhook"
base_url = "http://{}/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[providers.spare]
recipe = "webhook"
base_url = "http://{}/"
secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
[routes.sms]
{}
"#,
            // As the reference advises.
            crate::cores(),
            ends.backend,
            ends.gateways[0].address,
            ends.gateways[1].address,
            ROUTES[0]
        );
        let file = folder.path().join("latchkey.toml");
        std::fs::write(&file, config).expect("our file");
        let mut latchkey = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        latchkey.arg("--config").arg(&file);
        Self::spawn(latchkey, folder).await
    }

    /// Starts the bare one.
    pub async fn start_bare(ends: &Ends) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut bare = Command::new(std::env::current_exe().expect("this program"));
        bare.arg("bare")
            .arg(ends.gateways[0].address.to_string())
            .arg(ends.backend.to_string())
            .arg("bare.db");
        Self::spawn(bare, folder).await
    }

    async fn spawn(mut server: Command, folder: tempfile::TempDir) -> Self {
        let mut child = server
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the release build");
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        let (send, address) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut send = Some(send);
            for line in stderr.lines().map_while(Result::ok) {
                if let Some(address) =
                    crate::ends::member(&line, "\"public\":\"").and_then(|text| text.parse().ok())
                    && let Some(send) = send.take()
                {
                    let _ = send.send(address);
                } else if send.is_some() || line.contains("\"ERROR\"") {
                    eprintln!("{line}");
                }
            }
        });
        let address = tokio::time::timeout(Duration::from_secs(20), address).await;
        let address = address.expect("it comes up").expect("it says where it listens");
        Self { child, address, folder }
    }

    /// Writes the other route into the configuration, and has it read again.
    pub fn swap_route(&self) {
        let file = self.folder.path().join("latchkey.toml");
        let config = std::fs::read_to_string(&file).expect("our file");
        std::fs::write(&file, config.replace(ROUTES[0], ROUTES[1])).expect("our file");
        let asked = Command::new("kill").arg("-HUP").arg(self.child.id().to_string()).status();
        assert!(asked.expect("a kill command").success(), "the server is there");
    }

    /// CPU time so far, user and system.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        // Linux counts in hundredths of a second, whatever its timer does (proc(5), sysconf(3)).
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// The most memory that it held.
    pub fn peak_rss_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
        kib / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
