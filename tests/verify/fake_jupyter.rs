//! A server that behaves like JupyterLab's as far as the checks look, or misbehaves in one way.
//!
//! The tests' own program is put into the model image; what the model calls `jupyter` runs it with
//! [`serve`] as the only test.

use std::time::Duration;

use tiny_http::{Header, Response, Server};

/// The script that is `jupyter` in the model image. As process 1 it has to ask for SIGTERM to get it.
pub const SCRIPT: &str = r#"
[[ ${*: -1} == --version ]] && exec jupyter-lab "${@:2}"
[[ $* == "labextension list" ]] && echo "JupyterLab v4.9.9" && exit
export FAKE_ARGUMENTS="$*"
[[ $FAKE == stubborn ]] || trap 'exit 0' TERM
[[ $FAKE == late ]] && trap ': > /tmp/asked-to-stop' TERM
/opt/tests fake_jupyter::serve --exact --nocapture &
wait $!
status=$?
while [[ $FAKE == late ]] && kill -0 $! 2> /dev/null; do
    wait $!
    status=$?
done
exit $status"#;

/// Every way to misbehave (`FAKE` in the image's environment), and what the report says then.
pub const FAULTS: [(&str, &str); 9] = [
    ("unhealthy", "/api answers 503, not 200"),
    ("open", "/api/status answers 200 without the token, not 403"),
    ("closed", "/api/status answers 403 to the token"),
    ("vague", "/api/status does not say `started`"),
    ("bare", "/lab answers 200 without a version"),
    ("dying", "the server ended by itself (exit code 101)"),
    ("deaf", "no answer in 2 s"),
    ("stubborn", "SIGTERM did not stop the server within 2 s"),
    // It stops with the next request, which may be long in coming.
    ("late", "SIGTERM did not stop the server within 2 s"),
];

#[test]
fn serve() {
    let Ok(arguments) = std::env::var("FAKE_ARGUMENTS") else { return };
    let fault = std::env::var("FAKE").unwrap_or_default();
    let value = |name: &str| arguments.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default();
    if fault == "dying" {
        panic!("no such option");
    }
    let token = [value("--ServerApp.token="), value("--NotebookApp.token=")].concat();
    let server = Server::http((value("--ip="), value("--port=").parse::<u16>().unwrap())).unwrap();
    println!("listening: {arguments}");
    for request in server.incoming_requests() {
        if fault == "late" && std::path::Path::new("/tmp/asked-to-stop").exists() {
            return;
        }
        if fault == "deaf" {
            std::thread::sleep(Duration::from_secs(100));
        }
        let authorised = request
            .headers()
            .iter()
            .any(|h| h.field.equiv("Authorization") && h.value == format!("token {token}").as_str());
        let (code, body) = match request.url() {
            "/api" if fault == "unhealthy" => (503, "{}"),
            "/api" => (200, r#"{"version": "2.0.0"}"#),
            "/api/status" if fault != "open" && (!authorised || fault == "closed") => (403, "{}"),
            "/api/status" if fault == "vague" => (200, "{}"),
            "/api/status" => (200, r#"{"started": "2025-01-01T00:00:00Z", "kernels": 0}"#),
            "/lab" if fault == "bare" => (200, "<html></html>"),
            "/lab" => (200, r#"<script>{"appVersion": "4.9.9"}</script>"#),
            _ => (404, ""),
        };
        let kind = Header::from_bytes("Content-Type", "application/json").unwrap();
        request.respond(Response::from_string(body).with_status_code(code).with_header(kind)).unwrap();
    }
}
