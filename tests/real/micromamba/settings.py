"""Where things are and how they are to be done: from options, variables and a condarc, in this order."""

import os
from dataclasses import dataclass
from pathlib import Path

import yaml
from rattler import Channel, ChannelConfig, ChannelPriority

from problem import Problem

TRUE = ("1", "true", "yes", "on")


@dataclass
class Settings:
    root: Path
    prefix: Path  # or None, where a command takes none or the file will name it
    pkgs: Path
    condarc: dict
    quiet: bool
    yes: bool

    @classmethod
    def of(cls, options):
        variables = os.environ
        home = Path(variables.get("HOME", "/"))
        data = Path(variables.get("XDG_DATA_HOME") or home / ".local/share")
        root = getattr(options, "root_prefix", None) or variables.get("MAMBA_ROOT_PREFIX") or data / "mamba"
        root = Path(os.path.abspath(root))
        condarc = {} if getattr(options, "no_rc", False) else read_condarc(getattr(options, "rc_file", None), root)
        pkgs = variables.get("CONDA_PKGS_DIRS", "").split(",")[0] or root / "pkgs"
        yes = getattr(options, "yes", False) or is_set("MAMBA_ALWAYS_YES") or bool(condarc.get("always_yes"))
        self = cls(root, None, Path(os.path.abspath(pkgs)), condarc, getattr(options, "quiet", False), yes)
        if getattr(options, "prefix", None):
            self.prefix = Path(os.path.abspath(options.prefix))
        elif getattr(options, "name", None):
            self.prefix = self.named(options.name)
        return self

    def named(self, name):
        """The prefix of a name."""
        if "/" in name:
            raise Problem(f"`{name}` is no name of an environment; give a path by --prefix")
        return self.root if name == "base" else self.root / "envs" / name

    def active(self):
        """The prefix that was asked for, or the one that is activated."""
        found = self.prefix or os.environ.get("CONDA_PREFIX")
        if not found:
            raise Problem("no prefix is given; give one by --prefix or --name")
        return Path(found)

    def say(self, text):
        if not self.quiet:
            print(text, flush=True)

    def confirm(self, question):
        """Goes on if that was said beforehand or is said now."""
        if self.yes:
            return
        try:
            answer = input(f"{question}: [y/N] ")
        except EOFError:
            raise Problem("nobody is there to confirm it; give --yes") from None
        if answer.strip().lower() not in ("y", "yes"):
            raise Problem("aborted")

    def always_copy(self, options):
        # conda's variable beside micromamba's own: images made with either set it.
        return (options.always_copy or is_set("MAMBA_ALWAYS_COPY") or is_set("CONDA_ALWAYS_COPY")
                or bool(self.condarc.get("always_copy")))

    def channels(self, options, of_file):
        """The channels to solve with: those of options and file, and unless that is excluded the condarc's."""
        asked = [*options.channel, *of_file]
        more = self.condarc.get("channels") or []
        if options.override_channels or "nodefaults" in asked:
            more = []
        names = [name for name in dict.fromkeys([*asked, *more]) if name != "nodefaults"]
        if not names:
            raise Problem("no channel is given; give one by --channel, in the file or in a condarc")
        alias = ChannelConfig(self.condarc.get("channel_alias") or "https://conda.anaconda.org/", os.getcwd())
        return [Channel(name, alias) for name in names]

    def priority(self, options):
        """rattler knows two of the three: `flexible`, which relents where nothing is found, is taken as strict."""
        chosen = options.channel_priority or self.condarc.get("channel_priority")
        return ChannelPriority.Disabled if chosen == "disabled" else ChannelPriority.Strict


def is_set(name):
    return os.environ.get(name, "").lower() in TRUE


def read_condarc(given, root):
    """The last of the usual files that there is; one that was named must be there."""
    named = given or os.environ.get("MAMBARC") or os.environ.get("CONDARC")
    home = Path(os.environ.get("HOME", "/"))
    for path in [Path(named)] if named else [home / ".mambarc", home / ".condarc", root / ".condarc"]:
        if path.is_file():
            return mapping(path)
    if named:
        raise Problem(f"the condarc `{named}` is missing")
    return {}


def mapping(path):
    """A YAML file that holds a mapping."""
    try:
        text = Path(path).read_text()
    except OSError as error:
        raise Problem(f"`{path}` cannot be read: {error.strerror}") from None
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Problem(f"`{path}` is no YAML: {error}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Problem(f"`{path}` holds no mapping")
    return found
