//! As much of WebDriver (<https://www.w3.org/TR/webdriver2/>) as one page needs.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Where Debian, Ubuntu and others have it: what Chromium brings is the driver for it.
const PROGRAM: &str = "chromedriver";
/// How long it may take to say where it listens.
const START: Duration = Duration::from_secs(30);
/// How long one of its answers may take, a page's loading included.
const ANSWER: Duration = Duration::from_secs(120);
/// The key of an element's id in answers, which the standard sets.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A driver of browsers. It ends when dropped.
pub struct Driver {
    _process: Child,
    address: String,
    client: reqwest::Client,
}

/// A browser with one window.
pub struct Browser<'a> {
    driver: &'a Driver,
    session: String,
}

impl Driver {
    /// Starts the driver at a free port.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn start() -> Result<Self, String> {
        let mut command = Command::new(PROGRAM);
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command
            .spawn()
            .map_err(|error| format!("`{PROGRAM}` cannot be started: {error}; Debian has it in `chromium-driver`"))?;
        let output = process.stdout.take().expect("was asked to be piped");
        let port = tokio::time::timeout(START, port(BufReader::new(output))).await.ok().flatten();
        let port = port.ok_or_else(|| format!("`{PROGRAM}` does not say at which port it listens"))?;
        // Neither a proxy nor a redirect could be meant for a program on this machine.
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER).build();
        let client = client.map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        Ok(Self { _process: process, address: format!("http://127.0.0.1:{port}"), client })
    }

    /// Opens a window that nobody sees.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn open(&self) -> Result<Browser<'_>, String> {
        // What is opened is this machine's own; Chromium's sandbox needs what containers and root do not have.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1040"];
        let chrome = json!({"args": arguments});
        let body = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": chrome}}});
        let answer = self.ask("/session", Some(&body)).await?;
        let session = answer["sessionId"].as_str().ok_or("the browser's driver names no session")?;
        Ok(Browser { driver: self, session: session.to_owned() })
    }

    async fn ask(&self, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let address = format!("{}{path}", self.address);
        let request = match body {
            Some(body) => self.client.post(address).body(body.to_string()),
            None => self.client.get(address),
        };
        let failed = |error: reqwest::Error| format!("the browser's driver does not answer: {error}");
        let response = request.header("Content-Type", "application/json").send().await.map_err(failed)?;
        let text = response.text().await.map_err(failed)?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|_| failed_answer(&text))?;
        match answer["value"].get("error").and_then(Value::as_str) {
            Some(_) => Err(failed_answer(answer["value"]["message"].as_str().unwrap_or(&text))),
            None => Ok(answer["value"].take()),
        }
    }
}

fn failed_answer(text: &str) -> String {
    format!("the browser cannot do it: {}", text.lines().next().unwrap_or_default())
}

/// The port in `ChromeDriver was started successfully on port 12345.`; before that it repeats which it was asked for.
async fn port(output: impl tokio::io::AsyncBufRead + Unpin) -> Option<u16> {
    let mut lines = output.lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let started = line.split_once(" successfully on port ").map(|(_, port)| port.trim_end_matches('.').parse());
        if let Some(Ok(port)) = started {
            return Some(port);
        }
    }
    None
}

impl Browser<'_> {
    async fn ask(&self, what: &str, body: Option<&Value>) -> Result<Value, String> {
        self.driver.ask(&format!("/session/{}/{what}", self.session), body).await
    }

    /// Loads a page.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn go(&self, address: &str) -> Result<(), String> {
        self.ask("url", Some(&json!({"url": address}))).await.map(drop)
    }

    /// What `script` returns in the page.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn run(&self, script: &str) -> Result<Value, String> {
        self.ask("execute/sync", Some(&json!({"script": script, "args": []}))).await
    }

    /// Presses `keys` in the first element that `selector` finds.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn press(&self, selector: &str, keys: &str) -> Result<(), String> {
        let found = self.ask("element", Some(&json!({"using": "css selector", "value": selector}))).await?;
        let id = found[ELEMENT].as_str().ok_or("the browser's driver names no element")?;
        self.ask(&format!("element/{id}/click"), Some(&json!({}))).await?;
        self.ask(&format!("element/{id}/value"), Some(&json!({"text": keys}))).await.map(drop)
    }

    /// The page as a PNG in base64.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn picture(&self) -> Result<String, String> {
        let picture = self.ask("screenshot", None).await?;
        picture.as_str().map(str::to_owned).ok_or_else(|| "the browser's driver gives no picture".to_owned())
    }

    /// Closes the browser.
    pub async fn close(self) {
        let address = format!("{}/session/{}", self.driver.address, self.session);
        // If this fails, the browser is gone already, or goes with its driver.
        drop(self.driver.client.delete(address).send().await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_is_heard() {
        let said = "Starting ChromeDriver 120 on port 0\nOnly local connections are allowed.\n\
                    ChromeDriver was started successfully on port 40123.\n";
        assert_eq!(port(said.as_bytes()).await, Some(40123));
        assert_eq!(port(&b"nothing"[..]).await, None);
    }
}
