//! Programs that nobody here wrote, out of PyPI, to judge SBOMs.

use std::path::Path;
use std::process::Command;

use super::judges::{installed, judged};

/// Validates a file: `spdx-tools` what is valid SPDX, `cyclonedx-python-lib` what fits CycloneDX's schema.
const SPDX: &str = "
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
document = parse_file(sys.argv[1])
messages = validate_full_spdx_document(document)
assert not messages, messages
print(len(document.packages))
";
const CYCLONEDX: &str = "
import json, sys
from cyclonedx.model.bom import Bom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
text = open(sys.argv[1]).read()
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert error is None, error
bom = Bom.from_json(json.loads(text))
bom.validate()
print(len(bom.components))
";

/// What tells how many packages the SBOM in a file lists, which must be a valid one of `format`; `None`, said to be skipped,
/// where such programs cannot be had.
pub fn judge(format: &str) -> Option<impl Fn(&Path) -> usize> {
    let home = installed("sbom-judges", &["spdx-tools==0.8.*", "cyclonedx-python-lib[json-validation]==11.*"])?;
    let script = if format == "spdx" { SPDX } else { CYCLONEDX };
    Some(move |file: &Path| {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &home).env("PYTHONDONTWRITEBYTECODE", "1");
        judged(python.args(["-c", script]).arg(file)).trim().parse().expect("a number")
    })
}
