//! GPUs: whether what is locked for CUDA fits together, and whether it finds a GPU where there is one.

use super::files::some;
use super::scene::{Scene, succeeds};
use super::{Finding, Outcome};
use crate::verify::runtime::{Command, Error, Output};
use crate::verify::subject::{Subject, conda_packages};

/// A package of CUDA's own whose version is CUDA's.
const CUDA: &str = "cuda-version";

/// CUDA's packages run with a driver of their own major version or a newer one, and only one version can be loaded.
pub fn cuda(subject: &Subject<'_>) -> Outcome {
    let Some(cuda) = subject.locked(CUDA).and_then(|package| major(&package.version)) else {
        return Outcome::failed(format!("the version of `{CUDA}` cannot be read"));
    };
    let subdir = subject.platform().subdir();
    let assumed = subject.spec.virtual_packages.subdirs.get(&subdir).and_then(|packages| packages.get("__cuda"));
    let driver = match assumed {
        Some(version) if major(version).is_some_and(|driver| driver >= cuda) => None,
        Some(version) => Some(format!("CUDA {cuda} is locked, `__cuda` in virtual-packages.yml is {version}")),
        None => Some(format!("CUDA {cuda} is locked, virtual-packages.yml does not say `__cuda` for {subdir}")),
    };
    let others = conda_packages(subject.lock, subject.platform()).filter_map(|package| {
        let (name, build) = (&package.name, package.build().unwrap_or_default());
        let built = if name.starts_with("cuda-") { major(&package.version) } else { built_for(build) };
        built.filter(|built| *built != cuda).map(|built| format!("{name} {build} is for CUDA {built}, not {cuda}"))
    });
    Outcome::of_faults("CUDA's packages and drivers do not fit together", some(driver.into_iter().chain(others), |f| f))
}

fn major(version: &str) -> Option<u32> {
    version.split(['.', ' ']).next()?.parse().ok()
}

/// CUDA's major version in a build string: `cuda129py312h…` and `gpu_cuda12…` are for 12, `cuda_…` says nothing.
fn built_for(build: &str) -> Option<u32> {
    let (_, after) = build.split_once("cuda")?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).take(2).collect();
    digits.parse().ok().filter(|major| (8..100).contains(major))
}

/// Asks the driver itself, and then whatever of the usual libraries the image has.
const DEVICES: &str = r#"
import ctypes, importlib.util
cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
code = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
assert code == 0 and count.value, f"the driver finds {count.value} GPUs (error {code})"
found = [f"driver {count.value}"]
if importlib.util.find_spec("jax"):
    import jax
    found.append(f"jax {len(jax.devices('gpu'))}")
if importlib.util.find_spec("tensorflow"):
    import tensorflow
    found.append(f"tensorflow {len(tensorflow.config.list_physical_devices('GPU'))}")
if importlib.util.find_spec("torch"):
    import torch
    found.append(f"torch {torch.cuda.device_count()}")
print("@esker " + ", ".join(found))
assert not any(one.endswith(" 0") for one in found), found
"#;

pub async fn devices(scene: &Scene<'_>) -> Result<Finding, Error> {
    if !scene.equipment.gpus {
        return Ok(Outcome::not_run("no GPU was asked for: `--gpus` runs it on a machine that has one").into());
    }
    if !scene.runtime.kind().has_gpus() {
        return Ok(Outcome::not_run("the embedded runner has no GPUs to give: choose another with `--runtime`").into());
    }
    let output = scene.run(&Command::arguments(["python", "-c", DEVICES]).over_empty_home().with_gpus()).await?;
    Ok(judge(&output))
}

fn judge(output: &Output) -> Finding {
    let found = output.stdout.lines().find_map(|line| line.strip_prefix("@esker "));
    let mut finding = succeeds(output);
    finding.facts.extend(found.map(|found| ("gpus".to_owned(), found.to_owned())));
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::runtime::Exit;

    #[test]
    fn a_library_without_a_gpu_is_a_failure() {
        let said = |code, stdout: &str| {
            judge(&Output { exit: Exit::Code(code), stdout: stdout.to_owned(), stderr: String::new() })
        };
        let good = said(0, "noise\n@esker driver 1, jax 1\n");
        assert_eq!((good.outcome, good.facts["gpus"].as_str()), (Outcome::Passed, "driver 1, jax 1"));
        assert!(matches!(said(1, "@esker driver 1, jax 0\n").outcome, Outcome::Failed { .. }));
    }

    #[test]
    fn builds_say_which_cuda() {
        for (build, expected) in [
            ("cuda129py312h59614e2_252", Some(12)),
            ("cuda118_py310_0", Some(11)),
            ("gpu_cuda130h0_0", Some(13)),
            ("h2937f24_4_cuda", None),
            ("cuda_py312_0", None),
            ("cpu_py312_0", None),
        ] {
            assert_eq!(built_for(build), expected, "{build}");
        }
        assert_eq!((major("12.9"), major("12.0 h0"), major("x")), (Some(12), Some(12), None));
    }
}
