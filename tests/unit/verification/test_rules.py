"""What a policy can forbid a config to say."""

from __future__ import annotations

import pytest

from mystikos.config import Config, Mount
from mystikos.verification.rules import Rule, RuleError


def config(**settings: object) -> Config:
    return Config(**{"application_path": b"/bin/app", **settings})  # type: ignore[arg-type]


BROKEN = [
    ("HostApplicationParameters=true", {"host_application_parameters": True}, 'is "true"'),
    ("HostApplicationParameters=1", {"host_application_parameters": True}, 'is "1"'),
    ("HostApplicationParameters", {"host_application_parameters": True}, "is true"),
    ("HostApplicationParameters=false", {}, 'HostApplicationParameters is "false"'),
    ("HostEnvironmentVariables", {"host_environment_variables": (b"A",)}, "HostEnvironmentVariables is set"),
    ("HostEnvironmentVariables=*", {"host_environment_variables": (b"A", b"B")}, 'has "A"'),
    ("HostEnvironmentVariables=?", {"host_environment_variables": (b"AA", b"B")}, 'has "B"'),
    ("EnvironmentVariables=*=/tmp*", {"environment_variables": (b"HOME=/tmp/x",)}, 'has "HOME=/tmp/x"'),
    ("ForkMode=pseudo*", {"fork_mode": "pseudo"}, 'ForkMode is "pseudo"'),
    ("MemorySize=64m", {}, 'MemorySize is "64m"'),
    ("MemorySize=67108864", {}, 'MemorySize is "67108864"'),
    ("MaxThreads", {"max_threads": 5}, "MaxThreads is 5"),
    ("ApplicationPath=/bin/*", {}, 'ApplicationPath is "/bin/app"'),
    ("ApplicationPath=*\\xff", {"application_path": b"/\xff"}, 'ApplicationPath is "/\\xff"'),
    ("Mount.Type=hostfs", {"mount": (Mount(target=b"/a", type="hostfs"),)}, 'Mount.Type has "hostfs"'),
    (
        "Mount.Flags=rw",
        {"mount": (Mount(target=b"/a", type="ramfs", flags=("rw",)),)},
        'Mount.Flags has "rw"',
    ),
    ("Mount.RootHash=null", {"mount": (Mount(target=b"/a", type="ext2"),)}, 'Mount.RootHash has "null"'),
    ("Mount", {"mount": (Mount(target=b"/a", type="ramfs"),)}, "Mount is set"),
    ("exec-stack", {"exec_stack": True}, "ExecStack: a buffer overflow"),
]


@pytest.mark.parametrize(("text", "settings", "told"), BROKEN)
def test_a_broken_rule_tells_the_setting(text: str, settings: dict[str, object], told: str) -> None:
    assert told in str(Rule.parse(text).broken_by(config(**settings)))


KEPT = [
    ("HostApplicationParameters=true", {}),
    ("HostApplicationParameters", {}),
    ("HostEnvironmentVariables=ld_*", {"host_environment_variables": (b"LD_PRELOAD",)}),
    ("HostEnvironmentVariables=PATH", {"host_environment_variables": (b"LD_LIBRARY_PATH",)}),
    ("MemorySize=64k", {}),
    ("Mount", {}),
    ("Mount.Type=*", {}),
    ("Mount.PublicKey=null", {"mount": (Mount(target=b"/a", type="ext2", public_key="k"),)}),
    ("debug", {}),
    ("ApplicationPath=", {}),
]


@pytest.mark.parametrize(("text", "settings"), KEPT)
def test_a_rule_that_is_kept_tells_nothing(text: str, settings: dict[str, object]) -> None:
    assert Rule.parse(text).broken_by(config(**settings)) is None


def test_a_required_key_alone_is_always_set() -> None:
    assert Rule.parse("ApplicationPath").broken_by(config()) == "ApplicationPath is set"


@pytest.mark.parametrize(
    "text", ["", "=", "nonsense", "debgu", "Debug.x=1", "Mount.x=1", "Mount.Type", "debug=1"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        Rule.parse(text)
