//! JupyterLab in a real browser: a notebook is opened, run, and its output seen.
//!
//! The browser is this machine's Chromium, driven through `chromedriver` by the W3C's WebDriver protocol, which is JSON
//! over HTTP. A picture of the page is kept.

mod driver;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use self::driver::{Browser, Driver};
use super::jupyter::{SPELLING, Server, TOKEN};
use super::scene::Scene;
use super::{Finding, GRACE, Outcome};
use crate::verify::runtime::Error;

/// What the cell says when it has run.
const ANSWER: &str = "the answer is 42";
const NAME: &str = "esker.ipynb";
/// The fact that says where the picture is.
pub const PICTURE: &str = "picture";
/// The setting by which JupyterLab asks nobody whether to fetch news, as its page would save it.
const NO_NEWS: (&str, &str) = ("@jupyterlab/apputils-extension:notification", "{\"fetchNews\": \"false\"}");
/// Shift and Enter, as WebDriver spells keys.
const SHIFT_ENTER: &str = "\u{e008}\u{e007}";

pub async fn notebook(scene: &Scene<'_>) -> Result<Finding, Error> {
    let driver = match Driver::start().await {
        Ok(driver) => driver,
        Err(reason) => return Ok(Outcome::not_run(reason).into()),
    };
    let began = Instant::now();
    let server = Server::start(scene, SPELLING, |command| command).await?;
    let seen = look(scene, &server, &driver, began).await;
    let (judged, picture) = match seen {
        Ok((facts, picture)) => (Ok(facts), Some(picture)),
        Err(reason) => (Err(reason), None),
    };
    let mut finding = server.stop(judged, GRACE.min(scene.timeout)).await?;
    if finding.outcome == Outcome::Passed {
        scene.tell_of_server(std::mem::take(&mut finding.facts));
    }
    finding.facts.extend(picture.map(|picture| (PICTURE.to_owned(), picture.display().to_string())));
    Ok(finding)
}

/// What there is to learn from the server itself, and where the picture is; or what is wrong.
async fn look(
    scene: &Scene<'_>,
    server: &Server,
    driver: &Driver,
    began: Instant,
) -> Result<(Vec<(&'static str, String)>, PathBuf), String> {
    let status = server.until_ready(scene.timeout).await?;
    let facts = server.judge(&status, began.elapsed()).await?;
    Ok((facts, visit(scene, server, driver).await?))
}

/// Opens the notebook, runs it, and returns where the picture is.
async fn visit(scene: &Scene<'_>, server: &Server, driver: &Driver) -> Result<PathBuf, String> {
    put_notebook(scene, server).await?;
    let browser = driver.open().await?;
    let seen = see(scene, server, &browser).await;
    // The picture is of most use where something is wrong.
    let picture = match browser.picture().await {
        Ok(png) => keep(scene, &png),
        Err(reason) => Err(reason),
    };
    browser.close().await;
    match (seen, picture) {
        (Ok(()), picture) => picture,
        (Err(reason), Ok(picture)) => Err(format!("{reason} (see {})", picture.display())),
        (Err(reason), Err(_)) => Err(reason),
    }
}

async fn see(scene: &Scene<'_>, server: &Server, browser: &Browser<'_>) -> Result<(), String> {
    let page = format!("http://{}/lab/tree/{NAME}?token={TOKEN}", server.address);
    browser.go(&page).await?;
    let deadline = Instant::now() + scene.timeout;
    // The bar at the bottom says so once the kernel can be asked.
    let ready = "const bar = document.querySelector('#jp-main-statusbar'); \
                 const cell = document.querySelector('.jp-Cell .cm-content'); \
                 const is_idle = bar !== null && bar.innerText.includes('| Idle'); \
                 return is_idle && cell !== null && cell.offsetParent !== null";
    until(browser, ready, deadline, "the notebook does not open").await?;
    browser.press(".jp-Cell .cm-content", SHIFT_ENTER).await?;
    let answered = format!(
        "const outputs = Array.from(document.querySelectorAll('.jp-OutputArea-output')); \
         return outputs.some(output => output.innerText.includes('{ANSWER}'))"
    );
    until(browser, &answered, deadline, "the cell was run and no output is seen").await?;
    if scene.subject.locked("matplotlib-base").or(scene.subject.locked("matplotlib")).is_some() {
        let drawn =
            "return Array.from(document.querySelectorAll('.jp-OutputArea-output img')).some(i => i.naturalWidth > 1)";
        until(browser, drawn, deadline, "the plot is not seen").await?;
    }
    Ok(())
}

/// Waits until `script` returns `true` in the page.
async fn until(browser: &Browser<'_>, script: &str, deadline: Instant, fault: &str) -> Result<(), String> {
    loop {
        if browser.run(script).await? == Value::Bool(true) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(fault.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// Puts a notebook of one cell into the empty home, as JupyterLab would save it.
async fn put_notebook(scene: &Scene<'_>, server: &Server) -> Result<(), String> {
    let plots = scene.subject.locked("matplotlib-base").or(scene.subject.locked("matplotlib")).is_some();
    let plot = "import matplotlib.pyplot as plt\nimport numpy as np\nx = np.linspace(0, 12, 400)\n\
                for n in range(1, 6):\n    plt.plot(x, np.sin(x + n) * np.exp(-x / (4 * n)), label=f'n = {n}')\n\
                plt.legend()\nplt.show()\n";
    let source = format!("{}print('the answer is', 6 * 7)", if plots { plot } else { "" });
    let cell = json!({
        "cell_type": "code", "id": "esker", "metadata": {}, "execution_count": null, "outputs": [], "source": source,
    });
    let kernel = json!({"name": "python3", "display_name": "Python 3", "language": "python"});
    let notebook = json!({"cells": [cell], "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5});
    let body = json!({"type": "notebook", "format": "json", "content": notebook}).to_string();
    put(server, &format!("/api/contents/{NAME}"), &body).await?;
    let (setting, value) = NO_NEWS;
    put(server, &format!("/lab/api/settings/{setting}"), &json!({"raw": value}).to_string()).await
}

async fn put(server: &Server, path: &str, body: &str) -> Result<(), String> {
    let request = server.client.put(format!("http://{}{path}", server.address)).body(body.to_owned());
    let response = request.header("Authorization", format!("token {TOKEN}")).send().await;
    let response = response.map_err(|error| format!("no answer to what is put at {path}: {error}"))?;
    match response.status() {
        status if status.is_success() => Ok(()),
        status => Err(format!("{path} answers {} to what is put there", status.as_u16())),
    }
}

/// Writes the picture where the project keeps them.
fn keep(scene: &Scene<'_>, png: &str) -> Result<PathBuf, String> {
    let bytes = STANDARD.decode(png).map_err(|error| format!("the picture of the page is no base64: {error}"))?;
    let folder = &scene.equipment.pictures;
    let name = format!("{}-{}.png", scene.subject.spec.name, scene.subject.platform().subdir());
    let path = folder.join(name);
    let write = |path: &Path| fs_err::create_dir_all(folder).and_then(|()| fs_err::write(path, &bytes));
    write(&path).map(|()| path).map_err(|error| format!("cannot keep the picture of the page: {error}"))
}
