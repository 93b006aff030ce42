//! The other forms in which a channel tells its records: compressed (`repodata.json.zst`), and in shards (CEP 16).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::archive::sha256;

/// Writes `repodata.json.zst` beside every `repodata.json` below `channel`.
pub fn compress(channel: &Path) {
    for (folder, repodata) in subdirs(channel) {
        let bytes = zstd::encode_all(repodata.to_string().as_bytes(), 1).expect("memory takes it");
        fs_err::write(folder.join("repodata.json.zst"), bytes).expect("a file");
    }
}

/// Writes `repodata_shards.msgpack.zst` and its shards beside every `repodata.json` below `channel`.
pub fn shard(channel: &Path) {
    for (folder, repodata) in subdirs(channel) {
        let shards = folder.join("shards");
        fs_err::create_dir_all(&shards).expect("a folder");
        let index = shards_of(&repodata).into_iter().map(|(name, shard)| {
            let bytes = packed(&shard);
            let hash = sha256(&bytes);
            fs_err::write(shards.join(format!("{hash}.msgpack.zst")), bytes).expect("a shard");
            (name, Value::from(hash))
        });
        let info = json!({ "subdir": repodata["info"]["subdir"], "base_url": "", "shards_base_url": "./shards/" });
        let index = json!({ "info": info, "shards": index.collect::<Map<_, _>>() });
        fs_err::write(folder.join("repodata_shards.msgpack.zst"), packed(&index)).expect("an index");
    }
}

fn subdirs(channel: &Path) -> Vec<(std::path::PathBuf, Value)> {
    let folders = fs_err::read_dir(channel).expect("a folder").flatten().map(|entry| entry.path());
    let with_repodata = |folder: std::path::PathBuf| {
        let text = fs_err::read(folder.join("repodata.json")).ok()?;
        Some((folder, serde_json::from_slice(&text).expect("JSON")))
    };
    folders.filter_map(with_repodata).collect()
}

/// What `repodata` has, by package name.
fn shards_of(repodata: &Value) -> BTreeMap<String, Value> {
    let mut shards: BTreeMap<String, Value> = BTreeMap::new();
    for key in ["packages", "packages.conda"] {
        for (file_name, record) in repodata[key].as_object().expect("a map") {
            let name = record["name"].as_str().expect("a name").to_owned();
            let empty = || json!({ "packages": {}, "packages.conda": {}, "removed": [] });
            shards.entry(name).or_insert_with(empty)[key][file_name] = record.clone();
        }
    }
    shards
}

/// MessagePack, compressed.
fn packed(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    pack(value, &mut bytes);
    zstd::encode_all(bytes.as_slice(), 1).expect("memory takes it")
}

/// Each kind of value in its longest form: nothing here needs to be short. Hashes stay in hexadecimal, which readers take
/// as well.
fn pack(value: &Value, out: &mut Vec<u8>) {
    let counted = |kind: u8, count: usize, out: &mut Vec<u8>| {
        out.push(kind);
        out.extend(u32::try_from(count).expect("a test's channel is small").to_be_bytes());
    };
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(0xc2 + u8::from(*value)),
        Value::Number(number) => {
            out.push(0xd3);
            out.extend(number.as_i64().expect("a whole number").to_be_bytes());
        }
        Value::String(text) => {
            counted(0xdb, text.len(), out);
            out.extend(text.bytes());
        }
        Value::Array(items) => {
            counted(0xdd, items.len(), out);
            items.iter().for_each(|item| pack(item, out));
        }
        Value::Object(map) => {
            counted(0xdf, map.len(), out);
            for (key, value) in map {
                pack(&Value::from(key.as_str()), out);
                pack(value, out);
            }
        }
    }
}
