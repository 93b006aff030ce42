"""What can be typed, as micromamba spells it. Anything else ends with exit code 1, as there."""

import argparse

from problem import Problem


class Parser(argparse.ArgumentParser):
    def __init__(self, name):
        super().__init__(prog=f"micromamba {name}".rstrip(), allow_abbrev=False)

    def error(self, message):
        raise Problem(f"{self.prog}: {message}; `{self.prog} --help` lists what it takes")

    def ignored(self, *names, **more):
        """An option that is taken, and has nothing to do here."""
        self.add_argument(*names, help="taken, has nothing to do here", **(more or {"action": "store_true"}))


def parse(words):
    """The command and its options."""
    commands = {"create": install_parser, "install": install_parser, "clean": clean_parser, "list": list_parser,
                "run": run_parser}
    top = Parser("")
    top.add_argument("--version", action="store_true", help="print the version")
    top.add_argument("command", nargs="?", choices=sorted(commands))
    if not words or words[0] not in commands:
        options = top.parse_args(words)
        if not options.version:
            top.error("no command is given")
        options.command = "version"
        return options
    parser = commands[words[0]](words[0])
    # The command that `run` runs has options of its own; everywhere else, words and options may be mixed.
    take = parser.parse_args if words[0] == "run" else parser.parse_intermixed_args
    options = take(words[1:])
    options.command = words[0]
    return options


def general(parser):
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what went wrong")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    parser.add_argument("--no-rc", action="store_true", help="read no condarc")
    parser.add_argument("--rc-file", metavar="FILE", help="read this condarc")
    parser.ignored("-v", "--verbose", action="count")
    parser.ignored("--no-env")


def prefix(parser):
    parser.add_argument("-r", "--root-prefix", metavar="PATH", help="the root prefix, with pkgs/ and envs/")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-p", "--prefix", metavar="PATH", help="the prefix")
    where.add_argument("-n", "--name", help="the prefix of this name in envs/; `base` is the root prefix")


def install_parser(name):
    parser = Parser(name)
    general(parser)
    prefix(parser)
    parser.add_argument("specs", nargs="*", metavar="SPECS", help="what to install")
    parser.add_argument("-f", "--file", action="append", default=[], metavar="FILE",
                        help="an explicit lock, a conda-lock file (*-lock.yml), an environment.yml, or a list of specs")
    parser.add_argument("--category", action="append", metavar="NAME", help="of a conda-lock file; `main` otherwise")
    parser.add_argument("-c", "--channel", action="append", default=[], metavar="CHANNEL")
    parser.add_argument("--override-channels", action="store_true", help="leave out the condarc's channels")
    parser.add_argument("--channel-priority", choices=("strict", "flexible", "disabled"))
    parser.add_argument("--strict-channel-priority", action="store_const", const="strict", dest="channel_priority")
    parser.add_argument("--no-channel-priority", action="store_const", const="disabled", dest="channel_priority")
    parser.add_argument("--always-copy", "--copy", action="store_true", help="copy files instead of linking them")
    parser.add_argument("--pyc", action="store_true", default=True, help="compile noarch packages' modules (it does)")
    parser.add_argument("--no-pyc", action="store_false", dest="pyc", help="do not compile noarch packages' modules")
    parser.ignored("--safety-checks", choices=("enabled", "warn", "disabled"))
    parser.ignored("--extra-safety-checks")
    parser.ignored("--retry-clean-cache")
    return parser


def clean_parser(name):
    # As micromamba's, it has no --root-prefix: MAMBA_ROOT_PREFIX says which.
    parser = Parser(name)
    general(parser)
    parser.add_argument("-a", "--all", action="store_true", help="the four below")
    parser.add_argument("-i", "--index-cache", action="store_true", help="remove cached repodata")
    parser.add_argument("-p", "--packages", action="store_true", help="remove packages that no prefix was made of")
    parser.add_argument("-t", "--tarballs", action="store_true", help="remove packages' archives")
    parser.add_argument("-l", "--locks", action="store_true", help="remove lock files")
    parser.add_argument("-f", "--force-pkgs-dirs", action="store_true", help="remove the package cache")
    return parser


def list_parser(name):
    parser = Parser(name)
    general(parser)
    prefix(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def run_parser(name):
    parser = Parser(name)
    prefix(parser)
    parser.add_argument("--cwd", metavar="PATH", help="where to run it")
    parser.add_argument("-e", "--env", action="append", default=[], metavar="NAME=VALUE", help="set a variable")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run in the prefix")
    return parser
