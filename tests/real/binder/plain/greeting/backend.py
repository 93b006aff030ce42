"""What pip asks to make a wheel (PEP 517), with nothing to fetch."""

import zipfile

INFO = "greeting-1.0.dist-info"
WHEEL = "greeting-1.0-py3-none-any.whl"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with open("greeting.py") as module:
        files = {"greeting.py": module.read()}
    files[f"{INFO}/METADATA"] = "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
    files[f"{INFO}/WHEEL"] = "Wheel-Version: 1.0\nGenerator: backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{INFO}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{INFO}/RECORD"])
    with zipfile.ZipFile(f"{wheel_directory}/{WHEEL}", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return WHEEL
