//! A question that no solver of today answers.

use std::path::Path;

use serde_json::{Map, Value, json};

/// Pigeons are one more than holes, and proving that they do not fit takes a solver that learns from conflicts a time
/// that grows exponentially (Haken 1985): at this size, longer than anybody waits.
const HOLES: usize = 14;

/// Writes a channel to `dir` whose `pigeon0`, `pigeon1` … cannot be had together, and returns their names.
pub fn endless_puzzle(dir: &Path) -> Vec<String> {
    let mut records = Map::new();
    for pigeon in 0..=HOLES {
        for hole in 0..HOLES {
            add(&mut records, &format!("pigeon{pigeon}"), hole, &[format!("hole{hole} =={pigeon}")]);
            add(&mut records, &format!("hole{hole}"), pigeon, &[]);
        }
    }
    for subdir in ["linux-64", "linux-aarch64", "noarch"] {
        let empty = Map::new();
        let packages = if subdir == "noarch" { &records } else { &empty };
        let repodata = json!({"info": {"subdir": subdir}, "packages": {}, "packages.conda": packages});
        fs_err::create_dir_all(dir.join(subdir)).expect("a folder");
        fs_err::write(dir.join(subdir).join("repodata.json"), repodata.to_string()).expect("repodata");
    }
    (0..=HOLES).map(|pigeon| format!("pigeon{pigeon}")).collect()
}

fn add(records: &mut Map<String, Value>, name: &str, version: usize, depends: &[String]) {
    let record = json!({
        "name": name, "version": version.to_string(), "build": "0", "build_number": 0, "depends": depends,
        "subdir": "noarch", "noarch": "generic", "md5": "0".repeat(32), "sha256": "0".repeat(64), "size": 1,
    });
    records.insert(format!("{name}-{version}-0.conda"), record);
}
