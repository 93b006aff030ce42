//! Docker loads what esker builds and starts it, and JupyterLab answers.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::real::{Project, host, run, text, usable};

/// How long JupyterLab may take to answer: half of what hubs give a server.
const PATIENCE: Duration = Duration::from_secs(150);
const TOKEN: &str = "a-token-for-this-test";

/// An image of this test in Docker, removed by its name when dropped: what others call the same image stays.
struct Loaded(String);

impl Drop for Loaded {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["image", "rm", &self.0]).output());
    }
}

impl Loaded {
    fn id(&self) -> String {
        run("docker", &["image", "inspect", "--format", "{{.Id}}", &self.0])
    }
}

/// A container, removed by its id when dropped.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        drop(Command::new("docker").args(["rm", "--force", "--volumes", &self.0]).output());
    }
}

impl Container {
    fn start(image: &Loaded) -> Self {
        let token = format!("--ServerApp.token={TOKEN}");
        let jupyter = ["jupyter", "lab", "--ip=0.0.0.0", &token];
        let arguments = [&["run", "--detach", "--publish", "127.0.0.1:0:8888", &image.0], jupyter.as_slice()].concat();
        Self(run("docker", &arguments).trim().to_owned())
    }

    /// `http://127.0.0.1:PORT`
    fn address(&self) -> String {
        let published = run("docker", &["port", &self.0, "8888/tcp"]);
        format!("http://{}", published.lines().next().unwrap())
    }

    fn logs(&self) -> String {
        let output = Command::new("docker").args(["logs", "--tail", "40", &self.0]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[tokio::test]
async fn docker_starts_the_image_and_jupyterlab_answers() {
    if !usable("docker", &["version"]) {
        return;
    }
    let Some(project) = Project::new() else { return };
    project.ok(&["lock"]);
    let archived = Loaded(format!("esker-path-{}:archived", std::process::id()));
    let direct = Loaded(format!("esker-path-{}:direct", std::process::id()));
    let file = project.path("image.tar");
    let outputs = [format!("docker-archive:{}:{}", file.display(), archived.0), format!("docker:{}", direct.0)];
    project.build(&["--platform", &host(), "--output", &outputs[0], "--output", &outputs[1]]);
    let said = run("docker", &["load", "--input", text(&file)]);
    assert!(said.contains(&archived.0), "{said}");
    assert_eq!(archived.id(), direct.id(), "the archive and the engine have one image");

    let container = Container::start(&archived);
    let address = container.address();
    let status = answer(&address, &container).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(status["started"].is_string(), "{status}");
    let refused = reqwest::get(format!("{address}/api/status")).await.unwrap();
    assert_eq!(refused.status(), 403, "without a token");
}

/// What `/api/status` says to who has the token, as soon as it says anything.
async fn answer(address: &str, container: &Container) -> String {
    let client = reqwest::Client::new();
    let start = Instant::now();
    loop {
        let request = client.get(format!("{address}/api/status")).header("Authorization", format!("token {TOKEN}"));
        match request.timeout(Duration::from_secs(10)).send().await {
            Ok(response) if response.status() == 200 => return response.text().await.unwrap(),
            other if start.elapsed() > PATIENCE => panic!("{other:?}\n{}", container.logs()),
            _ => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    }
}
