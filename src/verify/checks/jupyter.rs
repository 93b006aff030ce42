//! A JupyterLab that is started as hubs start it, asked, and stopped.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::scene::Scene;
use super::{Finding, GRACE, Outcome};
use crate::verify::runtime::{Command, Error, Exit, Running, Stop};

/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
pub const TOKEN: &str = "esker-verify";
/// The class that options are spelled with, today and before Jupyter Server was split off.
pub const SPELLING: &str = "ServerApp";
const OLD_SPELLING: &str = "NotebookApp";
/// User and group whom no image can know, the group root's, as OpenShift runs images.
pub const ARBITRARY: (u32, u32) = (54321, 0);

pub async fn server(scene: &Scene<'_>) -> Result<Finding, Error> {
    if let Some(facts) = scene.told_of_server() {
        return Ok(Finding { outcome: Outcome::Passed, facts: facts.clone() });
    }
    try_server(scene, SPELLING, |command| command).await
}

pub async fn old_options(scene: &Scene<'_>) -> Result<Finding, Error> {
    try_one(scene, OLD_SPELLING, |command| command).await
}

/// Whether a server comes up with old spellings, as a user whom no image knows, where nothing can be written.
///
/// What passes under all of these at once passes under each: one server proves what would take three. What fails says
/// nothing about which was too much, so that each is tried by itself then ([`try_one`]).
///
/// # Errors
/// When no program can be run on this machine.
pub async fn try_strictest(scene: &Scene<'_>) -> Result<Outcome, Error> {
    let (uid, gid) = ARBITRARY;
    let finding = try_server(scene, OLD_SPELLING, |command| command.as_user(uid, gid).read_only()).await?;
    Ok(finding.outcome)
}

/// Whether a server comes up with options of `spelling`, as `how` changes it: both are among what [`try_strictest`]
/// asks. What else there is to learn, `server` learns.
///
/// # Errors
/// When no program can be run on this machine.
pub async fn try_one(
    scene: &Scene<'_>,
    spelling: &str,
    how: impl FnOnce(Command) -> Command,
) -> Result<Finding, Error> {
    match scene.strictest_server().await? {
        Outcome::Passed => Ok(Outcome::Passed.into()),
        _ => Ok(try_server(scene, spelling, how).await?.outcome.into()),
    }
}

/// Starts a server with options of `spelling`, as `how` changes it, and judges it.
async fn try_server(scene: &Scene<'_>, spelling: &str, how: impl FnOnce(Command) -> Command) -> Result<Finding, Error> {
    let began = Instant::now();
    let server = Server::start(scene, spelling, how).await?;
    let judged = match server.until_ready(scene.timeout).await {
        Ok(status) => server.judge(&status, began.elapsed()).await,
        Err(reason) => Err(reason),
    };
    server.stop(judged, GRACE.min(scene.timeout)).await
}

/// What was learned from a server that answers as it should, or what it does wrong.
pub type Judged = Result<Vec<(&'static str, String)>, String>;

/// A server that was started.
pub struct Server {
    running: Running,
    /// Where it can be reached.
    pub address: SocketAddr,
    /// What asks it.
    pub client: reqwest::Client,
}

impl Server {
    /// Starts a server with options of `spelling`, as `how` changes it.
    ///
    /// # Errors
    /// When no program can be run on this machine.
    pub async fn start(scene: &Scene<'_>, spelling: &str, how: impl FnOnce(Command) -> Command) -> Result<Self, Error> {
        let listen = scene.runtime.listen()?;
        let options = [
            "--no-browser".to_owned(),
            format!("--ip={}", listen.ip()),
            format!("--port={}", listen.port()),
            format!("--{spelling}.token={TOKEN}"),
            "--ServerApp.port_retries=0".to_owned(),
        ];
        let command = Command::arguments(program(&scene.subject.container.cmd).into_iter().chain(options));
        let running = scene.runtime.start(&how(command.over_empty_home().reachable_at(listen.port()))).await?;
        let address = running.address.unwrap_or(listen);
        // Neither a proxy nor a redirect could be meant for a server on this machine.
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client =
            client.timeout(ANSWER.min(scene.timeout)).build().map_err(|error| Error::Client(Box::new(error)))?;
        Ok(Self { running, address, client })
    }

    async fn get(&self, path: &str, token: Option<&str>) -> reqwest::Result<(u16, String)> {
        let mut request = self.client.get(format!("http://{}{path}", self.address));
        if let Some(token) = token {
            request = request.header("Authorization", format!("token {token}"));
        }
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Waits for the first answer to `/api/status`.
    ///
    /// # Errors
    /// What the server does wrong.
    pub async fn until_ready(&self, timeout: Duration) -> Result<String, String> {
        let begin = Instant::now();
        loop {
            match self.get("/api/status", Some(TOKEN)).await {
                Ok((200, status)) => return Ok(status),
                Ok((code, _)) => return Err(format!("/api/status answers {code} to the token")),
                Err(_) if self.running.has_ended() => return Err("the server ended by itself".to_owned()),
                Err(_) if begin.elapsed() > timeout => return Err(format!("no answer in {} s", timeout.as_secs())),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Whether it answers whom it should, as it should. `status` is its first answer, `startup` how long that took.
    ///
    /// # Errors
    /// What the server does wrong.
    pub async fn judge(&self, status: &str, startup: Duration) -> Judged {
        let status: Value = serde_json::from_str(status).map_err(|error| format!("/api/status is no JSON: {error}"))?;
        let started = status.get("started").and_then(Value::as_str).ok_or("/api/status does not say `started`")?;
        // What probes of health ask, who have no token.
        match self.get("/api", None).await {
            Ok((200, _)) => {}
            Ok((code, _)) => return Err(format!("/api answers {code}, not 200")),
            Err(error) => return Err(format!("no answer for /api: {error}")),
        }
        for stranger in [None, Some("wrong")] {
            match self.get("/api/status", stranger).await {
                Ok((403, _)) => {}
                Ok((code, _)) => return Err(format!("/api/status answers {code} without the token, not 403")),
                Err(error) => return Err(format!("no answer without the token: {error}")),
            }
        }
        let page = self.get("/lab", Some(TOKEN)).await.map_err(|error| format!("no answer for /lab: {error}"))?;
        let version = lab_version(&page.1).ok_or_else(|| format!("/lab answers {} without a version", page.0))?;
        Ok(vec![
            ("jupyterlab", version.to_owned()),
            ("jupyterlab-started", started.to_owned()),
            ("jupyterlab-startup-seconds", format!("{:.1}", startup.as_secs_f64())),
        ])
    }

    /// Ends the server as a hub does, and turns what is known into a finding.
    ///
    /// # Errors
    /// When the container was lost.
    pub async fn stop(self, judged: Judged, grace: Duration) -> Result<Finding, Error> {
        let ended_by_itself = self.running.has_ended();
        self.running.stop(Stop::Terminate);
        let output = self.running.wait(grace).await?;
        let stopped = match output.exit {
            exit if ended_by_itself => Err(format!("({exit})")),
            Exit::Code(0 | 143) | Exit::Signal(15) => Ok(()),
            Exit::TimedOut => Err(format!("SIGTERM did not stop the server within {} s", grace.as_secs())),
            other => Err(format!("{other} after SIGTERM")),
        };
        let reason = match (judged, stopped) {
            (Ok(facts), Ok(())) => {
                let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
                return Ok(Finding { outcome: Outcome::Passed, facts });
            }
            (Ok(_), Err(reason)) => reason,
            (Err(reason), Err(end)) if ended_by_itself => format!("{reason} {end}"),
            (Err(reason), _) => reason,
        };
        Ok(Outcome::failed(reason).with_output(&output.text()).into())
    }
}

/// The image's command without its options, to which spawners append their own; `jupyter lab` where there is none.
fn program(cmd: &[String]) -> Vec<String> {
    let words: Vec<_> = cmd.iter().take_while(|word| !word.starts_with('-')).cloned().collect();
    if words.is_empty() { vec!["jupyter".to_owned(), "lab".to_owned()] } else { words }
}

/// The version in the settings that JupyterLab's page carries.
fn lab_version(page: &str) -> Option<&str> {
    let (_, after) = page.split_once("\"appVersion\":")?;
    let (version, _) = after.trim_start().strip_prefix('"')?.split_once('"')?;
    Some(version).filter(|version| !version.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_the_page() {
        assert_eq!(lab_version(r#"<script>{"appUrl": "/lab", "appVersion": "4.4.1", "x": 1}"#), Some("4.4.1"));
        assert_eq!(lab_version(r#"{"appVersion": ""}"#), None);
        assert_eq!(lab_version("<html>Sign in</html>"), None);
    }

    #[test]
    fn options_of_the_command_are_left_to_the_spawner() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(program(&words("jupyter lab --ip 0.0.0.0")), words("jupyter lab"));
        assert_eq!(program(&[]), words("jupyter lab"));
    }
}
