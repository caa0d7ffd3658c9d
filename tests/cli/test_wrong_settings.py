"""What is wrong in a setting is said in one line: what was expected, what came, and where."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import mediaserver
from mediaserver.cli import main
from mediaserver.errors import ConfigurationError
from mediaserver.settings import ProcessorSetting, Settings, load
from tests.docs.pages import REPOSITORY

WHOLE = "expected a whole number"

FLAGS = [
    (["--port", "http"], f"wrong setting port (--port): {WHOLE} from 0 to 65535, not 'http'"),
    (["--port", "-1"], f"wrong setting port (--port): {WHOLE} from 0 to 65535, not '-1'"),
    (["--workers", "2.5"], f"wrong setting workers (--workers): {WHOLE} from 1 to 256, not '2.5'"),
    (
        ["--max-calls", "0"],
        f"wrong setting max_calls (--max-calls): {WHOLE} of at least 1, not '0'",
    ),
    (
        ["--send-rate", "44"],
        f"wrong setting send_rate (--send-rate): {WHOLE} from 8000 to 48000 or null, not '44'",
    ),
    (
        ["--drain-s", "-0.5"],
        "wrong setting drain_s (--drain-s): expected a number of at least 0 or null, not '-0.5'",
    ),
    (
        ["--drain-s", "inf"],
        "wrong setting drain_s (--drain-s): expected a finite number, not 'inf'",
    ),
    (
        ["--send-mode", "wav"],
        "wrong setting send_mode (--send-mode): expected mp3 or rtp, not 'wav'",
    ),
    (
        ["--on-error", "stay"],
        "wrong setting on_error (--on-error): expected auto, bypass, end or hangup, not 'stay'",
    ),
    (
        ["--on-return", ""],
        "wrong setting on_return (--on-return): expected hangup or stay, not ''",
    ),
    (
        ["--log-level", "INFO"],
        "wrong setting log_level (--log-level): expected debug, error, info or warning, not 'INFO'",
    ),
    (["--host", ""], "wrong setting host (--host): expected text that is not empty, not ''"),
    (
        ["--public-url", ""],
        "wrong setting public_url (--public-url): expected text that is not empty or null, not ''",
    ),
    (
        ["--auth-token", ""],
        "wrong setting auth_token (--auth-token):"
        " expected text of 1 to 4000 characters or null, not empty text",
    ),
    (
        ["--processor", ""],
        "wrong setting processors (--processor): a processor without a name",
    ),
    (
        ["--offer", "?directory=calls"],
        "wrong setting offer (--offer): a processor without a name",
    ),
    (
        ["--processor", "echo", "--processor", "examples/gain_filter.py:Gain?db=loud"],
        "wrong setting processors[1].parameters.db (--processor): processor"
        " examples/gain_filter.py:Gain: parameter 'db': expected a number, not 'loud'",
    ),
    (
        ["--processor", "examples/gain_filter.py:Gain?db=1&db=2"],
        "wrong setting processors[0].parameters.db (--processor): processor"
        " examples/gain_filter.py:Gain: parameter 'db': expected a number, not a list",
    ),
    (["--config", "/nowhere.toml"], "cannot read /nowhere.toml: No such file or directory"),
    (["--config", "/"], "cannot read /: Is a directory"),
]

VARIABLES = [
    (
        "MEDIASERVER_PORT",
        "http",
        f"wrong setting port (MEDIASERVER_PORT): {WHOLE} from 0 to 65535, not 'http'",
    ),
    (
        "MEDIASERVER_LEAD_MS",
        "nan",
        "wrong setting lead_ms (MEDIASERVER_LEAD_MS):"
        " expected a number of at least 0 or null, not 'nan'",
    ),
    (
        "MEDIASERVER_BACKLOG_MS",
        "nan",
        "wrong setting backlog_ms (MEDIASERVER_BACKLOG_MS):"
        " expected a number of at least 0, not 'nan'",
    ),
    (
        "MEDIASERVER_KEEPALIVE",
        "maybe",
        "wrong setting keepalive (MEDIASERVER_KEEPALIVE): expected yes or no, not 'maybe'",
    ),
    (
        "MEDIASERVER_PROCESSORS",
        "echo,,record",
        "wrong setting processors (MEDIASERVER_PROCESSORS): a processor without a name",
    ),
    (
        "MEDIASERVER_AUTH_TOKEN",
        "s3cret" * 1000,
        "wrong setting auth_token (MEDIASERVER_AUTH_TOKEN):"
        " expected text of 1 to 4000 characters or null, not text",
    ),
    ("MEDIASERVER_CONFIG", "/nowhere.toml", "cannot read /nowhere.toml: No such file or directory"),
]

FILES = [
    (
        'host = "::"\n\nport = "http"\n',
        f"wrong setting port (f.toml, line 3): {WHOLE} from 0 to 65535, not 'http'",
    ),
    ("port = true\n", f"wrong setting port (f.toml, line 1): {WHOLE} from 0 to 65535, not true"),
    ("host = 5\n", "wrong setting host (f.toml, line 1): expected text that is not empty, not 5"),
    (
        "port = [\n  8080,\n]\n",
        f"wrong setting port (f.toml, line 1): {WHOLE} from 0 to 65535, not a list",
    ),
    (
        "api_key = 5\n",
        "wrong setting api_key (f.toml, line 1):"
        " expected text that is not empty or null, not a number",
    ),
    ("# one\nprot = 80\n", "unknown setting 'prot' (f.toml, line 2); did you mean 'port'?"),
    (
        'public-url = "https://a.example"\n',
        "unknown setting 'public-url' (f.toml, line 1); did you mean 'public_url'?",
    ),
    ("colour = 1\n", "unknown setting 'colour' (f.toml, line 1)"),
    ("[carier]\nport = 1\n", "unknown setting 'carier' (f.toml, line 1); did you mean 'carrier'?"),
    (
        '[[processors]]\nname = "echo"\n\n[[processors]]\nnmae = "record"\n',
        "wrong setting processors[1].nmae (f.toml, line 5): unknown key; did you mean 'name'?",
    ),
    (
        '[[processors]]\nname = "echo"\n\n[[processors]]\nalias = "e"\n',
        "wrong setting processors[1] (f.toml, line 4): the key 'name' is missing",
    ),
    (
        '[[offer]]\nname = ""\n',
        "wrong setting offer[0].name (f.toml, line 2): expected text that is not empty, not ''",
    ),
    (
        '[[offer]]\nname = "echo"\nallow = [1]\n',
        "wrong setting offer[0].allow[0] (f.toml, line 3): expected text, not 1",
    ),
    (
        '[[offer]]\nname = "echo"\nparameters = ["db"]\n',
        "wrong setting offer[0].parameters (f.toml, line 3): expected a table, not a list",
    ),
    (
        '[processors]\nname = "echo"\n',
        "wrong setting processors (f.toml, line 1): expected a list of tables ([[…]]), not a table",
    ),
    (
        'processors = ["echo", 5]\n',
        "wrong setting processors[1] (f.toml, line 1): expected a table, not 5",
    ),
    (
        'processors = ["echo", ""]\n',
        "wrong setting processors (f.toml, line 1): a processor without a name",
    ),
]

CARRIER = [
    ("carrier = 5\n", "wrong setting carrier (f.toml, line 1): expected a table, not 5"),
    (
        "[[carrier]]\nport = 1\n",
        "wrong setting carrier (f.toml, line 1): expected a table, not a list",
    ),
    (
        "port = 1\n[carrier]\nprot = 1\n",
        "unknown setting 'prot' (f.toml, line 3); did you mean 'port'?",
    ),
    (
        "[carrier]\nspeech = -1\n",
        "wrong setting speech (f.toml, line 2): expected a number of at least 0, not -1",
    ),
    (
        '[carrier]\nring = "perhaps"\n',
        "wrong setting ring (f.toml, line 2): expected yes or no, not 'perhaps'",
    ),
]


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a refused command prints, without the line's end and its first word."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, "")
    assert err.startswith("mediaserver: ")
    assert err.endswith("\n")
    return err.removeprefix("mediaserver: ").removesuffix("\n")


@pytest.mark.parametrize(("flags", "line"), FLAGS, ids=lambda value: str(value)[:40])
def test_a_wrong_flag(
    flags: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The flag is named, with what it takes."""
    monkeypatch.chdir(REPOSITORY)
    assert said(capsys, "serve", *flags) == line


@pytest.mark.parametrize(("name", "value", "line"), VARIABLES, ids=[v[0] for v in VARIABLES])
@pytest.mark.parametrize("command", [["serve"], ["control", "hangup", "v3:a"]], ids=lambda c: c[0])
def test_a_wrong_variable(
    command: list[str],
    name: str,
    value: str,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable is named, whichever command reads it; a secret is not quoted."""
    monkeypatch.setenv(name, value)
    assert said(capsys, *command) == line


@pytest.mark.parametrize(("text", "line"), FILES)
@pytest.mark.parametrize("command", [["serve"], ["control", "hangup", "v3:a"]], ids=lambda c: c[0])
def test_a_wrong_line_of_a_file(
    command: list[str],
    text: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file and the line are named that the statement begins in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.toml").write_text(text)
    assert said(capsys, *command, "--config", "f.toml") == line


@pytest.mark.parametrize(("text", "line"), CARRIER)
def test_a_wrong_line_of_the_carriers_table(
    text: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fake Telnyx tells the same of its own table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.toml").write_text(text)
    assert said(capsys, "carrier", "--config", "f.toml") == line


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"port = 1\nhost = =\n", "f.toml, line 2: this is not TOML: Invalid value"),
        (b"port = 1\nport = 2\n", "f.toml, line 2: this is not TOML: Cannot overwrite a value"),
        (b"port = [\n1,\n", "f.toml, line 2: this is not TOML: Invalid value"),
        (b"host = '\xff'\n", "cannot read f.toml: it is not UTF-8 text"),
        (b"port = " + b"9" * 5000, "cannot read f.toml: a value in it is too large"),
        (b"offer = " + b"[" * 5000, "cannot read f.toml: a value in it is too large"),
    ],
)
def test_a_file_that_is_no_toml(
    raw: bytes,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where reading stopped, and why."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.toml").write_bytes(raw)
    assert said(capsys, "serve", "--config", "f.toml") == line


GAIN = "processor examples/gain_filter.py:Gain:"
ROUTES = """\
processors = ["echo"]

[[routes]]
path = "a"
processors = "echo"

[[routes]]
path = "{path}"
processors = [
  {{ name = "echo" }},
  {{ name = "examples/gain_filter.py:Gain", parameters = {{ {parameter} = {value} }} }},
]
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[[processors]]\nname = "examples/gain_filter.py:Gain"\n\n'
            '[processors.parameters]\ndb = "x"\n',
            f"wrong setting processors[0].parameters.db (F, line 5): {GAIN} parameter 'db':"
            " expected a number, not 'x'",
        ),
        (
            'port = 1\nprocessors = ["echo", "examples/gain_filter.py:Gain?dB=1"]\n',
            f"wrong setting processors[1].parameters.dB (F, line 2): {GAIN}"
            " unknown parameter 'dB' (it has: db); did you mean 'db'?",
        ),
        (
            'port = 1\n[[offer]]\nname = "bogus"\n',
            "wrong setting offer[0] (F, line 2): unknown processor 'bogus' (there are: barge_in,"
            " beep_detect, echo, player, record, vad; or module:attribute, or file.py:attribute)",
        ),
        (
            ROUTES.format(path="b", parameter="db", value="true"),
            f"wrong setting routes[1].processors[1].parameters.db (F, line 9): {GAIN}"
            " parameter 'db': expected a number, not true",
        ),
        (
            ROUTES.format(path="a", parameter="db", value="1"),
            "wrong setting routes[1] (F, line 7): this route (path a) can never match: route 1"
            " (path a) before it takes all its calls",
        ),
        (
            ROUTES.format(path="a/b", parameter="db", value="1"),
            "wrong setting routes[1].path (F, line 8): this route can never match: expected one"
            " name of letters, digits and . _ ~ -, as in /media/NAME",
        ),
        (
            '[[routes]]\npth = "a"\nprocessors = "echo"\n',
            "wrong setting routes[0].pth (F, line 2): unknown key; did you mean 'path'?",
        ),
        (
            '[[routes]]\npath = "a"\n',
            "wrong setting routes[0] (F, line 1): the key 'processors' is missing",
        ),
        (
            '[[routes]]\nto = 5\nprocessors = "echo"\n',
            "wrong setting routes[0].to (F, line 2): expected a list or null, not 5",
        ),
    ],
)
def test_a_wrong_processor_or_route_of_a_file(
    text: str,
    line: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file and the line are named also where only the processor can tell what is wrong."""
    monkeypatch.chdir(REPOSITORY)
    file = tmp_path / "f.toml"
    file.write_text(text)
    for more in ([], ["--check"], ["--workers", "2"]):
        got = said(capsys, "serve", "--config", str(file), *more)
        assert got.replace(str(file), "F") == line


def test_a_wrong_processor_of_a_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable is named."""
    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("MEDIASERVER_PROCESSORS", "echo,examples/gain_filter.py:Gain?db=loud")
    assert said(capsys, "serve") == (
        f"wrong setting processors[1].parameters.db (MEDIASERVER_PROCESSORS): {GAIN}"
        " parameter 'db': expected a number, not 'loud'"
    )


def test_check_says_who_gets_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each route, in the order in which they are tried; what is silent as warnings."""
    file = tmp_path / "f.toml"
    file.write_text(
        '[[routes]]\npath = "support"\nto = "+13125550100"\nprocessors = "record,echo"\n'
        '[[routes]]\nparameters = { bot = "sales" }\nprocessors = []\n'
        '[[offer]]\nname = "echo"\n'
    )
    assert main(["serve", "--check", "--config", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "route 1: path support, to +13125550100: record + echo",
        "route 2: bot=sales: no processor",
        "other calls: no processor",
        "offered: echo",
    ]
    assert err.splitlines() == [
        "mediaserver: warning: route 2 has no processor: its calls will be silent",
        "mediaserver: warning: no processor is set: calls that no route fits will be silent,"
        " but for those that select one",
    ]


def test_an_unknown_variable_is_warned_about_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the name that was probably meant; empty ones and those of the carrier are let be."""
    monkeypatch.setenv("MEDIASERVER_PROT", "8080")
    monkeypatch.setenv("MEDIASERVER_XYZZY", "1")
    monkeypatch.setenv("MEDIASERVER_NOTHING", "")
    monkeypatch.setenv("MEDIASERVER_CARRIER_PORT", "1")
    with pytest.raises(SystemExit):
        main(["serve", "--answer"])
    assert capsys.readouterr().err == (
        "mediaserver: warning: unknown variable MEDIASERVER_PROT;"
        " did you mean 'MEDIASERVER_PORT'?\n"
        "mediaserver: warning: unknown variable MEDIASERVER_XYZZY\n"
        "mediaserver: answer needs api_key, public_keys and public_url\n"
    )
    monkeypatch.setenv("MEDIASERVER_CARRIER_PROT", "1")
    with pytest.raises(SystemExit):
        main(["carrier", "--host", "192.0.2.1"])
    assert capsys.readouterr().err.startswith(
        "mediaserver: warning: unknown variable MEDIASERVER_CARRIER_PROT;"
        " did you mean 'MEDIASERVER_CARRIER_PORT'?\n"
        "mediaserver: cannot listen on 192.0.2.1:1"
    )


def test_an_embedding_program_is_warned_in_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """``load`` alone prints nothing."""
    load({}, {"MEDIASERVER_PROT": "1"})
    assert caplog.messages == [
        "unknown variable MEDIASERVER_PROT; did you mean 'MEDIASERVER_PORT'?"
    ]


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("Off", False), ("1", True)])
def test_switches_are_read_as_people_write_them(text: str, value: bool, tmp_path: Path) -> None:
    """From the environment, and from a file as well."""
    assert load({}, {"MEDIASERVER_KEEPALIVE": text}).keepalive is value
    (tmp_path / "f.toml").write_text(f'keepalive = "{text}"\n')
    assert load({}, {}, tmp_path / "f.toml").keepalive is value


def test_null_is_none_whatever_the_type() -> None:
    """A number, a text: ``null`` takes the value away."""
    found = load({"public_url": "null"}, {"MEDIASERVER_LEAD_MS": "null"})
    assert (found.public_url, found.lead_ms) == (None, None)


def test_processors_are_written_the_same_everywhere(tmp_path: Path) -> None:
    """By name and query in flags, environment and file; in a file as tables, too."""
    chain = (ProcessorSetting("echo"), ProcessorSetting("a.py:f", {"x": "1", "y": ["2", "3"]}))
    names = ["echo", "a.py:f?x=1&y=2&y=3"]
    assert load({"processors": names}, {}).processors == chain
    assert load({}, {"MEDIASERVER_PROCESSORS": ",".join(names)}).processors == chain
    (tmp_path / "f.toml").write_text(f"processors = {names}\n")
    assert load({}, {}, tmp_path / "f.toml").processors == chain
    assert load({"processors": list(chain)}, {}).processors == chain


def test_what_a_processor_does_when_it_ends_has_flags(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``--on-error`` and ``--on-return`` are in the help of ``serve``, with their defaults."""
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "--on-error VALUE a processor that raised is bypassed (bypass)," in told
    assert "--on-return VALUE a call whose handlers have all returned goes on (stay)" in told


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line and in Python, the one that is packed."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"mediaserver {mediaserver.__version__}\n"
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == mediaserver.__version__


def test_an_error_of_load_is_a_configuration_error() -> None:
    """What embedding programs catch."""
    with pytest.raises(ConfigurationError, match=r"wrong setting max_calls \(--max-calls\)"):
        load({"max_calls": 0}, {})
    with pytest.raises(ConfigurationError, match=r"unknown setting 'prot' .*did you mean 'port'"):
        load({"prot": 0}, {})
    assert load({}, {}) == Settings()
